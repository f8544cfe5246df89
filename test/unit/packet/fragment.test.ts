import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fragmentCount, writeFragment } from '../../../src/packet/fragment.ts';
import { checkInner } from '../../../src/packet/ipv4.ts';
import { VERDICT } from '../../../src/packet/verdict.ts';
import { LINUX_FRAGMENTS, LINUX_FRAGMENTS_OF_FRAGMENT } from '../../vectors/fragment-vectors.ts';
import { bytesOfHex } from '../../vectors/packet-vector.ts';
import { anyPacket, headerChecksumHolds, plainPacket, SEED, toHex } from './oracle.ts';

const MF = 0x2000;
const OFFSET_MASK = 0x1fff;

interface Fields {
  readonly header: Uint8Array;
  readonly payload: Uint8Array;
  readonly total: number;
  readonly more: boolean;
  readonly offsetBytes: number;
}

function fieldsOf(packet: Uint8Array): Fields {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const header = (packet[0]! & 15) * 4;
  const word = view.getUint16(6);
  return {
    header: packet.slice(0, header),
    payload: packet.slice(header),
    total: view.getUint16(2),
    more: (word & MF) !== 0,
    offsetBytes: (word & OFFSET_MASK) * 8,
  };
}

/**
 * A reassembler by RFC 791 §3.2 that marks each byte it was given: returns the payload, or fails where a byte came twice or never.
 * `start` is the offset of the packet that was cut, which may have been a fragment.
 */
function reassemble(fragments: readonly Uint8Array[], start: number, length: number): Uint8Array {
  const payload = new Uint8Array(length);
  const seen = new Uint8Array(length);
  for (const fragment of fragments) {
    const { payload: part, offsetBytes } = fieldsOf(fragment);
    part.forEach((byte, i) => {
      const at = offsetBytes - start + i;
      assert.ok(at >= 0 && at < length, `byte ${at} is outside the datagram`);
      assert.equal(seen[at], 0, `byte ${at} came twice`);
      seen[at] = 1;
      payload[at] = byte;
    });
  }
  assert.ok(
    seen.every((mark) => mark === 1),
    'a byte never came',
  );
  return payload;
}

const GAP = 32;
const CANARY = 0xa5;

/** Cuts `packet` as the packet path does: later fragments to other places, the first one last and in place. Checks canaries. */
function cut(packet: Uint8Array, mtu: number): Uint8Array[] {
  const header = (packet[0]! & 15) * 4;
  const count = fragmentCount(packet.length, header, mtu);
  const slot = mtu + GAP;
  const home = GAP;
  const spare = home + packet.length + GAP;
  const bytes = new Uint8Array(spare + count * slot).fill(CANARY);
  bytes.set(packet, home);
  const fragments: Uint8Array[] = new Array(count);
  const written = new Uint8Array(bytes.length);
  written.fill(1, home, home + packet.length);
  for (let index = 1; index < count; index++) {
    const at = spare + index * slot;
    const length = writeFragment(bytes, home, index, count, mtu, at);
    assert.ok(
      length > 0 && length <= mtu,
      `fragment ${index} of ${count} is ${length} bytes on a link of ${mtu}`,
    );
    fragments[index] = bytes.slice(at, at + length);
    written.fill(1, at, at + length);
  }
  assert.deepEqual(
    bytes.slice(home, home + packet.length),
    packet,
    'the packet changed before its first fragment was made',
  );
  const length = writeFragment(bytes, home, 0, count, mtu, home);
  assert.ok(length > 0 && length <= mtu);
  fragments[0] = bytes.slice(home, home + length);
  bytes.forEach((byte, i) => {
    if (written[i] === 0) assert.equal(byte, CANARY, `byte ${i} belongs to no fragment but was written`);
  });
  return fragments;
}

for (const [what, vector] of [
  ['a UDP datagram', LINUX_FRAGMENTS],
  ['a fragment', LINUX_FRAGMENTS_OF_FRAGMENT],
] as const) {
  test(`cuts ${what} into the same bytes as ${vector.source}`, () => {
    const payload = Uint8Array.from({ length: vector.payloadBytes }, (_, i) => (i - 8) * 7 + 3);
    payload.set(bytesOfHex('cf08 0009 0514 0000'));
    const packet = Uint8Array.from([...vector.header, ...payload]);
    assert.ok(headerChecksumHolds(packet));
    const fragments = cut(packet, vector.mtu);
    assert.deepEqual(
      fragments.map((fragment) => [fragment.length, toHex(fragment.slice(0, 20))]),
      vector.fragments.map((fragment) => [fragment.totalBytes, toHex(fragment.header)]),
    );
    assert.deepEqual(reassemble(fragments, fieldsOf(packet).offsetBytes, payload.length), payload);
  });
}

