import { type Address, cidrHolds, formatAddress, isCidr4 } from '../base/address.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Netlink } from '../io/netlink.ts';
import type { Link } from '../io/netlink-link.ts';
import { NEIGHBOUR_STATE, type Neighbour } from '../io/netlink-neighbour.ts';
import { type KernelNotice, NOTICE_GROUP } from '../io/netlink-subscription.ts';
import type { NextHopTable } from '../io/next-hop-table.ts';
import { Doubts } from './doubts.ts';
import type { Doubt } from './segment.ts';

/** A peer of the FIB image. */
export interface IndexedPeer {
  readonly index: number;
  readonly address: Address;
}

export interface NextHopsSetup {
  readonly netlink: Netlink;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly table: NextHopTable;
  /** Where we send from now: rules by source address decide by it. */
  readonly source: () => Address;
  /** All peers that packets may go to. */
  readonly peers: () => Iterable<IndexedPeer>;
  /** Hears of changes of the host. */
  readonly subscribe: (groups: number, listener: (notice: KernelNotice) => void) => { close(): void };
}

/**
 * Neighbours whose entries we keep in the kernel's table. Half of what that holds by default (gc_thresh3, 1,024), so that the host's own
 * are not pushed out; a gateway whose peers are behind routers needs one for each router. Peers beyond go by the raw socket.
 */
export const NEIGHBOURS_MAX = 512;

/** Peers asked about in one turn of the event loop: at about 15 µs each, 4 ms. */
export const PEERS_ASKED = 256;

/** What gathers before peers are asked about again: a publication comes with many changes. */
export const GATHER_MS = 20;

const SLICE_PAUSE_MS = 1;

interface Hop {
  readonly deviceIndex: number;
  readonly address: Address;
  readonly peers: Set<Peer>;
  mac: Uint8Array | undefined;
  state: number;
}

interface Peer extends IndexedPeer {
  hop: Hop | undefined;
}

/**
 * Keeps the table of next hops true: asks the kernel for the way to each peer, follows its neighbour entries, and has them confirmed
 * before they grow old, since packets through a packet socket do not. What is not known for certain is unknown in the table, and those
 * packets take the kernel's own way.
 */
export class NextHops {
  readonly #setup: NextHopsSetup;
  readonly #doubts: Doubts;
  readonly #subscription: { close(): void };
  readonly #peers = new Map<number, Peer>();
  readonly #hops = new Map<number, Hop>();
  readonly #devices = new Map<number, Link>();
  /** Peers whose way is to be asked for. */
  readonly #due = new Set<Peer>();
  #peersChanged = false;
  #timer: Timer | undefined;
  /** Where the next part of `look` begins. */
  #cursor = 0;
  #closed = false;

  /** Throws IoError. */
  constructor(setup: NextHopsSetup) {
    this.#setup = setup;
    this.#doubts = new Doubts(setup.clock, (doubt) => this.#review(doubt));
    const { LINKS, NEIGHBOURS, ADDRESSES, ROUTES, RULES, NEXTHOPS } = NOTICE_GROUP;
    const groups = LINKS + NEIGHBOURS + ADDRESSES + ROUTES + RULES + NEXTHOPS;
    this.#subscription = setup.subscribe(groups, (notice) => this.#notice(notice));
  }

  /** Neighbours that we follow. */
  get size(): number {
    return this.#hops.size;
  }

  /** Peers came, or went: soon the table has those that there are. */
  peersChanged(): void {
    this.#peersChanged = true;
    this.#schedule(GATHER_MS);
  }

  /** We send from another address now. */
  sourceChanged(): void {
    this.#doubts.add('everything');
  }

