/**
 * Weighted rendezvous hashing (Thaler and Ravishankar; weights after Schindelhauer and Schomaker): bucket b belongs to the gateway with the
 * highest weight / -ln(u), u a hash of (bucket, gateway address) in (0, 1). A score depends on nothing else, so a gateway that goes moves only
 * its own buckets, one that comes takes only what it wins, and a weight that changes moves the fewest possible. A ring or a
 * Maglev table would also move buckets between the gateways that stay.
 */

/** The larger wins `bucket`. */
export function score(bucket: number, address: number, weight: number): number {
  // A half is added so that u is never 0, whose logarithm is infinite, and never 1, whose logarithm is 0.
  const u = (mix(mix(address) ^ mix(bucket + 1)) + 0.5) / 0x1_0000_0000;
  return weight / -Math.log(u);
}

/** The 32-bit finaliser of MurmurHash3: neighbouring addresses and buckets come out unrelated. */
function mix(value: number): number {
  let h = value >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85eb_ca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Columns of the members of a group, sorted by address; of an IPv6 address its hash counts (addressHash). `alive` is 0 or 1. */
export interface Members {
  readonly addresses: Uint32Array;
  readonly weights: Uint16Array;
  readonly alive: Uint8Array;
}

/** The member that owns `bucket`, -1 when none that has a weight is alive. Of equal scores the lower address wins. */
export function ownerOf(bucket: number, members: Members): number {
  const { addresses, weights, alive } = members;
  let best = -1;
  let bestScore = 0;
  for (let member = 0; member < addresses.length; member++) {
    if (alive[member] === 0 || weights[member] === 0) continue;
    const candidate = score(bucket, addresses[member]!, weights[member]!);
    if (best < 0 || candidate > bestScore) {
      best = member;
      bestScore = candidate;
    }
  }
  return best;
}

/** How many of the buckets each member owns. */
export function bucketCounts(owners: Iterable<number>, members: number): number[] {
  const counts = new Array<number>(members).fill(0);
  for (const owner of owners) if (owner >= 0) counts[owner]! += 1;
  return counts;
}
