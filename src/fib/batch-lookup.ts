import * as layout from './layout.ts';

const { NODE_OFFSET_MASK, ROOT, UNIT_WORDS } = layout;
const { FALLBACK, STARTS, COUNTS, RUNS } = layout.NODE;

/** Many look-ups at once: what `lookup` says of `addresses[i]` goes to `groups[i]`. */
export interface BatchLookup {
  /** i32 */
  readonly addresses: Int32Array;
  readonly groups: Int32Array;
  /** Looks up the addresses from `from` to `to - 1`. */
  run(from: number, to: number): void;
}

/**
 * Level by level for all addresses, not address by address to the end: what a level reads is in no cache, and a processor that waits for
 * it guesses the branch behind it wrong as often as not, and then waits for the next address from the beginning. A loop without such a
 * branch has the loads of many addresses under way at once, and the next loop finds what they brought (bench/fib.bench.ts, "64 at once").
 *
 * @constructs once for each engine; see dataplane/plain-outbound.ts for why it is a function and no class.
 */
export function batchLookup(words: Uint32Array, capacity: number): BatchLookup {
  const addresses = new Int32Array(capacity);
  const groups = new Int32Array(capacity);
  /**
   * The nodes of the first level: an address must not be led to another one half way because the writer replaces one meanwhile. The last
   * cell takes what was only loaded to be near, so that those loads are not optimised away.
   */
  const nodes = new Int32Array(capacity + 1);

  function run(from: number, to: number): void {
    let near = 0;
    for (let i = from | 0; i < to; i++) {
      const top = words[ROOT + (addresses[i]! >>> 16)]! | 0;
      const node = top & NODE_OFFSET_MASK;
      groups[i] = top;
      nodes[i] = node;
      // Of a group, which is no offset, it is a word at the beginning of the image that is fetched. Of a node that has more than five
      // runs the second cache line holds most of them.
      near ^= words[node]! ^ words[node + UNIT_WORDS]!;
    }
    for (let shift = 8; shift >= 0; shift -= 8) {
      for (let i = from | 0; i < to; i++) {
        const above = groups[i]!;
        if (above >= 0) continue;
        const node = above & NODE_OFFSET_MASK;
        const slot = (addresses[i]! >>> shift) & 255;
        // As entryOf of lookup.ts, which V8 would not inline into a caller of this size.
        const index = slot >>> 5;
        let bits = words[node + STARTS + index]! << (31 - (slot & 31));
        bits = (bits - ((bits >>> 1) & 0x5555_5555)) | 0;
        bits = ((bits & 0x3333_3333) + ((bits >>> 2) & 0x3333_3333)) | 0;
        bits = Math.imul((bits + (bits >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
        const before = (words[node + COUNTS + (index >>> 2)]! >>> ((index & 3) << 3)) & 255;
        let entry = words[node + RUNS - 1 + before + bits]! | 0;
        if (entry === 0) entry = words[node + FALLBACK]! | 0;
        if (entry === 0) entry = words[nodes[i]! + FALLBACK]! | 0;
        groups[i] = entry;
        near ^= words[entry & NODE_OFFSET_MASK]!;
      }
    }
    nodes[capacity] = near;
  }

  return { addresses, groups, run };
}
