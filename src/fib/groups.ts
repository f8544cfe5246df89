import { formatAddress, type IpAddress } from '../base/address.ts';
import { assert } from '../base/assert.ts';
import { GATEWAY_WEIGHT_MAX, GATEWAYS_MAX } from '../base/limits.ts';
import type { Arena, Reclaimer } from './arena.ts';
import { capacityError } from './capacity.ts';
import type { Clusters } from './clusters.ts';
import type { FibGateway, GatewayShare } from './entry.ts';
import { BUCKET_WORDS, BUCKETS, GROUP, GROUP_WORDS, GROUPS, GROUPS_MAX, REMOTE_GROUP_MIN } from './layout.ts';
import { addressHash, type Peers } from './peers.ts';
import { bucketCounts, type Members, ownerOf, score } from './rendezvous.ts';
import type { Retired } from './retired.ts';

interface GroupState {
  readonly key: string | number;
  readonly cluster: number;
  /** Sorted by address. */
  readonly gateways: readonly FibGateway[];
  readonly peers: Uint32Array;
  readonly members: Members;
  /** Owner of each bucket as a member number, -1 = nobody; empty where at most one member has a weight. */
  readonly owners: Int16Array;
  /** The member that all flows go to, -1 where several share them or none has a weight. */
  readonly only: number;
  /** Offset of the bucket block, 0 where at most one member has a weight. */
  readonly block: number;
  uses: number;
}

const NO_OWNERS = new Int16Array(0);

/**
 * The groups: what prefixes point to. Two prefixes with the same cluster and the same gateways share one, however many prefixes there are.
 * Buckets change in place, a word at a time: a word holds two whole buckets, so each flow sees either the old or the new gateway, and a
 * gateway that dies needs no memory to be routed around.
 */
export class Groups implements Reclaimer {
  readonly #words: Uint32Array;
  readonly #arena: Arena;
  readonly #retired: Retired;
  readonly #clusters: Clusters;
  readonly #peers: Peers;
  readonly #states: (GroupState | undefined)[] = [undefined, undefined];
  readonly #byKey = new Map<string | number, number>();
  /** Groups of several members, by peer. */
  readonly #sharing = new Map<number, Set<number>>();
  readonly #free: number[] = [];
  #failOpen = false;
  #last = { gateways: undefined as readonly FibGateway[] | undefined, cluster: '', group: 0 };

  constructor(words: Uint32Array, arena: Arena, retired: Retired, clusters: Clusters, peers: Peers) {
    this.#words = words;
    this.#arena = arena;
    this.#retired = retired;
    this.#clusters = clusters;
    this.#peers = peers;
  }

  get count(): number {
    return this.#byKey.size;
  }

  /** Records that were ever used. */
  get highWater(): number {
    return this.#states.length;
  }

  /** The group of these gateways, made where there is none, counted once more. Throws ISTHMUS_ERR_CAPACITY and has then changed nothing. */
  acquire(cluster: string, gateways: readonly FibGateway[]): number {
    // A cluster's entries come one after another and usually share one array; then no key has to be built.
    const last = this.#last;
    if (last.gateways === gateways && last.cluster === cluster) {
      const state = this.#states[last.group];
      if (state !== undefined) {
        state.uses += 1;
        return last.group;
      }
    }
    const sorted =
      gateways.length === 1
        ? gateways
        : [...gateways].sort((a, b) => (a.address < b.address ? -1 : Number(a.address > b.address)));
    const index = this.#clusters.find(cluster);
    const known = index === undefined ? undefined : this.#byKey.get(groupKey(index, sorted));
    const group = known ?? this.#create(cluster, sorted);
    this.#states[group]!.uses += 1;
    this.#last = { gateways, cluster, group };
    return group;
  }

  /** One use more of a group that is in use. */
  retain(group: number): void {
    this.stateOf(group).uses += 1;
  }

  /** One use less; the last one retires the group. NO_GROUP and LOCAL_GROUP are not counted. */
  release(group: number): void {
    if (group < REMOTE_GROUP_MIN) return;
    const state = this.stateOf(group);
    state.uses -= 1;
    if (state.uses === 0) this.#remove(group, state);
  }

  reclaimed(group: number): void {
    this.#words.fill(0, GROUPS + group * GROUP_WORDS, GROUPS + (group + 1) * GROUP_WORDS);
    this.#free.push(group);
  }

