import {
  addressBits,
  type Cidr,
  type CidrKey,
  cidrKey,
  type IpAddress,
  networkOf,
  prefixMask,
} from '../base/address.ts';

/**
 * Values by CIDR of either family, with the question "which of these CIDRs hold this address". One hash map and a count for each of the
 * prefix lengths of a family: a real table uses a handful of lengths, so a question costs that many hash look-ups, and a change costs one.
 * A trie would answer in fewer steps but takes several objects for each prefix.
 */
export class PrefixMap<T> {
  readonly #values = new Map<CidrKey, T>();
  readonly #lengths4 = new LengthsInUse(32);
  readonly #lengths6 = new LengthsInUse(128);

  get size(): number {
    return this.#values.size;
  }

  get(cidr: Cidr): T | undefined {
    return this.#values.get(cidrKey(cidr));
  }

  set(cidr: Cidr, value: T): void {
    const before = this.#values.size;
    this.#values.set(cidrKey(cidr), value);
    if (this.#values.size > before) this.#lengthsOf(cidr.address).count(cidr.prefixLength, 1);
  }

  delete(cidr: Cidr): void {
    if (this.#values.delete(cidrKey(cidr))) this.#lengthsOf(cidr.address).count(cidr.prefixLength, -1);
  }

  values(): IterableIterator<T> {
    return this.#values.values();
  }

  /** The value of the longest CIDR that holds `address`, is at most `longest` bits long and is accepted by `wanted`. */
  longest(address: IpAddress, longest: number, wanted?: (value: T) => boolean): T | undefined {
    for (const length of this.#lengthsOf(address).longestFirst) {
      if (length > longest) continue;
      // The key of IPv4 without an object: this is asked for every claim.
      const key =
        typeof address === 'number'
          ? ((address & prefixMask(length)) >>> 0) * 64 + length
          : cidrKey(networkOf(address, length));
      const value = this.#values.get(key);
      if (value !== undefined && (wanted === undefined || wanted(value))) return value;
    }
    return undefined;
  }

  /** The values of all the CIDRs that hold `address`, longest first. */
  holding(address: IpAddress): T[] {
    const found: T[] = [];
    this.longest(address, addressBits(address), (value) => {
      found.push(value);
      return false;
    });
    return found;
  }

  #lengthsOf(address: IpAddress): LengthsInUse {
    return typeof address === 'number' ? this.#lengths4 : this.#lengths6;
  }
}

/** The prefix lengths of one family that some CIDR has. */
class LengthsInUse {
  /** A question is asked for every claim, and 33 counts to pass by were a tenth of loading. */
  longestFirst: readonly number[] = [];
  readonly #counts: number[];

  constructor(bits: number) {
    this.#counts = new Array<number>(bits + 1).fill(0);
  }

  count(length: number, by: number): void {
    const count = (this.#counts[length] as number) + by;
    this.#counts[length] = count;
    // A length that came into use or went out of it.
    if (count === 0 || count === by) {
      this.longestFirst = Array.from(this.#counts.keys())
        .filter((one) => this.#counts[one] !== 0)
        .reverse();
    }
  }
}