  /** From time to time: tries again what could not be resolved, and asks about some peers for changes that nobody told us of. */
  look(): void {
    for (const hop of this.#hops.values()) if (hop.mac === undefined) this.#use(hop);
    const peers = [...this.#peers.values()];
    for (const peer of peers.slice(this.#cursor, this.#cursor + PEERS_ASKED)) this.#due.add(peer);
    this.#cursor = this.#cursor + PEERS_ASKED >= peers.length ? 0 : this.#cursor + PEERS_ASKED;
    this.#schedule(SLICE_PAUSE_MS);
  }

  /** Leaves the table as it is; the neighbours grow old like any others. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#subscription.close();
    this.#doubts.stop();
    this.#timer?.cancel();
  }

  #schedule(delayMs: number): void {
    if (this.#closed) return;
    this.#timer ??= this.#setup.clock.after(delayMs, () => {
      this.#timer = undefined;
      this.#work();
    });
  }

  #work(): void {
    const { logger } = this.#setup;
    if (this.#peersChanged) {
      this.#peersChanged = false;
      this.#takePeers();
    }
    try {
      let asked = 0;
      for (const peer of this.#due) {
        this.#ask(peer);
        this.#due.delete(peer);
        asked += 1;
        if (asked === PEERS_ASKED) break;
      }
    } catch (thrown) {
      // Those that are left are asked about with the next look.
      logger.error({ reason: messageOf(thrown) }, 'the next hops of peers cannot be looked up');
      return;
    }
    if (this.#due.size > 0) this.#schedule(SLICE_PAUSE_MS);
  }

  /** By difference: what is known about a peer that stays is not touched. */
  #takePeers(): void {
    const gone = new Set(this.#peers.keys());
    for (const { index, address } of this.#setup.peers()) {
      gone.delete(index);
      const known = this.#peers.get(index);
      if (known?.address === address) continue;
      if (known !== undefined) this.#forget(known);
      const peer: Peer = { index, address, hop: undefined };
      this.#peers.set(index, peer);
      this.#due.add(peer);
    }
    for (const index of gone) {
      const peer = this.#peers.get(index);
      if (peer !== undefined) this.#forget(peer);
    }
  }

  #forget(peer: Peer): void {
    this.#lead(peer, undefined);
    this.#peers.delete(peer.index);
    this.#due.delete(peer);
  }

  #review(doubt: Doubt): void {
    if (doubt === 'everything') this.#devices.clear();
    for (const peer of this.#peers.values())
      if (doubt === 'everything' || doubt.some((cidr) => cidrHolds(cidr, peer.address))) this.#due.add(peer);
    // The gathering is behind us: the first slice goes at once.
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#work();
  }

  /** Throws IoError; the peer then has no next hop. */
  #ask(peer: Peer): void {
    let hop: Hop | undefined;
    try {
      const way = this.#setup.netlink.wayTo(peer.address, this.#setup.source());
      if (way !== undefined && this.#hasNeighbours(way.deviceIndex))
        hop = this.#hopOf(way.deviceIndex, way.nextHop);
    } finally {
      this.#lead(peer, hop);
    }
  }

  /** Only a device where hosts find each other by ARP has Ethernet's addresses; on all others the kernel knows better what to do. */
  #hasNeighbours(deviceIndex: number): boolean {
    if (!this.#devices.has(deviceIndex)) {
      this.#devices.clear();
      for (const link of this.#setup.netlink.links()) this.#devices.set(link.index, link);
    }
    const device = this.#devices.get(deviceIndex);
    return device?.isShared === true && device.isUp;
  }

  #hopOf(deviceIndex: number, address: Address): Hop | undefined {
    const key = hopKey(deviceIndex, address);
    const known = this.#hops.get(key);
    if (known !== undefined) return known;
    if (this.#hops.size >= NEIGHBOURS_MAX) return undefined;
    const entry = this.#setup.netlink.neighbour(deviceIndex, address);
    const state = entry?.state ?? NEIGHBOUR_STATE.NONE;
    const hop: Hop = { deviceIndex, address, peers: new Set(), mac: entry?.mac, state };
    this.#hops.set(key, hop);
    if (hop.mac === undefined || state === NEIGHBOUR_STATE.STALE) this.#use(hop);
    return hop;
  }

  #lead(peer: Peer, hop: Hop | undefined): void {
    const former = peer.hop;
    if (former !== hop) {
      peer.hop = hop;
      hop?.peers.add(peer);
      former?.peers.delete(peer);
      if (former?.peers.size === 0) this.#hops.delete(hopKey(former.deviceIndex, former.address));
    }
    this.#write(peer);
  }

  #write({ index, address, hop }: Peer): void {
    const { table } = this.#setup;
    if (hop?.mac !== undefined) table.set(index, address, hop.deviceIndex, hop.mac);
    else table.clear(index);
  }

  /** What the kernel refuses here it refuses the next packet too; nothing is lost by not knowing. */
  #use(hop: Hop): void {
    if (hop.state === NEIGHBOUR_STATE.PERMANENT || hop.state === NEIGHBOUR_STATE.NOARP) return;
    const { netlink, logger } = this.#setup;
    try {
      netlink.useNeighbour(hop.deviceIndex, hop.address);
    } catch (thrown) {
      logger.debug({ reason: messageOf(thrown) }, 'a neighbour cannot be resolved');
    }
  }

