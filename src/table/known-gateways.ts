import {
  type Address,
  type Cidr,
  cidrHolds,
  compareAddresses,
  type IpAddress,
  isCidr4,
} from '../base/address.ts';
import type { Address6 } from '../base/address6.ts';
import { assert } from '../base/assert.ts';
import type { Entry } from './entry.ts';

export interface KnownGateway {
  readonly address: IpAddress;
  /** Sequence number at which a claim first named it. */
  readonly since: number;
  /** How many claims name it. */
  claims: number;
  /** An older CIDR that swallows it: claims that rely on it are refused. */
  inside: Entry | undefined;
}

/**
 * The underlay addresses that claims name as gateways, and which of them lie in a CIDR. The sorted array is brought up to date once a
 * commit, by a merge: inserting each address where it belongs would take quadratic time for a large `replace`.
 */
export class KnownGateways {
  readonly #byAddress = new Map<IpAddress, KnownGateway>();
  /** All that stood at the last `flush`, ascending, by family. */
  #sorted4: Uint32Array = new Uint32Array(0);
  #sorted6: readonly Address6[] = [];
  /** Named for the first time, or by nobody any more, since the last `flush`. */
  readonly #doubtful = new Set<IpAddress>();
  #swallowed = 0;

  get(address: IpAddress): KnownGateway | undefined {
    return this.#byAddress.get(address);
  }

  /** Whether any gateway lies inside an older CIDR: the rare case that spares all others the look. */
  get anySwallowed(): boolean {
    return this.#swallowed > 0;
  }

  entries(): Iterable<KnownGateway> {
    return this.#byAddress.values();
  }

  name(address: IpAddress, seq: number): void {
    const known = this.#byAddress.get(address);
    if (known !== undefined) {
      known.claims++;
      return;
    }
    this.#byAddress.set(address, { address, since: seq, claims: 1, inside: undefined });
    this.#doubtful.add(address);
  }

  forget(address: IpAddress): void {
    const known = this.#byAddress.get(address);
    assert(known !== undefined && known.claims > 0, 'a claim forgets only gateways that it named');
    if (--known.claims === 0) this.#doubtful.add(address);
  }

  setInside(known: KnownGateway, inside: Entry | undefined): void {
    if (known.inside === undefined && inside !== undefined) this.#swallowed++;
    if (known.inside !== undefined && inside === undefined) this.#swallowed--;
    known.inside = inside;
  }

  /** Settles what was named and forgotten since the last call. `inside` answers for the new state afterwards. */
  flush(): { appeared: KnownGateway[]; gone: IpAddress[] } {
    const appeared: KnownGateway[] = [];
    const gone: IpAddress[] = [];
    if (this.#doubtful.size === 0) return { appeared, gone };
    for (const address of this.#doubtful) {
      const known = this.#byAddress.get(address);
      assert(known !== undefined, 'a doubtful gateway is still in the map');
      const stood = this.#holds(address);
      if (known.claims > 0 && !stood) appeared.push(known);
      if (known.claims > 0) continue;
      this.setInside(known, undefined);
      this.#byAddress.delete(address);
      if (stood) gone.push(address);
    }
    this.#doubtful.clear();
    const names = appeared.map(({ address }) => address);
    this.#merge4(names.filter(isIpv4), gone.filter(isIpv4));
    this.#merge6(names.filter(isIpv6), gone.filter(isIpv6));
    return { appeared, gone };
  }

  /** The gateways inside a CIDR, ascending, as of the last `flush`. */
  *inside(cidr: Cidr): Iterable<KnownGateway> {
    const sorted = isCidr4(cidr) ? this.#sorted4 : this.#sorted6;
    for (let i = firstFrom(sorted, cidr.address); i < sorted.length; i++) {
      const address = sorted[i] as IpAddress;
      if (!cidrHolds(cidr, address)) return;
      yield this.#byAddress.get(address) as KnownGateway;
    }
  }

  /** Copies what lies between the changes in blocks: one gateway more among 60,000 takes 10 µs, address by address it took 6 ms. */
  #merge4(appeared: readonly Address[], gone: readonly Address[]): void {
    const sorted = this.#sorted4;
    const left = new Set(gone);
    const changes = [...appeared, ...gone].sort((a, b) => a - b);
    const merged = new Uint32Array(sorted.length + appeared.length - gone.length);
    let from = 0;
    let at = 0;
    for (const address of changes) {
      const until = firstFrom(sorted, address);
      merged.set(sorted.subarray(from, until), at);
      at += until - from;
      from = until;
      if (left.has(address)) from++;
      else merged[at++] = address;
    }
    merged.set(sorted.subarray(from), at);
    this.#sorted4 = merged;
  }

  #merge6(appeared: readonly Address6[], gone: readonly Address6[]): void {
    if (appeared.length + gone.length === 0) return;
    const left = new Set(gone);
    const kept = left.size === 0 ? this.#sorted6 : this.#sorted6.filter((address) => !left.has(address));
    // Runs that are in order already cost one comparison each.
    this.#sorted6 = [...kept, ...appeared].sort(compareAddresses);
  }

  #holds(address: IpAddress): boolean {
    const sorted = typeof address === 'number' ? this.#sorted4 : this.#sorted6;
    return sorted[firstFrom(sorted, address)] === address;
  }
}

/** Index of the first sorted address that is not below `address`, which is of their family. */
function firstFrom(sorted: ArrayLike<IpAddress>, address: IpAddress): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as IpAddress) < address) low = middle + 1;
    else high = middle;
  }
  return low;
}

const isIpv4 = (address: IpAddress): address is Address => typeof address === 'number';
const isIpv6 = (address: IpAddress): address is Address6 => typeof address === 'bigint';
