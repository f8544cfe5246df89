import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readU16 } from '../../../src/packet/bytes.ts';
import { checkInner, IPV4 } from '../../../src/packet/ipv4.ts';
import { clampMss } from '../../../src/packet/tcp.ts';
import { VERDICT } from '../../../src/packet/verdict.ts';
import { bytesOfHex } from '../../vectors/packet-vector.ts';
import { LINUX_SYN, LINUX_SYN_ACK } from '../../vectors/tcp-vectors.ts';
import { Guarded, hostilePacket, plainPacket, SEED, toHex, transportChecksum } from './oracle.ts';

const SYN = 0x02;

interface Segment {
  readonly flags?: number;
  readonly options?: Uint8Array;
  readonly fragment?: number;
  readonly protocol?: number;
  readonly ipOptions?: Uint8Array;
  readonly payload?: Uint8Array;
  /** Header length in words; by default what the options need. */
  readonly dataOffset?: number;
}

/** A TCP packet with a right checksum. */
function tcpPacket(segment: Segment): Uint8Array {
  const options = segment.options ?? bytesOfHex('0204 05b4');
  const payload = segment.payload ?? new Uint8Array(0);
  const tcp = new Uint8Array(20 + options.length + payload.length);
  tcp.set(bytesOfHex('cf08 01bb 1122 3344 0000 0000'));
  tcp[12] = (segment.dataOffset ?? Math.ceil((20 + options.length) / 4)) << 4;
  tcp[13] = segment.flags ?? SYN;
  tcp[14] = 0xfa;
  tcp.set(options, 20);
  tcp.set(payload, 20 + options.length);
  const packet = plainPacket({
    protocol: segment.protocol ?? 6,
    fragment: segment.fragment ?? 0,
    options: segment.ipOptions ?? new Uint8Array(0),
    payload: tcp,
  });
  const at = packet.length - tcp.length + 16;
  const check = transportChecksum(packet);
  packet[at] = check >> 8;
  packet[at + 1] = check & 255;
  return packet;
}

/** Clamps a copy between canaries; returns the result, the packet after it, and whether its TCP checksum is right. */
function clamp(packet: Uint8Array, maximum: number): { changed: number; after: Uint8Array; intact: boolean } {
  const guarded = new Guarded(packet);
  const changed = clampMss(guarded.bytes, guarded.at, maximum);
  guarded.assertOnlyWritten();
  return { changed, after: guarded.packet, intact: transportChecksum(guarded.packet) === 0 };
}

test('lowers the MSS of a Linux SYN to the maximum, patches the checksum, touches nothing else', () => {
  const { changed, after, intact } = clamp(LINUX_SYN.bytes, 1420);
  assert.equal(changed, 1);
  assert.equal(intact, true);
  assert.equal(readU16(after, 42), 1420);
  for (let i = 0; i < after.length; i++) {
    if (![36, 37, 42, 43].includes(i)) assert.equal(after[i], LINUX_SYN.bytes[i], `byte ${i}`);
  }
});

test('lowers the MSS of a Linux SYN/ACK', () => {
  const { changed, after, intact } = clamp(LINUX_SYN_ACK.bytes, 1360);
  assert.deepEqual([changed, intact, readU16(after, 42)], [1, true, 1360]);
});

test('leaves an MSS that is equal to the maximum or below it: never raises', () => {
  for (const maximum of [1460, 1461, 9000, 0xffff]) {
    const { changed, after } = clamp(LINUX_SYN.bytes, maximum);
    assert.equal(changed, 0);
    assert.deepEqual(after, LINUX_SYN.bytes);
  }
});

test('the patched checksum is right for every MSS and maximum', () => {
  const mss = fc.integer({ min: 0, max: 0xffff });
  const padding = fc.constantFrom('', '01', '0101', '010101');
  fc.assert(
    fc.property(mss, mss, padding, padding, (offered, maximum, before, ipWords) => {
      // One and three NOPs before the option put its value across two checksum words.
      const options = bytesOfHex(
        `${before} 0204 ${offered.toString(16).padStart(4, '0')} ${'00'.repeat((4 - before.length / 2) % 4)}`,
      );
      const packet = tcpPacket({ options, ipOptions: new Uint8Array(ipWords.length * 2).fill(1) });
      const { changed, after, intact } = clamp(packet, maximum);
      assert.equal(intact, true);
      assert.equal(changed, offered > maximum ? 1 : 0);
      const valueAt = 20 + ipWords.length * 2 + 20 + before.length / 2 + 2;
      assert.equal(readU16(after, valueAt), Math.min(offered, maximum));
    }),
    { seed: SEED, numRuns: 1000 },
  );
});

test('leaves what is no SYN: data, ACK, FIN, RST', () => {
  for (const flags of [0x10, 0x18, 0x11, 0x04, 0x00, 0xfd]) {
    const packet = tcpPacket({ flags });
    assert.equal(clamp(packet, 500).changed, 0, `flags ${flags}`);
  }
  for (const flags of [0x02, 0x12, 0xc2, 0xd2]) assert.equal(clamp(tcpPacket({ flags }), 500).changed, 1);
});

