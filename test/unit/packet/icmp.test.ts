import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readU16, readU32 } from '../../../src/packet/bytes.ts';
import {
  ICMP,
  ICMP_ERROR_BYTES_MAX,
  ICMP_HEADER,
  mayAnswer,
  quotedAt,
  quotedInnerAt,
  writeIcmpError,
  writeIcmpPacket,
} from '../../../src/packet/icmp.ts';
import { checkInner, headerBytes, IPV4, totalLength } from '../../../src/packet/ipv4.ts';
import { VERDICT } from '../../../src/packet/verdict.ts';
import {
  LINUX_IPIP_FRAGMENTATION_NEEDED,
  LINUX_IPIP_TIME_EXCEEDED,
  LINUX_PORT_UNREACHABLE,
} from '../../vectors/icmp-vectors.ts';
import {
  anyPacket,
  Guarded,
  headerChecksumHolds,
  hostilePacket,
  plainChecksum,
  plainPacket,
  SEED,
} from './oracle.ts';

const GATEWAY = 0x0a010001;
const SENDER = 0x0a010002;

test('writes the same ICMP message as Linux about the same datagram', () => {
  const expected = LINUX_PORT_UNREACHABLE.bytes.slice(20);
  const quoted = LINUX_PORT_UNREACHABLE.bytes.slice(28);
  const out = new Guarded(new Uint8Array(expected.length));
  const length = writeIcmpError(
    out.bytes,
    out.at,
    3,
    ICMP.CODE_PORT_UNREACHABLE,
    0,
    quoted,
    0,
    quoted.length,
  );
  assert.equal(length, expected.length);
  assert.deepEqual(out.packet, expected);
  out.assertOnlyWritten();
});

test('quotes as much as Linux of a long packet: 576 bytes in all, next-hop MTU in the second word', () => {
  const linux = LINUX_IPIP_FRAGMENTATION_NEEDED.bytes;
  // The packet that Linux was sent: what it quotes, and zeros to the total length it quotes.
  const packet = new Uint8Array(1448);
  packet.set(linux.slice(28));
  const out = new Guarded(new Uint8Array(576));
  const length = writeIcmpPacket(
    out.bytes,
    out.at,
    GATEWAY,
    SENDER,
    64,
    ICMP.UNREACHABLE,
    ICMP.CODE_FRAGMENTATION_NEEDED,
    1400,
    packet,
    0,
    packet.length,
  );
  assert.equal(length, ICMP_ERROR_BYTES_MAX);
  out.assertOnlyWritten();
  assert.deepEqual(out.packet.slice(20), linux.slice(20));
  assert.ok(headerChecksumHolds(out.packet));
  assert.equal(out.packet[1], 0xc0);
  assert.deepEqual([readU32(out.packet, 12), readU32(out.packet, 16), out.packet[8]], [GATEWAY, SENDER, 64]);
});

test('the largest quote is 548 bytes, and a shorter packet is quoted whole', () => {
  const packet = plainPacket({ payload: Uint8Array.from({ length: 700 }, (_, i) => i) });
  for (const [innerLength, quote] of [
    [20, 20],
    [28, 28],
    [547, 547],
    [548, 548],
    [549, 548],
    [720, 548],
  ] as const) {
    const out = new Guarded(new Uint8Array(8 + quote));
    assert.equal(writeIcmpError(out.bytes, out.at, 11, 0, 0, packet, 0, innerLength), 8 + quote);
    out.assertOnlyWritten();
    assert.equal(plainChecksum(out.packet), 0);
    assert.deepEqual(out.packet.slice(8), packet.slice(0, quote));
  }
});

test('an error can be written in place, into the headroom before the packet it is about', () => {
  const packet = plainPacket({ payload: new Uint8Array(30).fill(3) });
  for (const headroom of [28, 40]) {
    const guarded = new Guarded(packet);
    const { bytes, at } = guarded;
    const length = writeIcmpPacket(
      bytes,
      at - headroom,
      GATEWAY,
      SENDER,
      64,
      3,
      1,
      0,
      bytes,
      at,
      packet.length,
    );
    assert.equal(checkInner(bytes, at - headroom, length), VERDICT.FORWARD);
    assert.equal(quotedAt(bytes, at - headroom, length), at - headroom + 28);
    assert.deepEqual(bytes.slice(at - headroom + 28, at - headroom + length), packet);
    guarded.assertOnlyWritten(-headroom);
  }
});

test('what it writes about any packet is a valid ICMP error that quotes the packet', () => {
  fc.assert(
    fc.property(anyPacket, fc.nat(0xffffffff), (packet, rest) => {
      fc.pre(packet.length >= (packet[0]! & 15) * 4 + 8);
      const out = new Uint8Array(600);
      const length = writeIcmpPacket(out, 4, 0xc0a80001, SENDER, 255, 3, 4, rest, packet, 0, packet.length);
      assert.equal(checkInner(out, 4, length), VERDICT.FORWARD);
      assert.equal(plainChecksum(out.slice(24, 4 + length)), 0);
      assert.equal(readU32(out, 24 + ICMP_HEADER.REST), rest);
      const quote = quotedAt(out, 4, length);
      assert.equal(quote, 32);
      assert.deepEqual(out.slice(quote, 4 + totalLength(out, 4)), packet);
    }),
    { seed: SEED },
  );
});

