import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { IcmpFeed } from '../../../src/health/icmp-feed.ts';
import { IcmpRelay } from '../../../src/health/icmp-relay.ts';
import { PathMtuTable } from '../../../src/health/path-mtu.ts';
import { buildIpv4, checksumOf, get16, put16, put32 } from '../../sim/oracle/wire.ts';
import { OURS, POD, packet, Rig, WEST_1 } from '../dataplane/rig.ts';

/**
 * RFC 2003 §4, row by row of docs/standards.md, from end to end: the engine sends a packet, a router inside the tunnel says something about
 * it, and the sender of the inner packet hears of it or not.
 */

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
  readonly #feed: IcmpFeed;

  constructor() {
    const { rig } = this;
    const relay = new IcmpRelay(
      {
        isLocal: (address) => Number(address) >>> 16 === POD >>> 16,
        recall: (gateway, id, bytes, at, out) => rig.sentHeaders.recall(gateway, id, bytes, at, out),
        send: (destination, message) => this.toHosts.push({ destination, message }),
      },
      0,
    );
    this.#feed = new IcmpFeed({
      ...{ pathMtu: new PathMtuTable(), clock: rig.clock, relay },
      source: () => OURS,
      isPeer: (address) => address === WEST_1,
      udpPortOf: () => 0,
      onPathMtu: ({ peer, pathMtuBytes }) => rig.learn(peer, pathMtuBytes),
      distrustsReports: () => false,
      onError: () => {},
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
}

const POINTER_TOS = 1 << 24;
const POINTER_TTL = 8 << 24;

/** What a router says, and what the sender of the inner packet hears. */
const relays = (said: Report, heard: number[][]) => () =>
  assert.deepEqual(new Tunnel().afterwards(said), heard);

test('I1 net unreachable is relayed as 3/0', relays({ type: 3, code: 0 }, [[3, 0, 0]]));
test('I2 host unreachable is relayed as 3/1', relays({ type: 3, code: 1 }, [[3, 1, 0]]));
test('I3 protocol unreachable becomes host unreachable', relays({ type: 3, code: 2 }, [[3, 1, 0]]));
test('I4 port unreachable is not relayed', relays({ type: 3, code: 3 }, []));

test('I5 fragmentation needed is relayed with the MTU less the outer header, if it is believed', () => {
  assert.deepEqual(new Tunnel().afterwards({ type: 3, code: 4, rest: 1400 }, 1480), [[3, 4, 1380]]);
  assert.deepEqual(new Tunnel().afterwards({ type: 3, code: 4, rest: 595 }, 1480), [], 'an attack');
});

test('I6 source route failed is not relayed', relays({ type: 3, code: 5 }, []));
test('I7 source quench is not relayed', relays({ type: 4, code: 0 }, []));
test('I8 redirect is not relayed', relays({ type: 5, code: 1, rest: ROUTER }, []));

test('I9 time exceeded becomes host unreachable', () => {
  for (const code of [0, 1]) relays({ type: 11, code }, [[3, 1, 0]])();
});

test(
  'I10 a parameter problem with the TOS, which was copied, is relayed',
  relays({ type: 12, code: 0, rest: POINTER_TOS }, [[12, 0, POINTER_TOS]]),
);
test(
  'I11 a parameter problem with another field of the outer header is not relayed',
  relays({ type: 12, code: 0, rest: POINTER_TTL }, []),
);
test('I12 nothing else is relayed: 3/13, filtered', relays({ type: 3, code: 13 }, []));

test('a router that quotes 8 bytes behind the outer header is understood too', () => {
  const said = { type: 3, code: 1, quoteBytes: 28 };
  assert.deepEqual(new Tunnel().afterwards(said), [[3, 1, 0]]);
});
