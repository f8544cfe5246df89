import type { ExpectedSends } from './outbound.ts';
import { buildIpv4, checksumOf, get16, headerLength, hex, parseIpv4, put16, sameBytes } from './wire.ts';

const OFFSET_UNITS_MAX = 0x1fff;

/** Compares what leaves towards the underlay with what must leave, one send at a time. */
export class SendsCheck {
  readonly expected: ExpectedSends;
  /** The packet that the pieces make together, and how much of its payload has come. */
  readonly #whole: Uint8Array;
  #done = 0;
  #isComplete = false;

  constructor(expected: ExpectedSends) {
    this.expected = expected;
    const { inner, outer, pieces } = expected;
    this.#whole = pieces === 'inner' ? inner : buildIpv4({ ...outer, payload: inner });
  }

  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** Takes the next packet that was sent. Returns what is wrong with it, undefined when nothing is. */
  take(sent: Uint8Array, address: number): string | undefined {
    const { expected } = this;
    if (address !== expected.gateway) return `it was sent to ${address}, not to gateway ${expected.gateway}`;
    if (expected.pieces === 'whole') {
      this.#isComplete = true;
      return differs(sent, withId(this.#whole, get16(sent, 4)), 'the outer packet');
    }
    if (sent.length > expected.pathMtuBytes) {
      return `a fragment of ${sent.length} bytes exceeds the path MTU ${expected.pathMtuBytes}`;
    }
    if (expected.pieces === 'outer') return this.#piece(sent, get16(sent, 4));
    const inner = sent.slice(20);
    const exact = buildIpv4({ ...expected.outer, id: get16(sent, 4), payload: inner });
    const wrong = differs(sent, exact, 'the outer header of a fragment');
    return wrong ?? this.#piece(inner, get16(this.#whole, 4));
  }

  /** RFC 791 §3.2: the piece must be exactly the part of the whole that follows the pieces before it. */
  #piece(piece: Uint8Array, id: number): string | undefined {
    const whole = parseIpv4(this.#whole);
    const begin = this.#done;
    const payloadBytes = piece.length - headerLength(piece);
    const isFirst = begin === 0;
    const isLast = begin + payloadBytes >= whole.payload.length;
    if (payloadBytes === 0 || (!isLast && payloadBytes % 8 !== 0)) {
      return `a fragment carries ${payloadBytes} bytes, which is no multiple of 8: ${hex(piece)}`;
    }
    this.#done = begin + payloadBytes;
    // Pieces of a forged fragment that would lie beyond the largest offset do not exist; those before it must still come.
    this.#isComplete = isLast || whole.offsetUnits + this.#done / 8 > OFFSET_UNITS_MAX;
    const exact = buildIpv4({
      ...whole,
      id,
      offsetUnits: whole.offsetUnits + begin / 8,
      moreFragments: !isLast || whole.moreFragments,
      options: isFirst ? whole.options : copiedOptions(whole.options),
      payload: whole.payload.subarray(begin, begin + payloadBytes),
    });
    return differs(piece, exact, `the fragment at byte ${begin}`);
  }
}

/** The options of later fragments: those whose copied flag (the highest bit) is set. RFC 791 §3.1. */
function copiedOptions(options: Uint8Array): Uint8Array {
  const copied: number[] = [];
  for (let at = 0; at < options.length && options[at] !== 0; ) {
    if (options[at] === 1) {
      at += 1;
      continue;
    }
    const length = at + 1 < options.length ? (options[at + 1] as number) : 0;
    if (length < 2 || at + length > options.length) break;
    if ((options[at] as number) >= 128) copied.push(...options.subarray(at, at + length));
    at += length;
  }
  return Uint8Array.from(copied);
}

/** A packet without options and with another ID. */
function withId(packet: Uint8Array, id: number): Uint8Array {
  const result = packet.slice();
  put16(result, 4, id);
  put16(result, 10, 0);
  put16(result, 10, checksumOf(result, 0, headerLength(result)));
  return result;
}

function differs(actual: Uint8Array, expected: Uint8Array, what: string): string | undefined {
  if (sameBytes(actual, expected)) return undefined;
  const at = actual.findIndex((byte, index) => byte !== expected[index]);
  const where = at < 0 ? Math.min(actual.length, expected.length) : at;
  return `${what} differs from byte ${where} on\n    expected ${hex(expected)}\n    got      ${hex(actual)}`;
}