test('leaves other protocols and later fragments, but clamps a first fragment', () => {
  assert.equal(clamp(tcpPacket({ protocol: 17 }), 500).changed, 0);
  assert.equal(clamp(tcpPacket({ fragment: 1 }), 500).changed, 0);
  assert.equal(clamp(tcpPacket({ fragment: IPV4.MF | 3 }), 500).changed, 0);
  assert.equal(clamp(tcpPacket({ fragment: IPV4.MF }), 500).changed, 1);
  assert.equal(clamp(tcpPacket({ fragment: IPV4.DF }), 500).changed, 1);
});

test('adds no MSS option where there is none', () => {
  for (const options of [
    '',
    '01010101',
    '0402 0000',
    '0303 0700',
    '00 0204 05b4 000000',
    '0004 0101 0204 05b4',
  ]) {
    const packet = tcpPacket({ options: bytesOfHex(options) });
    const { changed, after } = clamp(packet, 500);
    assert.equal(changed, 0, options);
    assert.deepEqual(after, packet);
  }
});

test('finds the option behind others, behind IPv4 options, and each of two', () => {
  const behind = tcpPacket({
    options: bytesOfHex('0402 080a 00000001 00000000 0204 05b4'),
    ipOptions: new Uint8Array(12),
  });
  const { changed, after, intact } = clamp(behind, 1000);
  assert.deepEqual([changed, intact, readU16(after, 20 + 12 + 20 + 14)], [1, true, 1000]);
  const twice = clamp(tcpPacket({ options: bytesOfHex('0204 05b4 0204 0200 0204 0600') }), 1000);
  assert.deepEqual([twice.changed, twice.intact], [1, true]);
  assert.equal(toHex(twice.after.slice(40)), '020403e8' + '02040200' + '020403e8');
});

/** Option lists that have hung or crashed parsers. */
const HOSTILE_OPTIONS: Record<string, string> = {
  'a length of 0, which never advances': '0300 0000',
  'a length of 1, which points into itself': '0301 0000',
  'a length of 0 for the MSS': '0200 05b4',
  'an MSS of length 3': '0203 05b4',
  'an MSS of length 6': '0206 05b4 0000 0000',
  'a length beyond the header': '03ff 0000',
  'a kind in the last byte, its length missing': '0101 0102',
  'an MSS cut by the end of the header': '0101 0204',
};

for (const [what, options] of Object.entries(HOSTILE_OPTIONS)) {
  test(`stops at ${what}`, () => {
    const packet = tcpPacket({ options: bytesOfHex(options) });
    const { changed, after } = clamp(packet, 1);
    assert.equal(changed, 0);
    assert.deepEqual(after, packet);
  });
}

test('leaves a TCP header that is shorter than 20 bytes, or longer than the packet', () => {
  const short = plainPacket({
    protocol: 6,
    payload: bytesOfHex('cf08 01bb 1122 3344 0000 0000 6002 faf0 0000 00'),
  });
  assert.equal(clamp(short, 1).changed, 0);
  assert.equal(clamp(tcpPacket({ dataOffset: 7 }), 1).changed, 0);
  assert.equal(clamp(tcpPacket({ dataOffset: 4 }), 1).changed, 0);
  assert.equal(clamp(tcpPacket({ dataOffset: 0 }), 1).changed, 0);
  // What looks like an option behind the header is payload.
  assert.equal(
    clamp(tcpPacket({ options: new Uint8Array(0), payload: bytesOfHex('0204 05b4') }), 1).changed,
    0,
  );
});

test('on any bytes that pass the check it ends, writes only in the packet, and reads nothing behind it', () => {
  const hostileTcp = fc
    .tuple(fc.uint8Array({ maxLength: 60 }), fc.nat(15), fc.boolean())
    .map(([options, dataOffset, ipOptions]) =>
      tcpPacket({ options, dataOffset, ipOptions: new Uint8Array(ipOptions ? 8 : 0) }),
    );
  fc.assert(
    fc.property(fc.oneof(hostilePacket, hostileTcp), fc.nat(0xffff), (packet, maximum) => {
      fc.pre(checkInner(packet, 0, packet.length) === VERDICT.FORWARD);
      const total = readU16(packet, IPV4.TOTAL_LENGTH);
      const exact = packet.slice(0, total);
      const guarded = new Guarded(exact);
      const zeros = new Guarded(exact, 0);
      const changed = clampMss(guarded.bytes, guarded.at, maximum);
      guarded.assertOnlyWritten();
      assert.equal(clampMss(zeros.bytes, zeros.at, maximum), changed);
      assert.deepEqual(zeros.packet, guarded.packet);
      assert.equal(changed === 1, toHex(guarded.packet) !== toHex(exact));
      // A second pass finds nothing left to do.
      assert.equal(clampMss(guarded.bytes, guarded.at, maximum), 0);
    }),
    { seed: SEED, numRuns: 2000 },
  );
});
