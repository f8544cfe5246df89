import { type Address, type Cidr4, cidrKey, prefixMask } from '../base/address.ts';

/**
 * Values by CIDR, with the question "which of these CIDRs hold this address". One hash map and a count for each of the 33 prefix
 * lengths: a real table uses a handful of lengths, so a question costs that many hash look-ups, and a change costs one. A trie would
 * answer in fewer steps but takes several objects for each prefix.
 */
export class PrefixMap<T> {
  readonly #values = new Map<number, T>();
  readonly #countByLength: number[] = new Array<number>(33).fill(0);
  /** The prefix lengths in use, longest first: a question is asked for every claim, and 33 counts to pass by were a tenth of loading. */
  #lengths: readonly number[] = [];

  get size(): number {
    return this.#values.size;
  }

  get(cidr: Cidr4): T | undefined {
    return this.#values.get(cidrKey(cidr));
  }

  set(cidr: Cidr4, value: T): void {
    const before = this.#values.size;
    this.#values.set(cidrKey(cidr), value);
    if (this.#values.size > before) this.#count(cidr.prefixLength, 1);
  }

  delete(cidr: Cidr4): void {
    if (this.#values.delete(cidrKey(cidr))) this.#count(cidr.prefixLength, -1);
  }

  values(): IterableIterator<T> {
    return this.#values.values();
  }

  /** The value of the longest CIDR that holds `address`, is at most `longest` bits long and is accepted by `wanted`. */
  longest(address: Address, longest: number, wanted?: (value: T) => boolean): T | undefined {
    for (const length of this.#lengths) {
      if (length > longest) continue;
      const value = this.#values.get(((address & prefixMask(length)) >>> 0) * 64 + length);
      if (value !== undefined && (wanted === undefined || wanted(value))) return value;
    }
    return undefined;
  }

  /** The values of all the CIDRs that hold `address`, longest first. */
  holding(address: Address): T[] {
    const found: T[] = [];
    this.longest(address, 32, (value) => {
      found.push(value);
      return false;
    });
    return found;
  }

  #count(length: number, by: number): void {
    const count = (this.#countByLength[length] as number) + by;
    this.#countByLength[length] = count;
    // A length that came into use or went out of it.
    if (count === 0 || count === by) {
      this.#lengths = Array.from(this.#countByLength.keys())
        .filter((one) => this.#countByLength[one] !== 0)
        .reverse();
    }
  }
}
