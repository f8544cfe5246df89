import {
  type Address,
  type Cidr,
  type Cidr4,
  type CidrKey,
  cidrHolds,
  cidrKey,
  formatCidr,
  type IpAddress,
  isCidr4,
  prefixMask,
} from '../../../src/base/address.ts';
import type { FibEntry, FibSettings } from '../../../src/fib/entry.ts';
import { Fib, type FibOptions } from '../../../src/fib/fib.ts';

/** What every random test of this folder starts from; a failure names it. */
export const SEED = 0x15_74_17_15;

/** A megabyte of blocks: reserving the default size takes longer than most tests do. */
export function smallFib(options: FibOptions = {}): Fib {
  return new Fib({ capacityBytes: 1024 * 1024, ...options });
}

export function cidr(text: string): Cidr4 {
  const [dotted = '', length = '32'] = text.split('/');
  return { address: address(dotted), prefixLength: Number(length) };
}

export function address(dotted: string): Address {
  return dotted.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0);
}

/** `10.2.0.0/16`, a cluster and its gateways, each `address` or `address*weight`. */
export function entry(prefix: string, cluster: string, ...gateways: string[]): FibEntry {
  return {
    cidr: cidr(prefix),
    cluster,
    gateways: gateways.map((gateway) => {
      const [dotted = '', weight = '1'] = gateway.split('*');
      return { address: address(dotted), weight: Number(weight) };
    }),
  };
}

export const someSettings: FibSettings = {
  source: address('172.31.0.1'),
  tunnelAddress: 0,
  linkMtuBytes: 1500,
  ttl: 64,
  dscp: 'inherit',
  ecn: 'normal',
  fragment: 'inner',
  clampMss: true,
  innerSource: 'strict',
  allowedSources: [],
  transit: [],
};

/** The slow, obvious forwarding table that the image is compared with: two lists and a loop. */
export class LinearScan {
  readonly remote = new Map<CidrKey, FibEntry>();
  readonly local = new Map<CidrKey, Cidr>();

  apply(set: readonly FibEntry[], removed: readonly Cidr[]): void {
    for (const gone of removed) this.remote.delete(cidrKey(gone));
    for (const added of set) this.remote.set(cidrKey(added.cidr), added);
  }

  replace(entries: readonly FibEntry[]): void {
    this.remote.clear();
    this.apply(entries, []);
  }

  setLocal(cidrs: readonly Cidr[]): void {
    this.local.clear();
    for (const ours of cidrs) this.local.set(cidrKey(ours), ours);
  }

  find(wanted: IpAddress): FibEntry | 'local' | undefined {
    let best: FibEntry | 'local' | undefined;
    let longest = -1;
    for (const candidate of this.remote.values()) {
      if (candidate.cidr.prefixLength > longest && cidrHolds(candidate.cidr, wanted)) {
        best = candidate;
        longest = candidate.cidr.prefixLength;
      }
    }
    for (const ours of this.local.values()) {
      if (ours.prefixLength >= longest && cidrHolds(ours, wanted)) {
        best = 'local';
        longest = ours.prefixLength;
      }
    }
    return best;
  }

  /** How many prefixes the packet path sees: an entry that is exactly a local CIDR is not among them. */
  get count(): number {
    let count = this.local.size;
    for (const key of this.remote.keys()) if (!this.local.has(key)) count += 1;
    return count;
  }
}

/** The first and last address of a prefix, their neighbours outside and one in the middle. */
export function bordersOf(prefix: Cidr): IpAddress[] {
  if (!isCidr4(prefix)) {
    const size = 1n << BigInt(128 - prefix.prefixLength);
    const { address: first } = prefix;
    const all = [first, first + size - 1n, first + size / 2n, first - 1n, first + size];
    return all.map((each) => BigInt.asUintN(128, each));
  }
  const last = (prefix.address | ~prefixMask(prefix.prefixLength)) >>> 0;
  const middle = prefix.address + Math.floor((last - prefix.address) / 2);
  return [prefix.address, last, middle, (prefix.address - 1) >>> 0, (last + 1) >>> 0];
}

export function describeFound(found: FibEntry | 'local' | undefined): string {
  if (found === undefined || found === 'local') return String(found);
  const gateways = found.gateways.map((gateway) => `${gateway.address}*${gateway.weight}`).sort();
  return `${formatCidr(found.cidr)} ${found.cluster} ${gateways.join(' ')}`;
}