test('answers ordinary packets, first fragments and ICMP queries', () => {
  assert.equal(mayAnswer(plainPacket({ protocol: 6 }), 0), 1);
  assert.equal(mayAnswer(plainPacket({ protocol: 17, fragment: IPV4.MF }), 0), 1);
  for (const type of [0, 8, 13, 14, 15, 16, 17, 18]) {
    assert.equal(
      mayAnswer(plainPacket({ protocol: 1, payload: Uint8Array.of(type, 0, 0, 0) }), 0),
      1,
      `type ${type}`,
    );
  }
});

test('never answers an ICMP error, an unknown ICMP type, or one too short to have a type', () => {
  for (const type of [3, 4, 5, 11, 12, 1, 2, 6, 19, 41, 42, 255]) {
    assert.equal(
      mayAnswer(plainPacket({ protocol: 1, payload: Uint8Array.of(type, 0, 0, 0) }), 0),
      0,
      `type ${type}`,
    );
  }
  const empty = new Uint8Array(24);
  empty.set(plainPacket({ protocol: 1 }));
  empty[20] = ICMP.ECHO;
  assert.equal(mayAnswer(empty, 0), 0);
});

test('never answers a later fragment, or a packet to or from no single host', () => {
  assert.equal(mayAnswer(plainPacket({ fragment: 1 }), 0), 0);
  assert.equal(mayAnswer(plainPacket({ fragment: IPV4.MF | 0x1fff }), 0), 0);
  for (const address of [0, 0x7f000001, 0xe0000001, 0xf0000001, 0xffffffff]) {
    assert.equal(mayAnswer(plainPacket({ source: address }), 0), 0);
    assert.equal(mayAnswer(plainPacket({ destination: address }), 0), 0);
  }
});

test('finds the datagram that Linux quotes', () => {
  const { bytes } = LINUX_PORT_UNREACHABLE;
  const quote = quotedAt(bytes, 0, bytes.length);
  assert.equal(quote, 28);
  assert.equal(bytes[quote - ICMP_HEADER.BYTES + ICMP_HEADER.TYPE], ICMP.UNREACHABLE);
  assert.equal(readU32(bytes, quote + IPV4.SOURCE), SENDER);
  assert.equal(quotedInnerAt(bytes, quote, bytes.length), -1);
});

test('finds the IPIP packet and the inner packet in what routers say about it', () => {
  for (const [{ bytes }, type, code] of [
    [LINUX_IPIP_TIME_EXCEEDED, ICMP.TIME_EXCEEDED, 0],
    [LINUX_IPIP_FRAGMENTATION_NEEDED, ICMP.UNREACHABLE, ICMP.CODE_FRAGMENTATION_NEEDED],
  ] as const) {
    const guarded = new Guarded(bytes);
    const quote = quotedAt(guarded.bytes, guarded.at, bytes.length);
    assert.equal(quote, guarded.at + 28);
    const icmp = quote - ICMP_HEADER.BYTES;
    assert.deepEqual([guarded.bytes[icmp], guarded.bytes[icmp + 1]], [type, code]);
    const inner = quotedInnerAt(guarded.bytes, quote, guarded.at + bytes.length);
    assert.equal(inner, quote + 20);
    assert.equal(readU32(guarded.bytes, inner + IPV4.SOURCE), 0x0a010005);
    assert.equal(mayAnswer(guarded.bytes, inner), 1);
  }
  const { bytes } = LINUX_IPIP_FRAGMENTATION_NEEDED;
  assert.equal(readU16(bytes, 20 + ICMP_HEADER.NEXT_HOP_MTU), 1400);
});

/** An ICMP error about `quoted` with right checksums, then changed. */
function errorAbout(
  quoted: Uint8Array,
  changes: { type?: number; fragment?: number; protocol?: number } = {},
): Uint8Array {
  const message = new Uint8Array(8 + quoted.length);
  message[0] = changes.type ?? ICMP.UNREACHABLE;
  message.set(quoted, 8);
  const check = plainChecksum(message);
  message[2] = check >> 8;
  message[3] = check & 255;
  return plainPacket({ protocol: changes.protocol ?? 1, fragment: changes.fragment ?? 0, payload: message });
}

test('needs a quote of a header and 8 bytes, options counted', () => {
  const quoted = plainPacket({ payload: new Uint8Array(8) });
  assert.equal(quotedAt(errorAbout(quoted), 0, 56), 28);
  assert.equal(quotedAt(errorAbout(quoted.slice(0, 27)), 0, 55), -1);
  const withOptions = plainPacket({ options: new Uint8Array(4), payload: new Uint8Array(8) });
  assert.equal(quotedAt(errorAbout(withOptions), 0, 60), 28);
  assert.equal(quotedAt(errorAbout(withOptions.slice(0, 31)), 0, 59), -1);
});

