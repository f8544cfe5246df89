import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Prng } from '../../../src/base/prng.ts';
import { readU32 } from '../../../src/packet/bytes.ts';
import { flowHash, flowHashOf, hasPorts } from '../../../src/packet/flow.ts';
import { checkInner, IPV4 } from '../../../src/packet/ipv4.ts';
import { VERDICT } from '../../../src/packet/verdict.ts';
import { LINUX_SYN } from '../../vectors/tcp-vectors.ts';
import { Guarded, hostilePacket, plainFlowHash, plainPacket, SEED } from './oracle.ts';

const SOURCE = 0xc0a80001;
const DESTINATION = 0x0a020003;
const PORTS = 0xcf0801bb;

function packetOf(protocol: number, fragment = 0, ports = PORTS): Uint8Array {
  const payload = Uint8Array.of(ports >>> 24, ports >>> 16, ports >>> 8, ports, 9, 9, 9, 9);
  return plainPacket({ source: SOURCE, destination: DESTINATION, protocol, fragment, payload });
}

test('hashes a packet as trace hashes its numbers', () => {
  const { bytes } = LINUX_SYN;
  assert.equal(flowHash(bytes, 0), flowHashOf(0x0a010001, 0x0a010002, 6, (60058 << 16) | 443));
});

test('uses the ports of TCP, UDP, SCTP, DCCP and UDP-Lite, and of nothing else', () => {
  for (let protocol = 0; protocol < 256; protocol++) {
    const withPorts = [6, 17, 33, 132, 136].includes(protocol);
    assert.equal(hasPorts(protocol), withPorts);
    const expected = flowHashOf(SOURCE, DESTINATION, protocol, withPorts ? PORTS : 0);
    assert.equal(flowHash(packetOf(protocol), 0), expected, `protocol ${protocol}`);
  }
});

test('all fragments of a datagram, the first one too, hash alike and without ports', () => {
  const expected = flowHashOf(SOURCE, DESTINATION, 17, 0);
  for (const fragment of [IPV4.MF, IPV4.MF | 185, 370]) {
    assert.equal(flowHash(packetOf(17, fragment), 0), expected);
    assert.equal(flowHash(packetOf(17, fragment, 0x11111111), 0), expected);
  }
  assert.notEqual(flowHash(packetOf(17, IPV4.DF), 0), expected);
});

test('a packet too short for ports is hashed without, whatever follows it in memory', () => {
  for (let length = 0; length < 4; length++) {
    const packet = plainPacket({
      source: SOURCE,
      destination: DESTINATION,
      protocol: 6,
      payload: new Uint8Array(length).fill(7),
    });
    const guarded = new Guarded(packet);
    assert.equal(flowHash(guarded.bytes, guarded.at), flowHashOf(SOURCE, DESTINATION, 6, 0));
  }
});

test('options move the ports, and the hash follows them', () => {
  const payload = Uint8Array.of(0xcf, 8, 1, 0xbb, 0, 0, 0, 0);
  const options = new Uint8Array(8).fill(1);
  const packet = plainPacket({ source: SOURCE, destination: DESTINATION, protocol: 6, options, payload });
  assert.equal(flowHash(packet, 0), flowHashOf(SOURCE, DESTINATION, 6, PORTS));
});

test('is MurmurHash3 by the book, so that every gateway and every engine picks alike', () => {
  const u32 = fc.integer({ min: 0, max: 0xffffffff });
  fc.assert(
    fc.property(u32, u32, fc.nat(255), u32, (source, destination, protocol, ports) => {
      assert.equal(
        flowHashOf(source, destination, protocol, ports),
        plainFlowHash(source, destination, protocol, ports),
      );
    }),
    { seed: SEED },
  );
  // A change of this number moves every flow of every running pair of gateways to another one.
  assert.equal(flowHashOf(0x0a010001, 0x0a010002, 6, 0xea9a01bb), 694_412_355);
});

test('is the same for addresses and ports given as u32 and as i32, and always an i32, which is never boxed', () => {
  const u32 = fc.integer({ min: 0, max: 0xffffffff });
  fc.assert(
    fc.property(u32, u32, fc.nat(255), u32, (source, destination, protocol, ports) => {
      const hash = flowHashOf(source, destination, protocol, ports);
      assert.equal(flowHashOf(source | 0, destination | 0, protocol, ports | 0), hash);
      assert.equal(hash, hash | 0);
    }),
    { seed: SEED },
  );
});

