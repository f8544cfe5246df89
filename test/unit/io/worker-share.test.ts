import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Prng } from '../../../src/base/prng.ts';
import { OWN_ADDRESSES_MAX, shareProgram, WORKERS_MAX } from '../../../src/io/worker-share.ts';
import { runFilter } from './bpf-interpreter.ts';

const SEED = 20260;

/** An outer header of `outerWords` words, and behind it what of an inner packet is wanted. */
function packet(outerWords: number, inner: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(outerWords * 4 + inner.length);
  bytes[0] = 0x40 | outerWords;
  bytes.set(inner, outerWords * 4);
  return bytes;
}

interface Inner {
  words?: number;
  source?: number;
  destination?: number;
  protocol?: number;
  fragment?: number;
  ports?: number;
}

function inner({
  words = 5,
  source = 1,
  destination = 2,
  protocol = 17,
  fragment = 0,
  ports = 0,
}: Inner): Uint8Array {
  const bytes = new Uint8Array(words * 4 + 8);
  const view = new DataView(bytes.buffer);
  bytes[0] = 0x40 | words;
  view.setUint16(6, fragment);
  bytes[9] = protocol;
  view.setUint32(12, source);
  view.setUint32(16, destination);
  view.setUint32(words * 4, ports);
  return bytes;
}

/** The workers whose program lets the packet through. */
function takers(bytes: Uint8Array, count: number): number[] {
  const taken: number[] = [];
  for (let index = 0; index < count; index++) {
    if (runFilter(shareProgram({ index, count })!, bytes) !== 0) taken.push(index);
  }
  return taken;
}

