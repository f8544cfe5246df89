import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Address, formatAddress, parseAddress, parseCidr } from '../../../src/base/address.ts';
import { IoError } from '../../../src/base/errors.ts';
import type { Logger } from '../../../src/base/log.ts';
import {
  GATHER_MS,
  type IndexedPeer,
  NEIGHBOURS_MAX,
  NextHops,
  PEERS_ASKED,
} from '../../../src/host/next-hops.ts';
import type { Netlink } from '../../../src/io/netlink.ts';
import type { Link } from '../../../src/io/netlink-link.ts';
import { NEIGHBOUR_STATE, type Neighbour, type Way } from '../../../src/io/netlink-neighbour.ts';
import type { KernelRoute } from '../../../src/io/netlink-route.ts';
import { type KernelNotice, NOTICE_GROUP } from '../../../src/io/netlink-subscription.ts';
import { HOP, HOP_WORDS, NextHopTable } from '../../../src/io/next-hop-table.ts';
import { link, NIC, UNDERLAY } from './fake-kernel.ts';
import { StepClock } from './step-clock.ts';

const OTHER_NIC = 5;
const ROUTER = parseAddress('172.31.0.1');
const WEST = parseAddress('192.0.2.7');
const NEAR = parseAddress('172.31.0.9');
const LONG_MS = 1000;
const { REACHABLE, STALE, FAILED, PERMANENT, NONE, INCOMPLETE, PROBE } = NEIGHBOUR_STATE;

function mac(last: number): Uint8Array {
  return Uint8Array.of(2, 0, 0, 0, 0, last);
}

/** The kernel as far as NextHops asks it. */
class Host {
  readonly clock = new StepClock();
  readonly table = new NextHopTable(4096);
  peers: IndexedPeer[] = [{ index: 1, address: WEST }];
  links: Link[] = [link(NIC, 'eth0'), link(OTHER_NIC, 'eth1')];
  source = Number(UNDERLAY.address);
  /** Where packets to an address go; undefined: no route. */
  way: (destination: Address, source: Address) => Way | undefined = () => ({
    deviceIndex: NIC,
    nextHop: ROUTER,
  });
  readonly neighbours = new Map<Address, Neighbour>();
  readonly asked: Address[] = [];
  readonly used: string[] = [];
  groups = 0;
  closed = 0;
  #listener: (notice: KernelNotice) => void = () => {};
  readonly errors: string[] = [];

  /** With the entry that the kernel has already. */
  know(address: Address, state: number, last = 1): void {
    const has = state !== NONE && state !== FAILED && state !== INCOMPLETE;
    const entry = { deviceIndex: NIC, address, state, mac: has ? mac(last) : undefined };
    this.neighbours.set(address, entry);
  }

  start(): NextHops {
    const quiet = { debug: () => {}, error: (_: object, text: string) => this.errors.push(text) };
    const nextHops = new NextHops({
      netlink: {
        links: () => this.links,
        wayTo: (destination: Address, source: Address) => {
          this.asked.push(destination);
          return this.way(destination, source);
        },
        neighbour: (_device: number, address: Address) => this.neighbours.get(address),
        useNeighbour: (device: number, address: Address) =>
          this.used.push(`${device} ${formatAddress(address)}`),
      } as unknown as Netlink,
      clock: this.clock,
      logger: quiet as unknown as Logger,
      table: this.table,
      source: () => this.source,
      peers: () => this.peers,
      subscribe: (groups, listener) => {
        this.groups = groups;
        this.#listener = listener;
        return {
          close: () => {
            this.closed += 1;
          },
        };
      },
    });
    nextHops.peersChanged();
    this.clock.advance(GATHER_MS);
    return nextHops;
  }

  tell(notice: KernelNotice): void {
    this.#listener(notice);
  }

  /** The kernel's entry becomes this, and it says so. */
  neighbourBecomes(address: Address, state: number, last = 1): void {
    this.know(address, state, last);
    this.tell({ kind: 'neighbour', neighbour: this.neighbours.get(address)! });
  }

  routeBecomes(cidr: string): void {
    const route = { cidr: parseCidr(cidr), deviceIndex: NIC } as KernelRoute;
    this.tell({ kind: 'route', isRemoved: false, route });
  }