  #notice(notice: KernelNotice): void {
    switch (notice.kind) {
      case 'neighbour':
        this.#noticeNeighbour(notice.neighbour);
        return;
      case 'route':
        if (isCidr4(notice.route.cidr)) this.#doubts.add([notice.route.cidr]);
        return;
      case 'link':
        this.#noticeLink(notice.link, notice.isRemoved);
        return;
      case 'address':
        // The kernel takes the routes of an address that goes without a notice for each.
        if (this.#isUsed(notice.address.deviceIndex)) this.#doubts.add('everything');
        return;
      case 'policy':
        this.#doubts.add('everything');
        return;
      case 'resync':
        for (const hop of this.#hops.values()) this.#reread(hop);
        this.#doubts.add('everything');
    }
  }

  /** At once: until here packets go to where the neighbour was. */
  #noticeNeighbour(entry: Neighbour): void {
    const hop = this.#hops.get(hopKey(entry.deviceIndex, entry.address));
    if (hop !== undefined) this.#follow(hop, entry.state, entry.mac);
  }

  #follow(hop: Hop, state: number, mac: Uint8Array | undefined): void {
    const { logger } = this.#setup;
    const former = hop.mac;
    hop.state = state;
    hop.mac = mac;
    if (!isSameMac(former, mac)) {
      for (const peer of hop.peers) this.#write(peer);
      logger.debug(
        { nextHop: formatAddress(hop.address), peers: hop.peers.size, isKnown: mac !== undefined },
        'a next hop has another link address now',
      );
    }
    // One that was lost is asked for once; look() goes on asking.
    if (state === NEIGHBOUR_STATE.STALE || (state === NEIGHBOUR_STATE.NONE && former !== undefined))
      this.#use(hop);
  }

  #reread(hop: Hop): void {
    const { netlink, logger } = this.#setup;
    try {
      const entry = netlink.neighbour(hop.deviceIndex, hop.address);
      this.#follow(hop, entry?.state ?? NEIGHBOUR_STATE.NONE, entry?.mac);
    } catch (thrown) {
      this.#follow(hop, NEIGHBOUR_STATE.NONE, undefined);
      logger.debug({ reason: messageOf(thrown) }, 'a neighbour cannot be read');
    }
  }

  /** The kernel takes the routes of a device that goes down without a notice for each. Devices that no way leads by are no news. */
  #noticeLink(link: Link, isRemoved: boolean): void {
    const known = this.#devices.get(link.index);
    if (isRemoved) this.#devices.delete(link.index);
    else if (known !== undefined) this.#devices.set(link.index, link);
    const isSame =
      !isRemoved &&
      known?.isUp === link.isUp &&
      known.isShared === link.isShared &&
      known.hasCarrier === link.hasCarrier;
    if (!isSame && this.#isUsed(link.index)) this.#doubts.add('everything');
  }

  #isUsed(deviceIndex: number): boolean {
    for (const hop of this.#hops.values()) if (hop.deviceIndex === deviceIndex) return true;
    return false;
  }
}

function hopKey(deviceIndex: number, address: Address): number {
  return deviceIndex * 2 ** 32 + address;
}

function isSameMac(one: Uint8Array | undefined, other: Uint8Array | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  return one.every((byte, i) => byte === other[i]);
}
