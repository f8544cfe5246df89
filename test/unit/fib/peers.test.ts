import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.ts';
import {
  ARENA,
  HEADER,
  PEER,
  PEER_HASH_BANKS,
  PEER_HASH_MULTIPLIER,
  PEER_HASH_SHIFT,
  PEER_HASH_TOMBSTONE,
  PEER_HASH_WORDS,
} from '../../../src/fib/layout.ts';
import { enterEpoch, findPeer, leaveEpoch, peerWord } from '../../../src/fib/lookup.ts';
import { Peers, peerOf } from '../../../src/fib/peers.ts';
import { Retired } from '../../../src/fib/retired.ts';
import { SEED } from './linear-scan.ts';

function newPeers(): { words: Uint32Array; retired: Retired; peers: Peers } {
  const words = new Uint32Array(new SharedArrayBuffer(ARENA * 4));
  const retired = new Retired(words, 1);
  return { words, retired, peers: new Peers(words, retired, () => {}) };
}

/** Addresses whose probe sequences begin at the same word. */
function colliding(count: number): number[] {
  const found: number[] = [];
  for (let address = 1; found.length < count; address++) {
    if (Math.imul(address, PEER_HASH_MULTIPLIER) >>> PEER_HASH_SHIFT === 77) found.push(address);
  }
  return found;
}

test('finds every peer among others that hash to the same word, also after one in the middle went', () => {
  const { words, peers } = newPeers();
  const addresses = colliding(6);
  for (const address of addresses) peers.acquire(address, 0);
  peers.release(findPeer(words, addresses[2]!), 0);
  for (const [i, address] of addresses.entries()) {
    const peer = findPeer(words, address);
    if (i === 2) assert.equal(peer, -1);
    else assert.equal(peerWord(words, peer, PEER.ADDRESS), address);
  }
  const index = peers.acquire(addresses[2]!, 0);
  assert.equal(findPeer(words, addresses[2]!), index);
  assert.equal(peers.count, 6);
});

test('clears tombstones that no probe sequence passes any more', () => {
  const { words, peers } = newPeers();
  const addresses = colliding(5);
  for (const address of addresses) peers.acquire(address, 0);
  for (const address of addresses) peers.release(findPeer(words, address), 0);
  const bank = words.subarray(PEER_HASH_BANKS[0], PEER_HASH_BANKS[0] + PEER_HASH_WORDS);
  assert.ok(bank.every((word) => word === 0));
});

test('agrees with a Map over 200,000 arrivals and departures, through rewrites of the hash', () => {
  const { words, retired, peers } = newPeers();
  const prng = new Prng(SEED);
  const model = new Map<number, number>();
  const present: number[] = [];
  const banks = new Set<number>();
  for (let i = 0; i < 200_000; i++) {
    if (present.length < 55_000 || prng.chance(0.5)) {
      const address = prng.u32();
      if (model.has(address)) continue;
      peers.checkRoom([address]);
      model.set(address, peers.acquire(address, 3));
      present.push(address);
    } else {
      const at = prng.below(present.length);
      const address = present[at]!;
      present[at] = present.at(-1)!;
      present.pop();
      peers.release(model.get(address)!, 3);
      model.delete(address);
    }
    // A reader that is now and then inside an epoch delays the return of indexes and of the spare bank.
    if (i % 1000 === 0) enterEpoch(words, 0);
    if (i % 1000 === 500) leaveEpoch(words, 0);
    retired.publish();
    retired.reclaim(64);
    banks.add(words[HEADER.PEER_HASH]!);
  }
  assert.equal(peers.count, model.size);
  for (const [address, peer] of model) assert.equal(findPeer(words, address), peer);
  for (let i = 0; i < 1000; i++) {
    const address = prng.u32();
    if (!model.has(address)) assert.equal(findPeer(words, address), -1);
  }
  assert.equal(banks.size, 2, 'the hash was rewritten');
  const bank = words.subarray(words[HEADER.PEER_HASH]!, words[HEADER.PEER_HASH]! + PEER_HASH_WORDS);
  const held = bank.filter((word) => word !== 0 && word !== PEER_HASH_TOMBSTONE).length;
  assert.equal(held, model.size);
});

test('peers of IPv6 are found by all their words, and by no other address, while they come and go', () => {
  const { words, retired, peers } = newPeers();
  const prng = new Prng(SEED);
  const model = new Map<bigint, number>();
  // Few values for each word, so that many differ in one only.
  const some = (): bigint => {
    let address = 0n;
    for (let i = 0; i < 4; i++) address = (address << 32n) | BigInt(prng.pick([0, 1, 0x8000_0000, 7]));
    return address;
  };
  for (let i = 0; i < 20_000; i++) {
    const address = some();
    const known = model.get(address);
    if (known === undefined) model.set(address, peers.acquire(address, 3));
    else {
      assert.equal(peers.addressOf(known), address);
      peers.setAlive(known, prng.chance(0.5));
      peers.release(known, 3);
      model.delete(address);
    }
    retired.publish();
    retired.reclaim(64);
    const asked = some();
    assert.equal(peerOf(words, asked), model.get(asked) ?? -1);
  }
  assert.equal(peers.count, model.size);
  assert.throws(() => peers.acquire(1, 3), /one family/);
});