test('does not trust what is no ICMP error, is damaged, cut, or a fragment', () => {
  const quoted = plainPacket({ protocol: 4, payload: plainPacket({ payload: new Uint8Array(8) }) });
  const good = errorAbout(quoted);
  assert.equal(quotedAt(good, 0, good.length), 28);
  for (let length = 0; length < good.length; length++) assert.equal(quotedAt(good, 0, length), -1);
  for (const type of [0, 8, 9, 13, 255])
    assert.equal(quotedAt(errorAbout(quoted, { type }), 0, good.length), -1);
  for (const type of [3, 4, 5, 11, 12])
    assert.equal(quotedAt(errorAbout(quoted, { type }), 0, good.length), 28);
  assert.equal(quotedAt(errorAbout(quoted, { fragment: IPV4.MF }), 0, good.length), -1);
  assert.equal(quotedAt(errorAbout(quoted, { protocol: 17 }), 0, good.length), -1);
  const damaged = good.slice();
  damaged[50]! ^= 1;
  assert.equal(quotedAt(damaged, 0, damaged.length), -1);
  const version6 = quoted.slice();
  version6[0] = 0x65;
  assert.equal(quotedAt(errorAbout(version6), 0, good.length), -1);
  const shortHeader = quoted.slice();
  shortHeader[0] = 0x44;
  assert.equal(quotedAt(errorAbout(shortHeader), 0, good.length), -1);
});

test('finds no inner packet in a quote of other protocols, of fragments, or of 8 bytes behind the outer header', () => {
  const inner = plainPacket({ payload: new Uint8Array(8) });
  const innerOf = (quoted: Uint8Array): number => {
    const packet = errorAbout(quoted);
    const quote = quotedAt(packet, 0, packet.length);
    assert.equal(quote, 28);
    return quotedInnerAt(packet, quote, packet.length);
  };
  assert.equal(innerOf(plainPacket({ protocol: 4, payload: inner })), 48);
  assert.equal(innerOf(plainPacket({ protocol: 4, payload: inner }).slice(0, 28)), -1);
  assert.equal(innerOf(plainPacket({ protocol: 4, payload: inner }).slice(0, 47)), -1);
  assert.equal(innerOf(plainPacket({ protocol: 41, payload: inner })), -1);
  assert.equal(innerOf(plainPacket({ protocol: 4, fragment: 10, payload: inner })), -1);
});

test('a quoted inner packet can be answered in turn: the error about it is valid', () => {
  const { bytes } = LINUX_IPIP_TIME_EXCEEDED;
  const inner = quotedInnerAt(bytes, quotedAt(bytes, 0, bytes.length), bytes.length);
  const out = new Uint8Array(600);
  const code = ICMP.CODE_HOST_UNREACHABLE;
  const length = writeIcmpPacket(
    out,
    0,
    GATEWAY,
    0x0a010005,
    64,
    3,
    code,
    0,
    bytes,
    inner,
    bytes.length - inner,
  );
  assert.equal(quotedAt(out, 0, length), 28);
  assert.deepEqual(out.slice(28, length), bytes.slice(inner));
});

test('on any bytes the readers stay inside the packet, and the result depends on nothing behind it', () => {
  const hostileError = fc
    .tuple(fc.oneof(hostilePacket, anyPacket), fc.constantFrom(3, 4, 5, 11, 12, 8))
    .map(([quoted, type]) => errorAbout(quoted, { type }));
  fc.assert(
    fc.property(fc.oneof(hostilePacket, hostileError), (packet) => {
      const zeros = new Guarded(packet, 0);
      const ones = new Guarded(packet, 0xff);
      const quote = quotedAt(zeros.bytes, zeros.at, packet.length);
      assert.equal(quotedAt(ones.bytes, ones.at, packet.length), quote);
      assert.deepEqual(zeros.packet, packet);
      if (quote >= 0) {
        const end = zeros.at + totalLength(zeros.bytes, zeros.at);
        assert.ok(quote + headerBytes(zeros.bytes, quote) + 8 <= end);
        const inner = quotedInnerAt(zeros.bytes, quote, end);
        assert.equal(quotedInnerAt(ones.bytes, quote, end), inner);
        if (inner >= 0) {
          assert.ok(inner + headerBytes(zeros.bytes, inner) + 8 <= end);
          assert.equal(mayAnswer(ones.bytes, inner), mayAnswer(zeros.bytes, inner));
        }
      }
      if (checkInner(packet, 0, packet.length) !== VERDICT.FORWARD) return;
      assert.equal(mayAnswer(ones.bytes, ones.at), mayAnswer(zeros.bytes, zeros.at));
    }),
    { seed: SEED, numRuns: 2000 },
  );
});