  describe(group: number): { cluster: string; gateways: readonly FibGateway[] } {
    const state = this.stateOf(group);
    return { cluster: this.#clusters.nameOf(state.cluster), gateways: state.gateways };
  }

  /** The gateways of the group with the part of all flows that each gets now. */
  shares(group: number): GatewayShare[] {
    const { gateways, peers, owners, only } = this.stateOf(group);
    const counts = bucketCounts(owners, gateways.length);
    return gateways.map((gateway, member) => {
      const alive = this.#peers.isAlive(peers[member]!);
      const share = member === only ? Number(alive || this.#failOpen) : counts[member]! / BUCKETS;
      return { address: gateway.address, weight: gateway.weight, alive, share };
    });
  }

  /** Moves the buckets that the peer loses or wins. Groups without buckets need nothing: the packet path reads the flag of their only peer. */
  peerChanged(peer: number, alive: boolean): void {
    for (const group of this.#sharing.get(peer) ?? []) {
      const state = this.stateOf(group);
      const member = state.peers.indexOf(peer);
      if (state.members.alive[member] === Number(alive)) continue;
      const wasOpen = this.#isOpen(state);
      state.members.alive[member] = Number(alive);
      if (wasOpen || this.#isOpen(state)) this.#assignBuckets(state);
      else if (alive) takeBuckets(state, member);
      else leaveBuckets(state, member);
      this.#writeBuckets(group, state);
    }
  }

  /** Whether some group has no other member alive than this peer. Looks at every group: for changes of a gateway, not for packets. */
  isNeeded(peer: number): boolean {
    return this.#states.some((state) => {
      const member = state?.peers.indexOf(peer) ?? -1;
      if (state === undefined || member < 0 || state.members.weights[member] === 0) return false;
      return !state.peers.some(
        (other, index) => index !== member && state.members.weights[index]! > 0 && this.#peers.isAlive(other),
      );
    });
  }

  /** Where every gateway is dead, flows are shared as though all were alive, or, without it, go nowhere. */
  setFailOpen(failOpen: boolean): void {
    if (failOpen === this.#failOpen) return;
    this.#failOpen = failOpen;
    for (const [group, state] of this.#states.entries()) {
      if (state === undefined || state.block === 0 || hasAlive(state.members)) continue;
      this.#assignBuckets(state);
      this.#writeBuckets(group, state);
    }
  }

  stateOf(group: number): GroupState {
    const state = this.#states[group];
    assert(state !== undefined, 'an entry points to a live group');
    return state;
  }

  #create(cluster: string, gateways: readonly FibGateway[]): number {
    checkGateways(cluster, gateways);
    this.#clusters.checkRoom(cluster);
    this.#peers.checkRoom(addressesOf(gateways));
    const group = this.#takeIndex();
    // While a gateway drains, its group is one of two in which one gets everything: no 2 KiB of buckets for that.
    const senders = gateways.filter((gateway) => gateway.weight > 0);
    const only = senders.length === 1 ? gateways.indexOf(senders[0]!) : -1;
    const block = senders.length <= 1 ? 0 : this.#allocate(group);
    const index = this.#clusters.acquire(cluster);
    const peers = Uint32Array.from(gateways, (gateway) => this.#peers.acquire(gateway.address, index));
    const members: Members = {
      addresses: Uint32Array.from(gateways, (gateway) => addressHash(gateway.address)),
      weights: Uint16Array.from(gateways, (gateway) => gateway.weight),
      alive: Uint8Array.from(peers, (peer) => Number(this.#peers.isAlive(peer))),
    };
    const owners = block === 0 ? NO_OWNERS : new Int16Array(BUCKETS);
    const key = groupKey(index, gateways);
    const state: GroupState = { key, cluster: index, gateways, peers, members, owners, only, block, uses: 0 };
    this.#states[group] = state;
    this.#byKey.set(key, group);
    const at = GROUPS + group * GROUP_WORDS;
    this.#words[at + GROUP.CLUSTER] = index;
    this.#words[at + GROUP.MEMBERS] = senders.length;
    this.#words[at + GROUP.PEER] = only < 0 ? 0 : peers[only]!;
    this.#words[at + GROUP.BUCKETS] = 0;
    if (block !== 0) {
      this.#assignBuckets(state);
      for (const peer of peers) this.#share(peer, group);
      this.#writeBuckets(group, state);
    }
    return group;
  }

  #remove(group: number, state: GroupState): void {
    this.#byKey.delete(state.key);
    this.#states[group] = undefined;
    if (this.#last.group === group) this.#last = { gateways: undefined, cluster: '', group: 0 };
    for (const peer of state.peers) {
      const groups = this.#sharing.get(peer);
      groups?.delete(group);
      if (groups?.size === 0) this.#sharing.delete(peer);
      this.#peers.release(peer, state.cluster);
    }
    this.#clusters.release(state.cluster);
    if (state.block !== 0) this.#retired.retire(this.#arena, state.block);
    this.#retired.retire(this, group);
  }

  #takeIndex(): number {
    if (this.#free.length === 0 && this.#states.length >= GROUPS_MAX) {
      this.#retired.reclaim(Number.POSITIVE_INFINITY);
      if (this.#free.length === 0) {
        throw capacityError(
          'different sets of gateways',
          GROUPS_MAX - REMOTE_GROUP_MIN,
          'let more prefixes share the same gateways',
        );
      }
    }
    return this.#free.pop() ?? this.#states.push(undefined) - 1;
  }

  #allocate(group: number): number {
    let block = this.#arena.allocate(BUCKET_WORDS);
    if (block === 0) {
      this.#retired.reclaim(Number.POSITIVE_INFINITY);
      block = this.#arena.allocate(BUCKET_WORDS);
    }
    if (block === 0) {
      this.#free.push(group);
      throw capacityError(
        'words of blocks',
        this.#arena.wordsCapacity,
        'no room for one more set of gateways',
      );
    }
    return block;
  }

  #isOpen(state: GroupState): boolean {
    return this.#failOpen && !hasAlive(state.members);
  }

  #assignBuckets(state: GroupState): void {
    const { owners, members } = state;
    const alive = this.#isOpen(state) ? new Uint8Array(members.alive.length).fill(1) : members.alive;
    const picked = { ...members, alive };
    for (let bucket = 0; bucket < BUCKETS; bucket++) owners[bucket] = ownerOf(bucket, picked);
  }