  /** `device last-byte-of-the-MAC` of a peer, or `raw`. */
  hop(index: number, address: Address): string {
    if (!this.table.has(index, address)) return 'raw';
    const words = new Uint32Array(this.table.buffer, index * HOP_WORDS * 4, HOP_WORDS);
    return `${words[HOP.DEVICE]} ${(words[HOP.MAC_LOW]! >>> 16) & 0xff}`;
  }
}

describe('next hops', () => {
  test('of a peer behind a router whose address is known are known after the first look', () => {
    const host = new Host();
    host.know(ROUTER, REACHABLE);
    const nextHops = host.start();
    assert.equal(host.hop(1, WEST), `${NIC} 1`);
    assert.deepEqual(host.used, [], 'a reachable neighbour needs nothing');
    assert.equal(nextHops.size, 1);
    const groups = Object.values(NOTICE_GROUP).reduce((all, group) => all + group, 0);
    assert.equal(
      host.groups,
      groups - NOTICE_GROUP.ROUTES6 - NOTICE_GROUP.ADDRESSES6,
      'next hops are of IPv4',
    );
  });

  test('are unknown until the neighbour has answered, and the kernel is told to ask it', () => {
    const host = new Host();
    host.start();
    assert.equal(host.hop(1, WEST), 'raw');
    assert.deepEqual(host.used, [`${NIC} 172.31.0.1`]);
    host.neighbourBecomes(ROUTER, INCOMPLETE);
    assert.equal(host.hop(1, WEST), 'raw');
    host.neighbourBecomes(ROUTER, REACHABLE);
    assert.equal(host.hop(1, WEST), `${NIC} 1`);
  });

  test('follow the MAC address of a gateway that another machine took over, within the notice', () => {
    const host = new Host();
    host.peers = [1, 2, 3].map((index) => ({ index, address: WEST + index }));
    host.know(ROUTER, REACHABLE);
    host.start();
    host.neighbourBecomes(ROUTER, STALE, 2);
    for (const { index, address } of host.peers) assert.equal(host.hop(index, address), `${NIC} 2`);
    assert.deepEqual(host.used, [`${NIC} 172.31.0.1`], 'and have it confirmed');
  });

  test('keep a stale neighbour alive, and go on using it meanwhile', () => {
    const host = new Host();
    host.know(ROUTER, STALE);
    host.start();
    assert.deepEqual(host.used.splice(0), [`${NIC} 172.31.0.1`]);
    assert.equal(host.hop(1, WEST), `${NIC} 1`);
    host.neighbourBecomes(ROUTER, PROBE);
    host.neighbourBecomes(ROUTER, REACHABLE);
    assert.deepEqual(host.used, []);
    host.neighbourBecomes(ROUTER, STALE);
    assert.deepEqual(host.used, [`${NIC} 172.31.0.1`]);
    assert.equal(host.hop(1, WEST), `${NIC} 1`);
  });

  test('never touch a permanent entry, which would lose that state', () => {
    const host = new Host();
    host.know(ROUTER, PERMANENT);
    const nextHops = host.start();
    nextHops.look();
    assert.equal(host.hop(1, WEST), `${NIC} 1`);
    assert.deepEqual(host.used, []);
  });

  test('are unknown again once the neighbour failed or was deleted, and asked for at every look', () => {
    const host = new Host();
    host.know(ROUTER, REACHABLE);
    const nextHops = host.start();
    host.neighbourBecomes(ROUTER, FAILED);
    assert.equal(host.hop(1, WEST), 'raw');
    assert.deepEqual(host.used.splice(0), []);
    nextHops.look();
    assert.deepEqual(host.used.splice(0), [`${NIC} 172.31.0.1`]);
    host.neighbourBecomes(ROUTER, REACHABLE);
    host.neighbourBecomes(ROUTER, NONE);
    assert.equal(host.hop(1, WEST), 'raw');
    assert.deepEqual(host.used, [`${NIC} 172.31.0.1`], 'one that was deleted is resolved at once');
    host.neighbourBecomes(ROUTER, NONE);
    assert.equal(host.used.length, 1, 'but no notice makes another one for ever');
  });

  test('follow a route to another router, device or to the segment itself', () => {
    const host = new Host();
    host.know(ROUTER, REACHABLE);
    host.neighbours.set(NEAR, { deviceIndex: OTHER_NIC, address: NEAR, state: REACHABLE, mac: mac(9) });
    const nextHops = host.start();
    host.way = () => ({ deviceIndex: OTHER_NIC, nextHop: NEAR });
    host.routeBecomes('10.0.0.0/8');
    host.clock.advance(LONG_MS);
    assert.equal(host.hop(1, WEST), `${NIC} 1`, 'a route elsewhere is no news');
    host.routeBecomes('192.0.2.0/24');
    host.clock.advance(LONG_MS);
    assert.equal(host.hop(1, WEST), `${OTHER_NIC} 9`);
    assert.equal(nextHops.size, 1, 'the router is not followed any more');
    host.neighbourBecomes(ROUTER, STALE);
    assert.deepEqual(host.used, []);
  });

  test('are the kernel’s affair where it has no plain way: no route, or one that only it can go', () => {
    const host = new Host();
    host.way = () => undefined;
    host.start();
    assert.equal(host.hop(1, WEST), 'raw');
    host.know(ROUTER, REACHABLE);
    host.way = () => ({ deviceIndex: NIC, nextHop: ROUTER });
    host.tell({ kind: 'policy' });
    host.clock.advance(LONG_MS);
    assert.equal(host.hop(1, WEST), `${NIC} 1`);
  });

  test('are unknown on a device without neighbours, as a point-to-point link, and on one that is down', () => {
    const host = new Host();
    host.know(ROUTER, REACHABLE);
    host.links = [link(NIC, 'wg0', { isShared: false })];
    host.start();
    assert.equal(host.hop(1, WEST), 'raw');
    const down = new Host();
    down.know(ROUTER, REACHABLE);
    down.links = [link(NIC, 'eth0', { isUp: false })];
    down.start();
    assert.equal(down.hop(1, WEST), 'raw');
  });

  test('are looked up anew when their device goes down and comes up, and not for other devices', () => {
    const host = new Host();
    host.know(ROUTER, REACHABLE);
    host.start();
    const asked = host.asked.length;
    host.tell({ kind: 'link', isRemoved: true, link: link(OTHER_NIC, 'eth1') });
    host.tell({ kind: 'link', isRemoved: false, link: link(NIC, 'eth0') });
    host.clock.advance(LONG_MS);
    assert.equal(host.asked.length, asked);
    host.way = () => undefined;
    host.links = [link(NIC, 'eth0', { isUp: false })];
    host.tell({ kind: 'link', isRemoved: false, link: host.links[0]! });
    host.clock.advance(LONG_MS);
    assert.equal(host.hop(1, WEST), 'raw');
    host.way = () => ({ deviceIndex: NIC, nextHop: ROUTER });
    host.links = [link(NIC, 'eth0')];
    host.routeBecomes('0.0.0.0/0');
    host.clock.advance(LONG_MS);
    assert.equal(host.hop(1, WEST), `${NIC} 1`);
  });

  test('are asked for as one who sends from our present address', () => {
    const host = new Host();
    host.know(ROUTER, REACHABLE);
    host.know(NEAR, REACHABLE, 9);
    host.way = (_, source) => ({ deviceIndex: NIC, nextHop: source === UNDERLAY.address ? ROUTER : NEAR });
    const nextHops = host.start();
    assert.equal(host.hop(1, WEST), `${NIC} 1`);
    host.source = parseAddress('172.31.0.77');
    nextHops.sourceChanged();
    host.clock.advance(LONG_MS);
    assert.equal(host.hop(1, WEST), `${NIC} 9`);
  });

  test('follow the peers by difference: only new ones are asked about, those that went are forgotten', () => {
    const host = new Host();
    host.know(ROUTER, REACHABLE);
    const nextHops = host.start();
    host.peers = [
      { index: 1, address: WEST },
      { index: 2, address: WEST + 2 },
    ];
    nextHops.peersChanged();
    nextHops.peersChanged();
    host.clock.advance(LONG_MS);
    assert.deepEqual(host.asked, [WEST, WEST + 2]);
    host.peers = [{ index: 1, address: WEST + 3 }];
    nextHops.peersChanged();
    host.clock.advance(LONG_MS);
    assert.equal(host.hop(1, WEST), 'raw', 'the index is another’s now');
    assert.equal(host.hop(1, WEST + 3), `${NIC} 1`);
    assert.equal(host.hop(2, WEST + 2), 'raw');
    host.peers = [];
    nextHops.peersChanged();
    host.clock.advance(LONG_MS);
    assert.equal(nextHops.size, 0);
  });

  test('of thousands of peers are asked for in slices, and one notice of the router reaches them all', () => {
    const host = new Host();
    const count = 4 * PEERS_ASKED;
    host.peers = Array.from({ length: count }, (_, index) => ({ index, address: WEST + index }));
    host.know(ROUTER, REACHABLE);
    const nextHops = host.start();
    assert.equal(host.asked.length, PEERS_ASKED, 'the event loop gets its turn');
    host.clock.advance(LONG_MS);
    assert.equal(host.asked.length, count);
    host.neighbourBecomes(ROUTER, REACHABLE, 3);
    assert.equal(host.asked.length, count);
    for (const { index, address } of host.peers) assert.equal(host.hop(index, address), `${NIC} 3`);
    nextHops.look();
    host.clock.advance(LONG_MS);
    assert.equal(host.asked.length, count + PEERS_ASKED, 'a look asks about some');
  });

  test(`are known of ${NEIGHBOURS_MAX} neighbours at most; peers at the next one stay with the raw socket`, () => {
    const host = new Host();
    host.peers = Array.from({ length: NEIGHBOURS_MAX + 1 }, (_, index) => ({ index, address: WEST + index }));
    for (const { address } of host.peers) host.know(address, REACHABLE);
    host.way = (destination) => ({ deviceIndex: NIC, nextHop: destination });
    const nextHops = host.start();
    host.clock.advance(LONG_MS);
    assert.equal(nextHops.size, NEIGHBOURS_MAX);
    const known = host.peers.filter(({ index, address }) => host.table.has(index, address)).length;
    assert.equal(known, NEIGHBOURS_MAX);
    host.peers = host.peers.slice(1);
    nextHops.peersChanged();
    host.clock.advance(LONG_MS);
    for (let i = 0; i < 4; i++) {
      nextHops.look();
      host.clock.advance(LONG_MS);
    }
    assert.equal(host.hop(NEIGHBOURS_MAX, WEST + NEIGHBOURS_MAX), `${NIC} 1`, 'room that is free is used');
  });

  test('are read again where notices were lost', () => {
    const host = new Host();
    host.know(ROUTER, REACHABLE);
    host.start();
    host.know(ROUTER, REACHABLE, 4);
    host.tell({ kind: 'resync', reason: 'ENOBUFS' });
    assert.equal(host.hop(1, WEST), `${NIC} 4`);
    host.neighbours.clear();
    host.tell({ kind: 'resync', reason: 'ENOBUFS' });
    assert.equal(host.hop(1, WEST), 'raw');
  });

  test('are unknown while the kernel does not answer; packets take its own way, and the next look asks again', () => {
    const host = new Host();
    host.know(ROUTER, REACHABLE);
    const nextHops = host.start();
    const { way } = host;
    host.way = () => {
      throw new IoError('recvmsg', 'ETIMEDOUT', 'route to 192.0.2.7');
    };
    host.tell({ kind: 'policy' });
    host.clock.advance(LONG_MS);
    assert.equal(host.hop(1, WEST), 'raw');
    assert.deepEqual(host.errors, ['the next hops of peers cannot be looked up']);
    host.way = way;
    nextHops.look();
    host.clock.advance(LONG_MS);
    assert.equal(host.hop(1, WEST), `${NIC} 1`);
  });

  test('ask nothing any more once closed', () => {
    const host = new Host();
    host.know(ROUTER, REACHABLE);
    const nextHops = host.start();
    nextHops.peersChanged();
    nextHops.close();
    nextHops.look();
    nextHops.peersChanged();
    const asked = host.asked.length;
    host.clock.advance(LONG_MS);
    assert.deepEqual([host.asked.length, host.closed], [asked, 1]);
  });
});
