import { lacking } from '../sandbox.ts';

/**
 * What a tunnel needs to know of the gateway that it runs on. Every recipe gets the same machines as an Isthmus path, and must not need
 * more of them: a device, a route for the other cluster into it, and a process at most.
 */
export interface TunnelEnd {
  /** Names the end in files and in protocols that have names. */
  readonly name: 'a' | 'b';
  /** Addresses of the underlay, ours and the other gateway's. */
  readonly underlay: string;
  readonly remoteUnderlay: string;
  /** The cluster behind us, and the one behind the other gateway. */
  readonly localCidr: string;
  readonly remoteCidr: string;
  /** The name that the tunnel's device gets; no other topology uses it. */
  readonly device: string;
  /** An empty folder for configuration files. */
  readonly folder: string;
}

/** How one end is set up, in this order: files, `before`, the daemon, then, once the device is there, `configure`, MTU, queue and route. */
export interface EndSetup {
  /** Paths relative to the end's folder. All are private: some hold keys. */
  readonly files: readonly { readonly path: string; readonly text: string }[];
  /** Lines of `ip -batch`. */
  readonly before?: readonly string[];
  readonly daemon?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** A command that configures the device. */
  readonly configure?: readonly string[];
}

export interface Recipe {
  /** As it stands in tables. */
  readonly name: string;
  readonly kind: 'kernel' | 'peer';
  /** The largest inner packet that fits into an underlay packet of 1,500 bytes: like an Isthmus's, no packet is sent in two. */
  readonly mtuBytes: number;
  /** Why it cannot be measured here, in one line with the Debian package; undefined where it can. */
  lacks(): string | undefined;
  /** For both ends at once: keys belong together. */
  setUp(a: TunnelEnd, b: TunnelEnd): readonly [EndSetup, EndSetup];
}

/** Of the underlay that benchmarks use. */
export const UNDERLAY_MTU_BYTES = 1500;
export const IPV4_BYTES = 20;
export const UDP_BYTES = 8;

/**
 * Packets, the default of `tunnel.queueLength`: the length of a TUN device's queue decides how long a burst may be, and 500, which the
 * kernel gives, would cost the others packets that an Isthmus keeps.
 */
export const QUEUE_LENGTH = 5000;

/** Bytes asked for each socket buffer; the kernel gives at most net.core.wmem_max and rmem_max. */
export const SOCKET_BUFFER_BYTES = 4 << 20;

/** The other underlay address and the other end for each of two ends. */
export function bothWays(
  a: TunnelEnd,
  b: TunnelEnd,
  one: (end: TunnelEnd) => EndSetup,
): [EndSetup, EndSetup] {
  return [one(a), one(b)];
}

/** One line for the first of `[program, Debian package]` that is missing. */
export function firstLacking(...programs: readonly (readonly [string, string])[]): string | undefined {
  for (const [program, debianPackage] of programs) {
    const missing = lacking(program, debianPackage);
    if (missing !== undefined) return missing;
  }
  return undefined;
}
