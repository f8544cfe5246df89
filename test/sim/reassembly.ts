import { buildIpv4, headerLength, type Ipv4, onesSum, parseIpv4 } from './oracle/wire.ts';

interface Datagram {
  readonly pieces: Map<number, Ipv4>;
  readonly sinceStep: number;
}

/** What a kernel does with fragments before a raw socket sees them: RFC 791 §3.2, the plain way. */
export class Reassembly {
  readonly #stepsMax: number;
  readonly #datagrams = new Map<string, Datagram>();
  #step = 0;

  constructor(stepsMax: number) {
    this.#stepsMax = stepsMax;
  }

  step(): void {
    this.#step += 1;
    for (const [key, { sinceStep }] of this.#datagrams) {
      if (this.#step - sinceStep > this.#stepsMax) this.#datagrams.delete(key);
    }
  }

  /** The whole packet when this was the last piece that it lacked. */
  add(fragment: Uint8Array): Uint8Array | undefined {
    const header = headerLength(fragment);
    if (header < 20 || header > fragment.length || onesSum(fragment, 0, header) !== 0xffff) return undefined;
    const piece = parseIpv4(fragment);
    const key = [piece.source, piece.destination, piece.protocol, piece.id].join();
    const datagram = this.#datagrams.get(key) ?? { pieces: new Map<number, Ipv4>(), sinceStep: this.#step };
    this.#datagrams.set(key, datagram);
    datagram.pieces.set(piece.offsetUnits * 8, piece);
    const whole = join(datagram.pieces);
    if (whole !== undefined) this.#datagrams.delete(key);
    return whole;
  }
}

function join(pieces: ReadonlyMap<number, Ipv4>): Uint8Array | undefined {
  const first = pieces.get(0);
  if (first === undefined) return undefined;
  const parts: Uint8Array[] = [];
  let next = 0;
  let tos = 0;
  for (let piece: Ipv4 | undefined = first; piece !== undefined; piece = pieces.get(next)) {
    parts.push(piece.payload);
    next += piece.payload.length;
    // RFC 3168 §5.3: one marked fragment marks the datagram.
    tos = Math.max(tos, piece.tos % 4);
    if (piece.payload.length === 0) return undefined;
    if (piece.moreFragments) continue;
    if (next > 65_515) return undefined;
    const payload = Buffer.concat(parts);
    return buildIpv4({ ...first, tos: first.tos - (first.tos % 4) + tos, moreFragments: false, payload });
  }
  return undefined;
}
