import { get16, get32, headerLength, onesSum } from './wire.ts';

const EXPIRY_MS = 600_000;
/** 576, which every link carries, and the outer header. */
const BYTES_MIN = 596;
/** RFC 1191 §7.1: what is tried when a router says no value. */
const PLATEAUS = [65_535, 32_000, 17_914, 8166, 4352, 2002, 1492, 1006, BYTES_MIN];

/** What a gateway has learned of the paths to its peers: by address, whatever becomes of the routes. RFC 1191, RFC 2003 §5.1. */
export class LearnedPaths {
  readonly #learned = new Map<number, { readonly bytes: number; readonly untilMs: number }>();

  /** 0: nothing. */
  bytesOf(peer: number): number {
    return this.#learned.get(peer)?.bytes ?? 0;
  }

  /** Takes an ICMP packet from the underlay, which anybody may have sent. */
  receive(packet: Uint8Array, ours: number, isPeer: (address: number) => boolean, nowMs: number): void {
    const icmp = packet.subarray(headerLength(packet), get16(packet, 2));
    const quote = icmp.subarray(8);
    const isError = icmp[0] === 3 && icmp[1] === 4 && onesSum(icmp) === 0xffff && quote.length >= 28;
    if (!isError || quote[9] !== 4 || get32(quote, 12) !== ours) return;
    const peer = get32(quote, 16);
    const sent = get16(quote, 2);
    const said = get16(icmp, 6);
    const bytes = said > 0 ? said : (PLATEAUS.find((plateau) => plateau < sent) ?? BYTES_MIN);
    const known = this.bytesOf(peer);
    const isBelieved = isPeer(peer) && bytes >= BYTES_MIN && bytes < sent && (known === 0 || bytes <= known);
    if (isBelieved) this.#learned.set(peer, { bytes, untilMs: nowMs + EXPIRY_MS });
  }

  expire(nowMs: number): void {
    for (const [peer, { untilMs }] of this.#learned) if (untilMs <= nowMs) this.#learned.delete(peer);
  }
}
