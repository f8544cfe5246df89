import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { IcmpFeed } from '../../../src/health/icmp-feed.ts';
import { IcmpRelay } from '../../../src/health/icmp-relay.ts';
import { PATH_MTU_EXPIRY_MS, PathMtuTable } from '../../../src/health/path-mtu.ts';
import { buildIpv4, checksumOf, get16, put16, put32 } from '../../sim/oracle/wire.ts';
import { OURS, POD, packet, Rig, WEST_1 } from '../dataplane/rig.ts';

/** RFC 2003 §4 and §5, row by row of docs/standards.md: a packet goes out, and a router inside the tunnel says something about it. */

const ROUTER = parseAddress('172.31.0.254');
const QUOTE_BYTES_MAX = 548;

interface Report {
  readonly type: number;
  readonly code: number;
  /** Second word of the ICMP header: MTU, pointer or nothing. */
  readonly rest?: number;
  readonly quoteBytes?: number;
}

/** An engine, and the slow path that hears of its packets. */
class Tunnel {
  readonly rig = new Rig();
  readonly toHosts: { destination: number; message: Uint8Array }[] = [];
  readonly shown: string[] = [];
  readonly #feed: IcmpFeed;

  constructor() {
    const { rig } = this;
    const relay = new IcmpRelay(
      {
        isLocal: (address) => address >>> 16 === POD >>> 16,
        recall: (gateway, id, bytes, at, out) => rig.sentHeaders.recall(gateway, id, bytes, at, out),
        send: (destination, message) => this.toHosts.push({ destination, message }),
      },
      0,
    );
    this.#feed = new IcmpFeed({
      ...{ pathMtu: new PathMtuTable(), clock: rig.clock, relay },
      source: () => OURS,
      isPeer: (address) => address === WEST_1,
      onPathMtu: ({ peer, pathMtuBytes }) => rig.learn(peer, pathMtuBytes),
      onError: (_peer, text) => this.shown.push(text),
    });
  }

  /** Sends a packet, and lets a router of the tunnel say `error` about it. Returns type, code and second word of what the sender hears. */
  afterwards({ type, code, rest = 0, quoteBytes = QUOTE_BYTES_MAX }: Report, length = 100): number[][] {
    const [outer] = this.rig.outbound(packet({ id: 4711 }, length));
    const quote = outer!.slice(0, quoteBytes);
    const message = new Uint8Array(8 + quote.length);
    message.set([type, code]);
    put32(message, 4, rest);
    message.set(quote, 8);
    put16(message, 2, checksumOf(message));
    this.#feed.receive(buildIpv4({ protocol: 1, source: ROUTER, destination: OURS, payload: message }));
    return this.toHosts.splice(0).map(({ destination, message: heard }) => {
      assert.equal(destination, POD);
      assert.equal(checksumOf(heard), 0);
      return [heard[0]!, heard[1]!, get16(heard, 4) * 0x1_0000 + get16(heard, 6)];
    });
  }

  expire(): void {
    this.#feed.expire();
  }
}

const POINTER_TOS = 1 << 24;
const POINTER_TTL = 8 << 24;

/** What a router says, and what the sender of the inner packet hears. */
const RELAYED: readonly (readonly [title: string, said: Report, heard: number[][]])[] = [
  ['ICMP 3/0 net unreachable is relayed as 3/0', { type: 3, code: 0 }, [[3, 0, 0]]],
  ['ICMP 3/1 host unreachable is relayed as 3/1', { type: 3, code: 1 }, [[3, 1, 0]]],
  ['ICMP 3/2 protocol unreachable becomes 3/1', { type: 3, code: 2 }, [[3, 1, 0]]],
  ['ICMP 3/3 port unreachable is not relayed', { type: 3, code: 3 }, []],
  ['ICMP 3/5 source route failed is not relayed', { type: 3, code: 5 }, []],
  ['ICMP 4 source quench is not relayed', { type: 4, code: 0 }, []],
  ['ICMP 5 redirect is not relayed', { type: 5, code: 1, rest: ROUTER }, []],
  ['ICMP 11 time exceeded becomes 3/1', { type: 11, code: 0 }, [[3, 1, 0]]],
  [
    'ICMP 12 about the TOS, which was copied, is relayed',
    { type: 12, code: 0, rest: POINTER_TOS },
    [[12, 0, POINTER_TOS]],
  ],
  [
    'ICMP 12 about a field of the outer header alone is not relayed',
    { type: 12, code: 0, rest: POINTER_TTL },
    [],
  ],
  ['ICMP of any other kind is not relayed: 3/13, filtered', { type: 3, code: 13 }, []],
];

for (const [title, said, heard] of RELAYED) {
  test(title, () => {
    const tunnel = new Tunnel();
    assert.deepEqual(tunnel.afterwards(said), heard);
    assert.equal(tunnel.shown.length, 1, 'it is shown as the last error of the peer in any case');
  });
}

test('ICMP 3/4 fragmentation needed is relayed with the MTU less the outer header, if it is believed', () => {
  const tunnel = new Tunnel();
  assert.deepEqual(tunnel.afterwards({ type: 3, code: 4, rest: 1400 }, 1480), [[3, 4, 1380]]);
  assert.deepEqual(new Tunnel().afterwards({ type: 3, code: 4, rest: 68 }, 1480), [], 'an attack');
});

test('S1 the path MTU is kept for each peer, set by routers on the path, and forgotten in time', () => {
  const tunnel = new Tunnel();
  tunnel.afterwards({ type: 3, code: 4, rest: 1400 }, 1480);
  const { rig } = tunnel;
  assert.equal(rig.outbound(packet({ dontFragment: false }, 1480)).length, 2, 'it is fragmented to fit');
  rig.clock.ms = PATH_MTU_EXPIRY_MS;
  tunnel.expire();
  assert.equal(rig.outbound(packet({ dontFragment: false }, 1480)).length, 1);
});

test('S2 a packet over the learned path MTU is answered, and goes out all the same', () => {
  const { rig } = new Tunnel();
  rig.learn(WEST_1, 1400);
  const inner = packet({}, 1480);
  assert.deepEqual(rig.outbound(inner)[0]!.slice(20), inner);
  const [answer] = rig.icmp();
  assert.deepEqual([answer!.destination, ...answer!.message.slice(0, 2)], [POD, 3, 4]);
  assert.equal(get16(answer!.message, 6), 1380);
});

test('S3 how long the path is is not kept: after a time exceeded packets go out as before', () => {
  const tunnel = new Tunnel();
  tunnel.afterwards({ type: 11, code: 0 });
  assert.equal(tunnel.rig.outbound(packet())[0]![8], 64);
  assert.deepEqual(tunnel.rig.icmp(), []);
});

test('S4 an unreachable exit is shown, and does not stop the packets behind it', () => {
  const tunnel = new Tunnel();
  tunnel.afterwards({ type: 3, code: 1 });
  assert.match(tunnel.shown[0]!, /^host unreachable/);
  assert.equal(tunnel.rig.outbound(packet()).length, 1);
  assert.deepEqual(tunnel.rig.icmp(), []);
});

test('S5 a router that quotes 8 bytes behind the outer header is understood too', () => {
  const tunnel = new Tunnel();
  assert.deepEqual(tunnel.afterwards({ type: 3, code: 1, quoteBytes: 28 }), [[3, 1, 0]]);
});