describe('the socket filter that shares traffic among workers', () => {
  test('one worker needs no filter', () => {
    assert.equal(shareProgram({ index: 0, count: 1 }), undefined);
  });

  test('every packet, whatever its bytes and length, passes exactly one worker and passes it whole', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: WORKERS_MAX }),
        fc.integer({ min: 5, max: 15 }),
        fc.uint8Array({ maxLength: 120 }),
        (count, outerWords, tail) => {
          const bytes = packet(outerWords, tail);
          assert.equal(takers(bytes, count).length, 1);
          for (let index = 0; index < count; index++) {
            const result = runFilter(shareProgram({ index, count })!, bytes);
            assert.ok(result === 0 || result === 0xffff_ffff);
          }
        },
      ),
      { seed: SEED, numRuns: 300 },
    );
  });

  test('what is shorter than an inner header goes to worker 0, so that it is counted once', () => {
    for (let length = 0; length < 20; length++) {
      assert.deepEqual(takers(packet(5, new Uint8Array(length).fill(0x45)), 4), [0]);
    }
  });

  test('outer options do not change the worker of a flow', () => {
    for (let ports = 0; ports < 64; ports++) {
      const plain = takers(packet(5, inner({ ports })), 8);
      assert.deepEqual(takers(packet(15, inner({ ports })), 8), plain);
    }
  });

  test('inner options move the ports, not the flow', () => {
    for (let ports = 0; ports < 64; ports++) {
      const plain = takers(packet(5, inner({ ports })), 8);
      assert.deepEqual(takers(packet(5, inner({ ports, words: 15 })), 8), plain);
    }
  });

  test('all fragments of a datagram go to the same worker, and so do protocols without ports', () => {
    for (const address of [1, 77, 0xffff_ffff]) {
      const first = takers(packet(5, inner({ source: address, fragment: 0x2000, ports: 12345 })), 8);
      const later = takers(packet(5, inner({ source: address, fragment: 0x2000 | 185, ports: 999 })), 8);
      const last = takers(packet(5, inner({ source: address, fragment: 370, ports: 7 })), 8);
      const icmp = takers(packet(5, inner({ source: address, protocol: 1, ports: 42 })), 8);
      assert.deepEqual([later, last, icmp], [first, first, first]);
    }
  });

  test('a TCP packet cut before its ports is shared by its addresses alone', () => {
    const whole = inner({ protocol: 6, ports: 80 });
    const cut = takers(packet(5, whole.subarray(0, 22)), 8);
    assert.deepEqual(cut, takers(packet(5, inner({ protocol: 1 })), 8));
  });

  for (const count of [2, 3, 4, 8]) {
    test(`ports and addresses both spread flows evenly over ${count} workers`, () => {
      const prng = new Prng(SEED);
      const flows = 4000;
      const programs = Array.from({ length: count }, (_, index) => shareProgram({ index, count })!);
      for (const vary of ['ports', 'addresses'] as const) {
        const shares = new Array<number>(count).fill(0);
        for (let flow = 0; flow < flows; flow++) {
          const bytes =
            vary === 'ports'
              ? packet(
                  5,
                  inner({
                    source: 0x0a010203,
                    destination: 0x0a020304,
                    protocol: 6,
                    ports: (prng.below(60_000) << 16) | 80,
                  }),
                )
              : packet(
                  5,
                  inner({
                    source: 0x0a010000 + (flow & 255),
                    destination: 0x0a020000 + (flow >> 8),
                    protocol: 1,
                  }),
                );
          const taker = programs.findIndex((program) => runFilter(program, bytes) !== 0);
          shares[taker]!++;
        }
        for (const share of shares) {
          assert.ok(Math.abs(share - flows / count) < (flows / count) * 0.15, `${vary}: ${shares.join(' ')}`);
        }
      }
    });
  }

  test('only what is addressed to one of ours passes, and is shared as if there were no others', () => {
    const own = Array.from({ length: OWN_ADDRESSES_MAX }, (_, at) => 0xac1f_0002 + at);
    for (const [at, address] of [...own, 0xac1f_0001, 0].entries()) {
      const bytes = packet(5, inner({ ports: 4711 }));
      new DataView(bytes.buffer).setUint32(16, address);
      const isOurs = at < own.length;
      for (const count of [1, 2, 8]) {
        const taken: number[] = [];
        for (let index = 0; index < count; index++)
          if (runFilter(shareProgram({ index, count, own })!, bytes) === 0xffff_ffff) taken.push(index);
        const shared = count === 1 ? [0] : takers(bytes, count);
        assert.deepEqual(taken, isOurs ? shared : [], `${address} of ${count}`);
      }
    }
    assert.throws(() => shareProgram({ index: 0, count: 1, own: [...own, 1] }), /addresses/);
  });

  test('with UDP only what is addressed to the port passes, and its inner packet decides', () => {
    const [port, own] = [5555, [0xac1f_0002]];
    const datagram = (destinationPort: number, flow: Inner): Uint8Array => {
      const udp = Uint8Array.of(
        0xc0,
        flow.ports! & 255,
        destinationPort >> 8,
        destinationPort & 255,
        0,
        0,
        0,
        0,
      );
      const bytes = packet(5, Uint8Array.of(...udp, ...inner(flow)));
      new DataView(bytes.buffer).setUint32(16, own[0]!);
      return bytes;
    };
    for (let ports = 0; ports < 64; ports++) {
      for (const count of [1, 2, 8]) {
        const taken = (bytes: Uint8Array): number[] =>
          Array.from({ length: count }, (_, index) => index).filter(
            (index) =>
              runFilter(shareProgram({ index, count, own, protocol: { udpPort: port } })!, bytes) ===
              0xffff_ffff,
          );
        assert.deepEqual(taken(datagram(port + 1, { ports })), []);
        const expected = count === 1 ? [0] : takers(packet(5, inner({ ports })), count);
        assert.deepEqual(taken(datagram(port, { ports })), expected);
      }
    }
    assert.notEqual(
      shareProgram({ index: 0, count: 1, protocol: { udpPort: port } }),
      undefined,
      'a filter also for one worker',
    );
  });

  test('IPv6: every packet passes exactly one worker, whatever its bytes, and all of a flow the same', () => {
    const taken = (bytes: Uint8Array, protocol: 'ipv6' | { udpPort: number }): number[] =>
      [0, 1, 2, 3].filter((index) => runFilter(shareProgram({ index, count: 4, protocol })!, bytes) !== 0);
    const udp = Uint8Array.of(0xc0, 0, 0x15, 0xb3, 0, 0, 0, 0);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 90 }), (tail) => {
        if (tail.length > 0) tail[0] = 0x60 | (tail[0]! & 15);
        assert.equal(taken(packet(5, tail), 'ipv6').length, 1);
        const inUdp = packet(5, Uint8Array.of(...udp, ...tail));
        assert.deepEqual(taken(inUdp, { udpPort: 5555 }), taken(packet(5, tail), 'ipv6'));
      }),
      { seed: SEED, numRuns: 300 },
    );
    const flow = (source: number, port: number, next = 17): Uint8Array => {
      const bytes = new Uint8Array(60);
      bytes.set([0x60, 0, 0, 0, 0, 20, next, 63]);
      bytes[23] = source;
      bytes.set([port >> 8, port & 255], 40);
      return bytes;
    };
    const spread = new Set<number>();
    for (let port = 0; port < 64; port++) spread.add(taken(packet(5, flow(5, port)), 'ipv6')[0]!);
    assert.equal(spread.size, 4, 'ports spread flows');
    const fragments = new Set<number>();
    for (let port = 0; port < 64; port++) fragments.add(taken(packet(5, flow(5, port, 44)), 'ipv6')[0]!);
    assert.equal(fragments.size, 1, 'fragments go by their addresses');
  });

  test('on an IPv6 underlay the inner packet decides in the same way, and every word of the destination counts', () => {
    const address = 0x2001_0db8_0000_0001_0000_0000_0000_0002n;
    const own = [address, ...[0n, 32n, 64n, 96n].map((shift) => address ^ (1n << (shift + 7n)))];
    const outer = (destination: bigint): Uint8Array => {
      const bytes = new Uint8Array(40);
      for (let i = 0; i < 16; i++) bytes[24 + i] = Number((destination >> BigInt(120 - 8 * i)) & 255n);
      return bytes;
    };
    for (let ports = 0; ports < 64; ports++) {
      for (const count of [1, 2, 8]) {
        const taken = (destination: bigint, accepted = own): number[] =>
          Array.from({ length: count }, (_, index) => index).filter(
            (index) =>
              runFilter(
                shareProgram({ index, count, own: accepted, family: 6 })!,
                inner({ ports }),
                outer(destination),
              ) !== 0,
          );
        const expected = count === 1 ? [0] : takers(packet(5, inner({ ports })), count);
        for (const destination of own) assert.deepEqual(taken(destination), expected);
        for (const other of own.slice(1)) assert.deepEqual(taken(other, [address]), [], `${other}`);
        if (count > 1) assert.deepEqual(taken(1n, []), expected, 'no address: every one');
      }
    }
    assert.equal(shareProgram({ index: 0, count: 1, family: 6 }), undefined);
  });

  test('counts beyond the limit and foreign indexes are refused', () => {
    assert.throws(() => shareProgram({ index: 0, count: WORKERS_MAX + 1 }), /workers/);
    assert.throws(() => shareProgram({ index: 4, count: 4 }), /worker index/);
    assert.equal(shareProgram({ index: WORKERS_MAX - 1, count: WORKERS_MAX })!.length % 2, 0);
  });
});
