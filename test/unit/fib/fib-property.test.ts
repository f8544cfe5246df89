import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Cidr, formatAddress, prefixMask } from '../../../src/base/address.ts';
import type { FibEntry } from '../../../src/fib/entry.ts';
import { Fib } from '../../../src/fib/fib.ts';
import { LOCAL_GROUP, NO_GROUP, PEER } from '../../../src/fib/layout.ts';
import { enterEpoch, leaveEpoch, lookup, peerWord, pickPeer } from '../../../src/fib/lookup.ts';
import { checkBlocks, reachableBlocks } from './image-walk.ts';
import { bordersOf, describeFound, LinearScan, SEED } from './linear-scan.ts';

/** Few distinct bytes, so that random prefixes contain, touch and replace one another. */
const someAddress = fc
  .tuple(
    fc.constantFrom(0, 10, 11, 255),
    fc.constantFrom(0, 1, 128, 255),
    fc.constantFrom(0, 1, 64, 255),
    fc.constantFrom(0, 1, 32, 127, 128, 255),
  )
  .map(([a, b, c, d]) => ((a << 24) | (b << 16) | (c << 8) | d) >>> 0);

const prefixLength = fc.oneof(
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 15 }) },
  { weight: 4, arbitrary: fc.integer({ min: 15, max: 32 }) },
);

const someCidr: fc.Arbitrary<Cidr> = fc
  .tuple(someAddress, prefixLength)
  .map(([from, length]) => ({ address: (from & prefixMask(length)) >>> 0, prefixLength: length }));

/** Few addresses and weights, so that gateways are shared among groups. */
const someGateways = fc
  .uniqueArray(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 3 })
  .chain((hosts) =>
    fc.tuple(
      ...hosts.map((host) =>
        fc.constantFrom(0, 1, 5).map((weight) => ({ address: 0xc0a8_0000 + host, weight })),
      ),
    ),
  );

const someEntry: fc.Arbitrary<FibEntry> = fc.record({
  cidr: someCidr,
  cluster: fc.constantFrom('west', 'north'),
  gateways: someGateways,
});

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('apply' as const),
      set: fc.array(someEntry, { maxLength: 8 }),
      removed: fc.array(someCidr, { maxLength: 4 }),
      removedNumbers: fc.array(fc.nat(), { maxLength: 6 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('replace' as const),
      entries: fc.array(someEntry, { maxLength: 30 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('local' as const),
      cidrs: fc.array(someCidr, { maxLength: 4 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('peer' as const),
      host: fc.integer({ min: 1, max: 6 }),
      alive: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('read' as const), enter: fc.boolean() }) },
);

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

const READER = 3;

/** The image, its slow twin, and a reader that may sit in an epoch while both change. */
class Scenario {
  readonly fib = new Fib({ capacityBytes: 1024 * 1024 });
  readonly model = new LinearScan();
  readonly dead = new Set<number>();
  /** Blocks the reader could be in. */
  held = new Map<number, number>();

  run(what: Step): void {
    const { fib, model } = this;
    const touched: Cidr[] = [...model.local.values()];
    if (what.kind === 'apply') {
      const known = [...model.remote.values()].map((entry) => entry.cidr);
      const removed = [...what.removed];
      for (const number of what.removedNumbers)
        if (known.length > 0) removed.push(known[number % known.length]!);
      touched.push(...removed, ...what.set.map((entry) => entry.cidr));
      fib.apply(what.set, removed);
      model.apply(what.set, removed);
    } else if (what.kind === 'replace') {
      fib.replace(what.entries);
      model.replace(what.entries);
    } else if (what.kind === 'local') {
      fib.setLocal(what.cidrs);
      model.setLocal(what.cidrs);
      touched.push(...what.cidrs);
    } else if (what.kind === 'peer') {
      if (fib.setPeer(0xc0a8_0000 + what.host, { alive: what.alive })) {
        if (what.alive) this.dead.delete(0xc0a8_0000 + what.host);
        else this.dead.add(0xc0a8_0000 + what.host);
      }
    } else if (what.enter) {
      enterEpoch(fib.words, READER);
      this.held = reachableBlocks(fib.words);
    } else {
      leaveEpoch(fib.words, READER);
      this.held.clear();
    }
    this.#forgetReleasedPeers();
    touched.push(...[...model.remote.values()].map((entry) => entry.cidr));
    this.#compare(touched);
    checkBlocks(fib);
    for (const block of fib.blocks()) {
      if (block.state === 'free')
        for (const at of this.held.keys()) assert.ok(at < block.at || at >= block.at + block.words);
    }
  }

  /** A gateway that no entry names any more and that comes back is alive again. */
  #forgetReleasedPeers(): void {
    for (const address of this.dead) if (!this.fib.hasPeer(address)) this.dead.delete(address);
  }

  #compare(prefixes: readonly Cidr[]): void {
    for (const prefix of prefixes) {
      for (const address of bordersOf(prefix)) this.#compareAt(address);
    }
    assert.equal(this.fib.stats().prefixes, this.model.count);
  }

  #compareAt(address: number): void {
    const { fib, model } = this;
    const expected = model.find(address);
    const found = fib.find(address);
    const group = lookup(fib.words, address);
    const at = formatAddress(address);
    assert.equal(lookup(fib.words, address | 0), group, 'an i32 is looked up as the u32 it stands for');
    if (expected === undefined || expected === 'local') {
      assert.equal(found, expected, at);
      assert.equal(group, expected === 'local' ? LOCAL_GROUP : NO_GROUP, at);
      return;
    }
    assert.ok(found !== undefined && found !== 'local', at);
    assert.equal(describeFound(found.entry), describeFound(expected), at);
    assert.equal(group, found.group, at);
    const peer = pickPeer(fib.words, group, Math.imul(address, 0x9e37_79b1));
    const alive = expected.gateways.filter(
      (gateway) => gateway.weight > 0 && !this.dead.has(gateway.address),
    );
    if (alive.length === 0) assert.equal(peer, -1, at);
    else
      assert.ok(
        alive.some((gateway) => gateway.address === peerWord(fib.words, peer, PEER.ADDRESS)),
        at,
      );
  }
}

test('says what a linear scan says, whatever is set, removed, replaced, local or dead, and keeps its blocks in order', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
      const scenario = new Scenario();
      for (const what of steps) scenario.run(what);
      leaveEpoch(scenario.fib.words, READER);
      scenario.fib.setLocal([]);
      scenario.fib.replace([]);
      scenario.fib.reclaim();
      const { prefixes, groups, peers, clusters, retired } = scenario.fib.stats();
      assert.deepEqual(
        { prefixes, groups, peers, clusters, retired },
        { prefixes: 0, groups: 0, peers: 0, clusters: 0, retired: 0 },
      );
      assert.deepEqual([...scenario.fib.blocks()], [], 'nothing is left behind');
    }),
    { seed: SEED, numRuns: 40 },
  );
});
