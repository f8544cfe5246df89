import { addressBits, type Cidr, networkOf, sortCidrs } from '../base/address.ts';
import { assert } from '../base/assert.ts';
import { PrefixMap } from './prefix-map.ts';

interface Full {
  readonly cidr: Cidr;
  /** How often it was added itself. 0: every address of it is held, but only because both of its halves are. */
  own: number;
}

/**
 * The addresses that a set of CIDRs holds. A CIDR is full when it was added or when both of its halves are full, so that one that comes or
 * goes costs one step for each level that joins or splits, however many there are.
 */
export class Cover {
  readonly #full = new PrefixMap<Full>();
  #joined: readonly Cidr[] | undefined = [];

  /** Returns the CIDRs that this one has made full together with others. */
  add(cidr: Cidr): Cidr[] {
    const known = this.#full.get(cidr);
    if (known !== undefined) {
      known.own++;
      return [];
    }
    this.#joined = undefined;
    this.#full.set(cidr, { cidr, own: 1 });
    const made: Cidr[] = [];
    let at = cidr;
    while (at.prefixLength > 0 && this.#full.get(siblingOf(at)) !== undefined) {
      at = parentOf(at);
      if (this.#full.get(at) !== undefined) break;
      this.#full.set(at, { cidr: at, own: 0 });
      made.push(at);
    }
    return made;
  }

  /** Takes back one `add`. Returns whether any address may be held no more. */
  remove(cidr: Cidr): boolean {
    const known = this.#full.get(cidr);
    assert(known !== undefined && known.own > 0, 'only a CIDR that was added is removed');
    known.own--;
    if (known.own > 0 || this.#hasHalves(cidr)) return false;
    this.#joined = undefined;
    this.#full.delete(cidr);
    for (let at = cidr; at.prefixLength > 0; ) {
      at = parentOf(at);
      if (this.#full.get(at)?.own !== 0) break;
      this.#full.delete(at);
    }
    return true;
  }

  /** The longest full CIDR that holds all of `cidr`. */
  around(cidr: Cidr): Cidr | undefined {
    if (this.#full.size === 0) return undefined;
    return this.#full.longest(cidr.address, cidr.prefixLength)?.cidr;
  }

  /** What is held in as few CIDRs as possible, IPv4 first and by address: none inside another, none the half of one that is full. */
  joined(): readonly Cidr[] {
    if (this.#joined === undefined) {
      const outermost: Cidr[] = [];
      for (const { cidr } of this.#full.values()) {
        if (this.#full.longest(cidr.address, cidr.prefixLength - 1) === undefined) outermost.push(cidr);
      }
      this.#joined = sortCidrs(outermost);
    }
    return this.#joined;
  }

  #hasHalves(cidr: Cidr): boolean {
    if (cidr.prefixLength === addressBits(cidr.address)) return false;
    const lower = networkOf(cidr.address, cidr.prefixLength + 1);
    return this.#full.get(lower) !== undefined && this.#full.get(siblingOf(lower)) !== undefined;
  }
}

function parentOf({ address, prefixLength }: Cidr): Cidr {
  return networkOf(address, prefixLength - 1);
}

/** The other half of the parent. */
function siblingOf({ address, prefixLength }: Cidr): Cidr {
  return typeof address === 'number'
    ? { address: (address ^ (1 << (32 - prefixLength))) >>> 0, prefixLength }
    : { address: address ^ (1n << BigInt(128 - prefixLength)), prefixLength };
}
