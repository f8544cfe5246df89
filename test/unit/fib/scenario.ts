import assert from 'node:assert/strict';
import { type Cidr, formatAddress, type IpAddress } from '../../../src/base/address.ts';
import type { FibEntry } from '../../../src/fib/entry.ts';
import { Fib } from '../../../src/fib/fib.ts';
import { LOCAL_GROUP, NO_GROUP, PEER } from '../../../src/fib/layout.ts';
import { enterEpoch, leaveEpoch, lookup, peerWord, pickPeer } from '../../../src/fib/lookup.ts';
import { lookup6 } from '../../../src/fib/lookup6.ts';
import { checkBlocks, reachableBlocks } from './image-walk.ts';
import { bordersOf, describeFound, LinearScan } from './linear-scan.ts';

/** Gateways are hosts of this network: few, so that groups share them. */
export const GATEWAY_NETWORK = 0xc0a8_0000;

export type Step =
  | {
      readonly kind: 'apply';
      readonly set: readonly FibEntry[];
      readonly removed: readonly Cidr[];
      /** Which of the CIDRs that are there go as well. */
      readonly removedNumbers: readonly number[];
    }
  | { readonly kind: 'replace'; readonly entries: readonly FibEntry[] }
  | { readonly kind: 'local'; readonly cidrs: readonly Cidr[] }
  | { readonly kind: 'peer'; readonly host: number; readonly alive: boolean }
  | { readonly kind: 'read'; readonly enter: boolean };

const READER = 3;

/** The image, its slow twin, and a reader that may sit in an epoch while both change. */
export class Scenario {
  readonly fib: Fib;
  readonly model = new LinearScan();
  readonly dead = new Set<number>();
  /** Blocks the reader could be in. */
  held = new Map<number, number>();
  readonly #walksEachStep: boolean;

  /** `fib` is empty. Walking all of the image takes milliseconds: who runs many scenarios does it once in each, at the end. */
  constructor(fib = new Fib({ capacityBytes: 1024 * 1024 }), walksEachStep = true) {
    this.fib = fib;
    this.#walksEachStep = walksEachStep;
  }

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
      if (fib.setPeer(GATEWAY_NETWORK + what.host, { alive: what.alive })) {
        if (what.alive) this.dead.delete(GATEWAY_NETWORK + what.host);
        else this.dead.add(GATEWAY_NETWORK + what.host);
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
    if (this.#walksEachStep) checkBlocks(fib);
    for (const block of fib.blocks()) {
      if (block.state === 'free')
        for (const at of this.held.keys()) assert.ok(at < block.at || at >= block.at + block.words);
    }
  }

  /** Takes everything out again, after which nothing may be left. */
  end(): void {
    const { fib } = this;
    checkBlocks(fib);
    leaveEpoch(fib.words, READER);
    fib.setLocal([]);
    fib.replace([]);
    fib.reclaim();
    const { prefixes, groups, peers, clusters, retired } = fib.stats();
    assert.deepEqual(
      { prefixes, groups, peers, clusters, retired },
      { prefixes: 0, groups: 0, peers: 0, clusters: 0, retired: 0 },
    );
    assert.deepEqual([...fib.blocks()], [], 'nothing is left behind');
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

  #compareAt(address: IpAddress): void {
    const { fib, model } = this;
    const expected = model.find(address);
    const found = fib.find(address);
    const group = lookUp(fib.words, address, 0);
    const at = formatAddress(address);
    assert.equal(lookUp(fib.words, address, 1), group, 'an i32 is looked up as the u32 it stands for');
    if (expected === undefined || expected === 'local') {
      assert.equal(found, expected, at);
      assert.equal(group, expected === 'local' ? LOCAL_GROUP : NO_GROUP, at);
      return;
    }
    assert.ok(found !== undefined && found !== 'local', at);
    assert.equal(describeFound(found.entry), describeFound(expected), at);
    assert.equal(group, found.group, at);
    const peer = pickPeer(
      fib.words,
      group,
      Math.imul(Number(BigInt.asUintN(32, BigInt(address))), 0x9e37_79b1),
    );
    const alive = expected.gateways.filter(
      (gateway) => gateway.weight > 0 && !this.dead.has(Number(gateway.address)),
    );
    if (alive.length === 0) assert.equal(peer, -1, at);
    else
      assert.ok(
        alive.some((gateway) => gateway.address === peerWord(fib.words, peer, PEER.ADDRESS)),
        at,
      );
  }
}

/** As a reader does it: with words as u32, or as i32. */
function lookUp(words: Uint32Array, address: IpAddress, signed: 0 | 1): number {
  if (typeof address === 'number') return lookup(words, signed === 0 ? address : address | 0);
  const word = (i: number) => {
    const value = Number((address >> BigInt(96 - 32 * i)) & 0xffff_ffffn);
    return signed === 0 ? value : value | 0;
  };
  return lookup6(words, word(0), word(1), word(2), word(3));
}
