import type { IpAddress } from '../base/address.ts';

/** RFC 1191 §3: a learned value is tried higher again no sooner than 10 minutes after it was learned. */
export const PATH_MTU_EXPIRY_MS = 10 * 60_000;

/**
 * A router that asks for less than this is an attack or broken: every link carries 576 bytes (RFC 791), which with the outer header
 * of the tunnel makes 596.
 */
export const PATH_MTU_BYTES_MIN = 576 + 20;

/** The same of IPv6, whose links all carry as much: RFC 8200 §5, RFC 8201 §4. */
export const PATH_MTU6_BYTES_MIN = 1280;

export function pathMtuMin(peer: IpAddress): number {
  return typeof peer === 'number' ? PATH_MTU_BYTES_MIN : PATH_MTU6_BYTES_MIN;
}

/** Peers with a learned path MTU at a time; the oldest makes room. An attacker who can quote our packets must not grow memory. */
export const PATH_MTU_PEERS_MAX = 65_536;

export interface PathMtuChange {
  readonly peer: IpAddress;
  /** 0: nothing learned any more, the underlay device's MTU holds. */
  readonly pathMtuBytes: number;
}

/** `icmp`: a router said so. `probe`: probes of that size arrive, and larger ones do not. */
export type PathMtuSource = 'icmp' | 'probe';

interface Learned {
  readonly pathMtuBytes: number;
  readonly expiresMs: number;
  readonly source: PathMtuSource;
}

/** The soft state of RFC 2003 §5.1: the path MTU to each peer, learned from ICMP fragmentation-needed and forgotten with time, or probed. Pure. */
export class PathMtuTable {
  readonly #learned = new Map<IpAddress, Learned>();
  #ignored = 0;

  /** Reports that were ignored because they asked for less than every path carries, or for no change. */
  get ignored(): number {
    return this.#ignored;
  }

  /**
   * A router on the path to `peer` says that it carries `mtuBytes`; 0 means an old router that gives no value (RFC 1191 §5), for which the
   * next plateau below `sentBytes` is taken.
   */
  report(peer: IpAddress, mtuBytes: number, sentBytes: number, nowMs: number): PathMtuChange | undefined {
    const value = mtuBytes === 0 && typeof peer === 'number' ? plateauBelow(sentBytes) : mtuBytes;
    const known = this.#learned.get(peer);
    if (
      value < pathMtuMin(peer) ||
      value >= sentBytes ||
      // Probes say the same, and go on saying it.
      (known?.source === 'probe' && value === known.pathMtuBytes) ||
      (known !== undefined && value > known.pathMtuBytes)
    ) {
      this.#ignored += 1;
      return undefined;
    }
    this.#learn(peer, { pathMtuBytes: value, expiresMs: nowMs + PATH_MTU_EXPIRY_MS, source: 'icmp' });
    return known?.pathMtuBytes === value ? undefined : { peer, pathMtuBytes: value };
  }

  /** Probes found what the path carries; it holds until they find something else. */
  probed(peer: IpAddress, pathMtuBytes: number): void {
    this.#learn(peer, { pathMtuBytes, expiresMs: Number.POSITIVE_INFINITY, source: 'probe' });
  }

  /** Forgets what was probed of a peer. Returns whether there was anything. */
  forgetProbed(peer: IpAddress): boolean {
    return this.source(peer) === 'probe' && this.#learned.delete(peer);
  }

  /** Forgets what has expired. */
  expire(nowMs: number): PathMtuChange[] {
    const changes: PathMtuChange[] = [];
    for (const [peer, state] of this.#learned) {
      if (state.expiresMs > nowMs) continue;
      this.#learned.delete(peer);
      changes.push({ peer, pathMtuBytes: 0 });
    }
    return changes;
  }

  /** All that is known now: what the packet path has to be told of a gateway that comes back, for a path outlives the routes over it. */
  *learned(): Generator<PathMtuChange> {
    for (const [peer, { pathMtuBytes }] of this.#learned) yield { peer, pathMtuBytes };
  }

  /** 0: nothing learned. */
  known(peer: IpAddress): number {
    return this.#learned.get(peer)?.pathMtuBytes ?? 0;
  }

  /** Undefined: nothing learned. */
  source(peer: IpAddress): PathMtuSource | undefined {
    return this.#learned.get(peer)?.source;
  }

  #learn(peer: IpAddress, learned: Learned): void {
    this.#learned.delete(peer);
    if (this.#learned.size >= PATH_MTU_PEERS_MAX) {
      const oldest = this.#learned.keys().next().value;
      if (oldest !== undefined) this.#learned.delete(oldest);
    }
    this.#learned.set(peer, learned);
  }
}

/** RFC 1191 §7.1, table 7-1: the MTUs of the links that were common, so that a router that names no value is met in few steps. */
const PLATEAUS = [65_535, 32_000, 17_914, 8166, 4352, 2002, 1492, 1006, PATH_MTU_BYTES_MIN];

function plateauBelow(sentBytes: number): number {
  return PLATEAUS.find((plateau) => plateau < sentBytes) ?? PATH_MTU_BYTES_MIN;
}