test('of any bytes that pass the check it reads none behind the total length, and equals the hash of the numbers', () => {
  fc.assert(
    fc.property(hostilePacket, (packet) => {
      fc.pre(checkInner(packet, 0, packet.length) === VERDICT.FORWARD);
      const total = (packet[2]! << 8) | packet[3]!;
      const zeros = new Guarded(packet.slice(0, total), 0);
      const ones = new Guarded(packet.slice(0, total), 0xff);
      const hash = flowHash(zeros.bytes, zeros.at);
      assert.equal(flowHash(ones.bytes, ones.at), hash);
      const header = (packet[0]! & 15) * 4;
      const whole = (readU32(packet, 4) & 0x3fff) === 0 && total >= header + 4;
      const ports = whole && hasPorts(packet[9]!) ? readU32(packet, header) : 0;
      assert.equal(hash, flowHashOf(readU32(packet, 12), readU32(packet, 16), packet[9]!, ports));
    }),
    { seed: SEED, numRuns: 2000 },
  );
});

/** Chi-square over `buckets`; its mean is buckets - 1 with variance 2 (buckets - 1), so six deviations above is no accident. */
function assertEven(counts: Uint32Array, what: string): void {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const expected = total / counts.length;
  let chiSquare = 0;
  for (const count of counts) chiSquare += (count - expected) ** 2 / expected;
  const degrees = counts.length - 1;
  const bound = degrees + 6 * Math.sqrt(2 * degrees);
  assert.ok(
    chiSquare < bound,
    `${what}: chi-square ${chiSquare.toFixed(1)} of ${counts.length} buckets exceeds ${bound.toFixed(1)}`,
  );
}

/** Picking by remainder, by low bits, by high bits (as src/fib does) and by scaling must all be even: the hash knows no user. */
const PICKS: Record<string, { readonly buckets: number; readonly pick: (hash: number) => number }> = {
  'remainder of 7': { buckets: 7, pick: (hash) => (hash >>> 0) % 7 },
  'low 8 bits': { buckets: 256, pick: (hash) => hash & 255 },
  'high 10 bits': { buckets: 1024, pick: (hash) => hash >>> 22 },
  'scaled to 100': { buckets: 100, pick: (hash) => Math.floor(((hash >>> 0) / 2 ** 32) * 100) },
};

const FLOWS = 50_000;
const prng = new Prng(SEED);
const PATTERNS: Record<string, (i: number) => number> = {
  'random flows': () => flowHashOf(prng.u32(), prng.u32(), 6, prng.u32()),
  'one pair of hosts, consecutive source ports': (i) =>
    flowHashOf(SOURCE, DESTINATION, 6, ((i & 0xffff) << 16) | 443),
  'consecutive hosts to one service': (i) => flowHashOf(0x0a010000 + i, DESTINATION, 17, 0xcf080035),
  'hosts that differ in the high byte only, with ports': (i) =>
    flowHashOf(((i & 255) << 24) | 5, DESTINATION, 6, ((i >>> 8) << 16) | 80),
  'ICMP between two networks': (i) => flowHashOf(0x0a010000 + (i & 255), 0x0a020000 + (i >>> 8), 1, 0),
};

for (const [pattern, hashOf] of Object.entries(PATTERNS)) {
  test(`spreads ${pattern} evenly over buckets, however they are picked`, () => {
    const counts = Object.values(PICKS).map(({ buckets }) => new Uint32Array(buckets));
    for (let i = 0; i < FLOWS; i++) {
      const hash = hashOf(i);
      Object.values(PICKS).forEach(({ pick }, index) => {
        counts[index]![pick(hash)]!++;
      });
    }
    Object.keys(PICKS).forEach((name, index) => {
      assertEven(counts[index]!, `${pattern}, ${name}`);
    });
  });
}

test('one flipped input bit flips about half of the output bits', () => {
  const random = new Prng(SEED);
  const rounds = 400;
  const flips = new Float64Array(32);
  for (let round = 0; round < rounds; round++) {
    const input = [random.u32(), random.u32(), random.u32()] as const;
    const before = flowHashOf(input[0], input[1], 6, input[2]);
    const bit = random.below(96);
    const after = flowHashOf(
      input[0] ^ (bit < 32 ? 1 << bit : 0),
      input[1] ^ (bit >= 32 && bit < 64 ? 1 << (bit - 32) : 0),
      6,
      input[2] ^ (bit >= 64 ? 1 << (bit - 64) : 0),
    );
    for (let out = 0; out < 32; out++) flips[out]! += ((before ^ after) >>> out) & 1;
  }
  for (const [out, count] of flips.entries()) {
    assert.ok(
      count / rounds > 0.35 && count / rounds < 0.65,
      `output bit ${out} flipped in ${count} of ${rounds}`,
    );
  }
});