/** RFC 791 §3.1: stream identifier (copied), record route (not copied), NOP, strict source route (copied). */
const OPTIONS = bytesOfHex(`
  8804 0102           # stream identifier, copied
  01                  # NOP
  0707 04 0a01 0001   # record route, not copied
  8907 04 0a09 0009   # strict source route, copied
  00                  # END
`);

test('gives later fragments the copied options only, padded to words, and the first fragment all', () => {
  const packet = plainPacket({ options: OPTIONS, payload: new Uint8Array(100).fill(9) });
  const fragments = cut(packet, 72);
  assert.equal(toHex(fieldsOf(fragments[0]!).header.slice(20)), toHex(OPTIONS));
  for (const fragment of fragments.slice(1)) {
    assert.equal(toHex(fieldsOf(fragment).header.slice(20)), '88040102' + '8907040a090009' + '00');
  }
});

test('keeps TOS, ID, TTL, protocol and addresses in each fragment, and sends no reserved bit on', () => {
  const packet = plainPacket({
    tos: 0xb9,
    id: 0xbeef,
    ttl: 7,
    protocol: 132,
    fragment: 0x8000,
    payload: new Uint8Array(64),
  });
  for (const fragment of cut(packet, 44)) {
    assert.equal(fragment[1], 0xb9);
    assert.equal(toHex(fragment.slice(4, 6)), 'beef');
    assert.equal(fragment[6]! & 0xc0, 0);
    assert.equal(toHex(fragment.slice(8, 10)), '0784');
    assert.deepEqual(fragment.slice(12, 20), packet.slice(12, 20));
  }
});

test('any packet on any link comes back whole from an independent reassembler', () => {
  const packet = fc
    .tuple(
      anyPacket,
      fc.uint8Array({ minLength: 0, maxLength: 900 }),
      fc.constantFrom(0, 0x8000, MF, MF | 100, 4000),
    )
    .map(([base, payload, fragment]) => {
      // A fragment that is not the last one carries a multiple of 8 bytes, else it could not be reassembled to begin with.
      const whole = (fragment & MF) === 0 ? payload : payload.slice(0, payload.length & ~7);
      return plainPacket({ options: fieldsOf(base).header.slice(20), id: 77, fragment, payload: whole });
    });
  fc.assert(
    fc.property(packet, fc.integer({ min: 68, max: 700 }), (whole, mtu) => {
      const { header, payload, offsetBytes, more } = fieldsOf(whole);
      const fragments = cut(whole, mtu);
      assert.deepEqual(reassemble(fragments, offsetBytes, payload.length), payload);
      assert.ok(fragments.length === 1 || payload.length > mtu - header.length);
      fragments.forEach((fragment, index) => {
        assert.equal(checkInner(fragment, 0, fragment.length), VERDICT.FORWARD);
        assert.equal(fieldsOf(fragment).total, fragment.length);
        const isLast = index === fragments.length - 1;
        assert.equal(fieldsOf(fragment).more, isLast ? more : true);
        if (!isLast) assert.equal(fieldsOf(fragment).payload.length % 8, 0);
      });
    }),
    { seed: SEED, numRuns: 500 },
  );
});

test('makes no more fragments than the link demands', () => {
  for (let mtu = 68; mtu < 120; mtu++) {
    for (let payload = 1; payload < 400; payload++) {
      // Fill each fragment in turn: rounded down to 8 unless the rest fits.
      let rest = payload;
      let expected = 1;
      while (rest > mtu - 20) {
        rest -= (mtu - 20) & ~7;
        expected++;
      }
      assert.equal(fragmentCount(20 + payload, 20, mtu), expected, `${payload} bytes on a link of ${mtu}`);
    }
  }
});

test('the last fragment may fill the link although that is no multiple of 8', () => {
  assert.equal(fragmentCount(20 + 48 + 51, 20, 20 + 51), 2);
  assert.equal(fragmentCount(20 + 48 + 52, 20, 20 + 51), 3);
});