  #share(peer: number, group: number): void {
    const groups = this.#sharing.get(peer);
    if (groups === undefined) this.#sharing.set(peer, new Set([group]));
    else groups.add(group);
  }

  /** Brings the bucket block to what `owners` says. It is complete before the record points to it. */
  #writeBuckets(group: number, state: GroupState): void {
    const { owners, peers, block } = state;
    const record = GROUPS + group * GROUP_WORDS + GROUP.BUCKETS;
    if (owners[0] === -1) {
      Atomics.store(this.#words, record, 0);
      return;
    }
    for (let word = 0; word < BUCKET_WORDS; word++) {
      const low = peers[owners[2 * word]!]!;
      const high = peers[owners[2 * word + 1]!]!;
      const both = (low | (high << 16)) >>> 0;
      if (this.#words[block + word] !== both) Atomics.store(this.#words, block + word, both);
    }
    Atomics.store(this.#words, record, block);
  }
}

/** Any that flows can go to. */
function hasAlive({ alive, weights }: Members): boolean {
  return alive.some((each, member) => each === 1 && weights[member]! > 0);
}

/** The member is alive again: it takes the buckets in which it beats their owner. */
function takeBuckets(state: GroupState, member: number): void {
  const { owners, members } = state;
  if (members.weights[member] === 0) return;
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    const owner = owners[bucket]!;
    if (owner < 0) {
      owners[bucket] = member;
      continue;
    }
    const mine = score(bucket, members.addresses[member]!, members.weights[member]!);
    const theirs = score(bucket, members.addresses[owner]!, members.weights[owner]!);
    // Members are sorted by address, and of equal scores the lower address wins, as in ownerOf.
    if (mine > theirs || (mine === theirs && member < owner)) owners[bucket] = member;
  }
}

/** The member is dead: each of its buckets goes to the best of the others. */
function leaveBuckets(state: GroupState, member: number): void {
  const { owners, members } = state;
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    if (owners[bucket] === member) owners[bucket] = ownerOf(bucket, members);
  }
}

/** One gateway gives an exact number, for there can be a hundred thousand such groups; several give a text. */
function groupKey(cluster: number, gateways: readonly FibGateway[]): string | number {
  const first = gateways[0];
  if (typeof first?.address === 'number' && gateways.length === 1) {
    return (cluster * 0x1_0000_0000 + first.address) * 1024 + first.weight;
  }
  let key = String(cluster);
  for (const gateway of gateways) key += `,${gateway.address}:${gateway.weight}`;
  return key;
}

function checkGateways(cluster: string, gateways: readonly FibGateway[]): void {
  assert(gateways.length > 0, `an entry of cluster "${cluster}" has a gateway`);
  if (gateways.length > GATEWAYS_MAX) {
    throw capacityError(
      'gateways for one prefix',
      GATEWAYS_MAX,
      `an entry of cluster "${cluster}" has ${gateways.length}`,
    );
  }
  let previous: IpAddress | undefined;
  for (const { address, weight } of gateways) {
    assert(address !== previous, `gateway ${formatAddress(address)} of cluster "${cluster}" is given once`);
    assert(
      Number.isInteger(weight) && weight >= 0 && weight <= GATEWAY_WEIGHT_MAX,
      `the weight of gateway ${formatAddress(address)} of cluster "${cluster}" is a whole number from 0 to ${GATEWAY_WEIGHT_MAX}`,
    );
    previous = address;
  }
}

function* addressesOf(gateways: readonly FibGateway[]): Generator<IpAddress> {
  for (const gateway of gateways) yield gateway.address;
}