test('counts 1 for what fits, 0 for a link that carries no 8 bytes of payload, at most 8,190', () => {
  assert.equal(fragmentCount(1480, 20, 1480), 1);
  assert.equal(fragmentCount(1481, 20, 1480), 2);
  assert.equal(fragmentCount(24, 20, 24), 1);
  assert.equal(fragmentCount(1481, 60, 67), 0);
  assert.equal(fragmentCount(1481, 20, 20), 0);
  assert.equal(fragmentCount(1481, 20, 0), 0);
  assert.equal(fragmentCount(65_535, 20, 28), 8190);
  assert.equal(fragmentCount(65_535, 60, 68), 8185);
});

test('a packet that fits is its own only fragment', () => {
  const packet = plainPacket({ fragment: MF | 5, payload: new Uint8Array(16) });
  assert.deepEqual(cut(packet, 36), [packet]);
});

test('a first fragment that is made elsewhere equals the one made in place, and leaves the packet as it was', () => {
  const packet = plainPacket({ options: OPTIONS, payload: Uint8Array.from({ length: 200 }, (_, i) => i) });
  const bytes = new Uint8Array(1000);
  bytes.set(packet);
  const count = fragmentCount(packet.length, 20 + OPTIONS.length, 100);
  const length = writeFragment(bytes, 0, 0, count, 100, 500);
  assert.deepEqual(bytes.slice(500, 500 + length), cut(packet, 100)[0]);
  assert.deepEqual(bytes.slice(0, packet.length), packet);
});

test('copies no option behind the end of the list', () => {
  const packet = plainPacket({
    options: bytesOfHex('8804 0102 0004 0000 8804 0304'),
    payload: new Uint8Array(100),
  });
  assert.equal(toHex(fieldsOf(cut(packet, 68)[1]!).header.slice(20)), '88040102');
});

test('refuses a fragment behind the 13-bit offset instead of wrapping it onto the beginning (ping of death)', () => {
  const packet = plainPacket({ fragment: 0x1fff, payload: new Uint8Array(600) });
  const bytes = new Uint8Array(2000).fill(CANARY);
  bytes.set(packet);
  const count = fragmentCount(packet.length, 20, 300);
  assert.equal(count, 3);
  for (const index of [1, 2]) {
    assert.equal(writeFragment(bytes, 0, index, count, 300, 1000), 0);
    assert.ok(bytes.slice(packet.length).every((byte) => byte === CANARY));
  }
  assert.ok(writeFragment(bytes, 0, 0, count, 300, 0) > 0);
});

test('writes nothing for an index or a count that does not belong to the packet', () => {
  const packet = plainPacket({ payload: new Uint8Array(100) });
  for (const [index, count, mtu] of [
    [0, 0, 20],
    [2, 3, 1500],
    [1, 2, 1500],
    [7, 9, 68],
  ] as const) {
    const bytes = new Uint8Array(4000).fill(CANARY);
    bytes.set(packet);
    const before = bytes.slice();
    assert.equal(writeFragment(bytes, 0, index, count, mtu, 1000), 0, `${index} of ${count} at ${mtu}`);
    assert.deepEqual(bytes, before);
  }
});

test('options that do not parse are not copied, nor anything behind them, and nothing outside the fragment is written', () => {
  const options = fc
    .integer({ min: 1, max: 10 })
    .chain((words) => fc.uint8Array({ minLength: words * 4, maxLength: words * 4 }));
  fc.assert(
    fc.property(options, fc.integer({ min: 68, max: 200 }), (hostile, mtu) => {
      const packet = plainPacket({ options: hostile, payload: new Uint8Array(300).fill(1) });
      for (const fragment of cut(packet, mtu)) {
        assert.ok(headerChecksumHolds(fragment));
        assert.ok(fieldsOf(fragment).header.length <= 20 + hostile.length);
      }
    }),
    { seed: SEED, numRuns: 500 },
  );
  for (const broken of ['8800 0102', '8801 0102', '88ff 0102', '0101 0188']) {
    const packet = plainPacket({ options: bytesOfHex(broken), payload: new Uint8Array(100) });
    assert.equal(fieldsOf(cut(packet, 68)[1]!).header.length, 20, broken);
  }
});
