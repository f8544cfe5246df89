import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseAddress, parseCidr4 } from '../../../src/base/address.ts';
import { ICMP_SLOTS } from '../../../src/dataplane/icmp-queue.ts';
import { writeProbe } from '../../../src/health/probe-packet.ts';
import { PROBE_BYTES_MIN, PROBE_INNER_BYTES, PROBE_KIND } from '../../../src/packet/probe.ts';
import { buildIpv4, checksumOf, get16, onesSum, put16, sealHeader } from '../../sim/oracle/wire.ts';
import {
  NORTH,
  NORTH_POD,
  OURS,
  POD,
  packet,
  Rig,
  type RigOptions,
  STRANGER,
  tunnelled,
  WEST_1,
  WEST_2,
  WEST_POD,
} from './rig.ts';

describe('what reaches the device', () => {
  test('is the inner packet, bit for bit, its TTL unchanged', () => {
    const rig = new Rig();
    const [delivered, ...rest] = rig.inbound(tunnelled({ ttl: 1 }));
    assert.equal(rest.length, 0);
    assert.deepEqual(delivered, packet({ source: WEST_POD, destination: POD, ttl: 1 }));
    assert.equal(rig.total('INBOUND_PACKETS'), 1);
    assert.equal(rig.total('INBOUND_BYTES'), 100);
    assert.equal(rig.peer(WEST_1, 'INBOUND_PACKETS'), 1);
    assert.equal(rig.peer(WEST_1, 'INBOUND_BYTES'), 100);
  });

  test('is taken from behind outer options, and without what is behind the inner packet', () => {
    const inner = packet({ source: WEST_POD, destination: POD });
    const payload = Uint8Array.from([...inner, 9, 9, 9]);
    const outer = tunnelled({}, { options: Uint8Array.of(1, 1, 1, 0), payload });
    assert.deepEqual(new Rig().inbound(Uint8Array.from([...outer, 8, 8])), [inner]);
  });

  test('has the ECN field of RFC 6040 §4.2 in all 16 combinations, under a right checksum', () => {
    const notEct = 0;
    const ect1 = 1;
    const ect0 = 2;
    const ce = 3;
    // Rows: inner; columns: outer Not-ECT, ECT(1), ECT(0), CE. undefined: dropped.
    const table = new Map([
      [notEct, [notEct, notEct, notEct, undefined]],
      [ect1, [ect1, ect1, ect1, ce]],
      [ect0, [ect0, ect1, ect0, ce]],
      [ce, [ce, ce, ce, ce]],
    ]);
    for (const [inner, row] of table) {
      for (const [outer, expected] of row.entries()) {
        const rig = new Rig();
        const [delivered] = rig.inbound(tunnelled({ tos: 0xb8 | inner }, { tos: outer }));
        assert.equal(delivered?.[1], expected === undefined ? undefined : 0xb8 | expected);
        if (delivered !== undefined) assert.equal(onesSum(delivered, 0, 20), 0xffff);
        assert.deepEqual(rig.drops(), expected === undefined ? { 'inbound ecn-illegal': 1 } : {});
      }
    }
  });

  test('is a SYN whose segment size fits the way back, where the peer is a gateway that may clamp nothing', () => {
    const segment = new Uint8Array(24);
    segment.set([0x60, 2], 12);
    segment.set([2, 4, 0x23, 0], 20);
    const head = buildIpv4({ source: WEST_POD, destination: POD }).subarray(12, 20);
    put16(segment, 16, checksumOf(Uint8Array.from([...head, 0, 6, 0, 24, ...segment])));
    const rig = new Rig();
    rig.fib.setPeer(WEST_1, { pathMtuBytes: 1400 });
    const [delivered] = rig.inbound(tunnelled({ protocol: 6, payload: segment }));
    assert.equal(get16(delivered!, 42), 1340);
    assert.equal(onesSum(Uint8Array.from([...head, 0, 6, 0, 24, ...delivered!.slice(20)])), 0xffff);
    const off = new Rig({ settings: { clampMss: false } });
    assert.equal(get16(off.inbound(tunnelled({ protocol: 6, payload: segment }))[0]!, 42), 0x2300);
  });
});

interface Drop {
  readonly name: string;
  readonly reason: string;
  readonly outer: Uint8Array;
  readonly settings?: RigOptions['settings'];
}

function changed(bytes: Uint8Array, change: (bytes: Uint8Array) => void, seal = true): Uint8Array {
  change(bytes);
  if (seal) sealHeader(bytes);
  return bytes;
}

const inside = (bytes: Uint8Array, change: (inner: Uint8Array) => void): Uint8Array => {
  change(bytes.subarray(20));
  return bytes;
};

const martians = [
  '0.0.0.0',
  '0.1.2.3',
  '127.0.0.1',
  '224.0.0.5',
  '239.255.255.255',
  '240.0.0.1',
  '255.255.255.255',
];

/** A datagram from west to us whose checksum is only the pseudo-header's sum. */
function undone(length: number): Uint8Array {
  const datagram = new Uint8Array(length);
  const addresses = buildIpv4({ source: WEST_POD, destination: POD }).subarray(12, 20);
  put16(datagram, 4, length);
  put16(datagram, 6, onesSum(Uint8Array.from([...addresses, 0, 17, Math.floor(length / 256), length % 256])));
  return datagram;
}

test('a datagram that leaves its checksum undone is forwarded up to the size of a packet of the underlay', () => {
  const rig = new Rig();
  assert.equal(rig.inbound(tunnelled({ protocol: 17, payload: undone(1460) })).length, 1);
  assert.deepEqual(rig.drops(), {});
});

const DROPS: readonly Drop[] = [
  { name: 'is shorter than a header', reason: 'outer-malformed', outer: tunnelled().subarray(0, 19) },
  {
    name: 'is not IPv4',
    reason: 'outer-malformed',
    outer: changed(tunnelled(), (bytes) => (bytes[0] = 0x65), false),
  },
  { name: 'is not IPIP', reason: 'outer-malformed', outer: tunnelled({}, { protocol: 47 }) },
  {
    name: 'is the first fragment of something',
    reason: 'outer-malformed',
    outer: tunnelled({}, { moreFragments: true }),
  },
  {
    name: 'is a later fragment of something',
    reason: 'outer-malformed',
    outer: tunnelled({}, { offsetUnits: 1 }),
  },
  {
    name: 'has a wrong outer checksum',
    reason: 'outer-malformed',
    outer: changed(tunnelled(), (bytes) => (bytes[8]! -= 1), false),
  },
  {
    name: 'says that it is shorter than its header',
    reason: 'outer-malformed',
    outer: changed(tunnelled(), (bytes) => put16(bytes, 2, 19)),
  },
  { name: 'comes from nobody we know', reason: 'unknown-peer', outer: tunnelled({}, { source: STRANGER }) },
  { name: 'holds nothing', reason: 'inner-truncated', outer: tunnelled({}, { payload: new Uint8Array(0) }) },
  { name: 'was cut short on the way', reason: 'inner-truncated', outer: tunnelled().subarray(0, 119) },
  {
    name: 'says that it ends before the inner packet does',
    reason: 'inner-truncated',
    outer: changed(tunnelled(), (bytes) => put16(bytes, 2, 119)),
  },
  { name: 'holds IPv6', reason: 'inner-version', outer: inside(tunnelled(), (inner) => (inner[0] = 0x60)) },
  {
    name: 'holds a header of 16 bytes',
    reason: 'inner-malformed',
    outer: inside(tunnelled(), (inner) => (inner[0] = 0x44)),
  },
  {
    name: 'holds a damaged header',
    reason: 'inner-checksum',
    outer: inside(tunnelled(), (inner) => (inner[15]! ^= 1)),
  },
  { name: 'holds a packet whose TTL is used up', reason: 'inner-ttl', outer: tunnelled({ ttl: 0 }) },
  { name: 'holds IPIP to us', reason: 'nested', outer: tunnelled({ protocol: 4, destination: OURS }) },
  {
    name: 'holds IPIP to our tunnel address',
    reason: 'nested',
    outer: tunnelled({ protocol: 4, destination: POD }),
    settings: { tunnelAddress: POD },
  },
  {
    name: 'holds IPIP to 0.0.0.0, which is no tunnel address',
    reason: 'martian',
    outer: tunnelled({ protocol: 4, destination: 0 }),
  },
  ...martians.flatMap((address): Drop[] => [
    {
      name: `comes from ${address} inside`,
      reason: 'martian',
      outer: tunnelled({ source: parseAddress(address) }),
    },
    {
      name: `goes to ${address} inside`,
      reason: 'martian',
      outer: tunnelled({ destination: parseAddress(address) }),
    },
  ]),
  { name: 'comes from us inside', reason: 'martian', outer: tunnelled({ source: OURS }) },
  { name: 'goes to our underlay address inside', reason: 'martian', outer: tunnelled({ destination: OURS }) },
  { name: 'comes from the far end itself inside', reason: 'martian', outer: tunnelled({ source: WEST_1 }) },
  { name: 'goes back to the far end inside', reason: 'martian', outer: tunnelled({ destination: WEST_1 }) },
  {
    name: 'claims to come from another cluster',
    reason: 'spoofed-source',
    outer: tunnelled({ source: NORTH_POD }),
  },
  {
    name: 'claims to come from our own cluster',
    reason: 'spoofed-source',
    outer: tunnelled({ source: POD + 1 }),
  },
  {
    name: 'claims to come from our own cluster, in loose mode',
    reason: 'spoofed-source',
    outer: tunnelled({ source: POD + 1 }),
    settings: { innerSource: 'loose' },
  },
  { name: 'claims to come from anywhere', reason: 'spoofed-source', outer: tunnelled({ source: STRANGER }) },
  { name: 'goes to another cluster', reason: 'not-local', outer: tunnelled({ destination: NORTH_POD }) },
  {
    name: 'goes back to its own cluster',
    reason: 'not-local',
    outer: tunnelled({ destination: WEST_POD + 1 }),
  },
  { name: 'goes to the internet', reason: 'not-local', outer: tunnelled({ destination: STRANGER }) },
  {
    name: 'met congestion that its sender cannot hear of',
    reason: 'ecn-illegal',
    outer: tunnelled({ tos: 0 }, { tos: 3 }),
  },
  {
    name: 'is several datagrams that the kernel has merged',
    reason: 'merged-datagrams',
    outer: tunnelled({ protocol: 17, payload: undone(1461) }),
  },
];

describe('a packet from the underlay is dropped, for one reason that is counted, when it', () => {
  for (const { name, reason, outer, settings = {} } of DROPS) {
    test(`${name}: ${reason}`, () => {
      const rig = new Rig({ settings });
      assert.deepEqual(rig.inbound(outer), []);
      assert.deepEqual(rig.drops(), { [`inbound ${reason}`]: 1 });
      assert.equal(rig.total('INBOUND_RECEIVED'), 1);
      assert.equal(rig.total('INBOUND_PACKETS'), 0);
      const isOfPeer = reason !== 'outer-malformed' && reason !== 'unknown-peer';
      assert.equal(rig.peer(WEST_1, 'INBOUND_DROPS'), isOfPeer ? 1 : 0);
      assert.deepEqual(rig.icmp(), [], 'nobody on the underlay is ever answered');
    });
  }
});

describe('a probe', () => {
  const probe = (kind: number, source: number, destination: number, outer = source): Uint8Array => {
    const bytes = new Uint8Array(PROBE_BYTES_MIN);
    const content = { kind, outerBytes: PROBE_BYTES_MIN, keyHigh: 1, keyLow: 2, sequence: 3 };
    writeProbe(new DataView(bytes.buffer), bytes, source, destination, content, PROBE_BYTES_MIN);
    return buildIpv4({
      ...{ protocol: 4, source: outer, destination: OURS, dontFragment: true },
      payload: bytes.subarray(20),
    });
  };

  test('of a gateway is neither forwarded nor dropped, but handed to the slow path as it came', () => {
    const rig = new Rig();
    const packet = probe(PROBE_KIND.REQUEST, WEST_1, OURS);
    assert.deepEqual(rig.inbound(packet, tunnelled()).length, 1);
    assert.deepEqual(rig.probes(), [
      { gateway: WEST_1, outerBytes: packet.length, inner: packet.slice(20, 20 + PROBE_INNER_BYTES) },
    ]);
    assert.equal(rig.total('INBOUND_PROBES'), 1);
    assert.equal(rig.total('INBOUND_RECEIVED'), 2);
    assert.deepEqual(rig.drops(), {});
  });

  test('is a martian like any other packet to us when it is not from a gateway to us', () => {
    const rig = new Rig({ settings: { allowedSources: [parseCidr4('198.51.100.0/29')] } });
    rig.inbound(
      probe(PROBE_KIND.REQUEST, WEST_2, OURS, WEST_1),
      probe(PROBE_KIND.REQUEST, STRANGER, OURS),
      probe(PROBE_KIND.REFLECTED, WEST_1, OURS),
      tunnelled({ source: WEST_1, destination: OURS, protocol: 17 }),
    );
    assert.deepEqual(rig.probes(), []);
    assert.deepEqual(rig.drops(), { 'inbound martian': 4 });
  });

  test('is lost, and counted, when the slow path does not keep up; ICMP errors take none of its room', () => {
    const rig = new Rig();
    for (let i = 0; i < 2 * ICMP_SLOTS; i++) {
      rig.clock.ms += 10;
      rig.outbound(packet({ destination: STRANGER }));
    }
    for (let i = 0; i < 200; i++) rig.inbound(probe(PROBE_KIND.REPLY, WEST_1, OURS));
    assert.equal(rig.total('INBOUND_PROBES'), 200);
    assert.equal(rig.probes().length, ICMP_SLOTS);
  });
});

describe('by configuration', () => {
  test('loose mode takes a source of any remote cluster, and "off" takes every host', () => {
    assert.equal(
      new Rig({ settings: { innerSource: 'loose' } }).inbound(tunnelled({ source: NORTH_POD })).length,
      1,
    );
    const off = new Rig({ settings: { innerSource: 'off' } });
    assert.equal(off.inbound(tunnelled({ source: STRANGER }), tunnelled({ source: POD + 1 })).length, 2);
    assert.equal(
      off.inbound(tunnelled({ source: parseAddress('127.0.0.1') })).length,
      0,
      'a martian is one in any mode',
    );
  });

  test('a sender in security.decapsulateFrom is held to no cluster of its own, but to the remote ones', () => {
    const rig = new Rig({ settings: { allowedSources: [parseCidr4('198.51.100.0/29')] } });
    assert.equal(rig.inbound(tunnelled({ source: NORTH_POD }, { source: STRANGER })).length, 1);
    assert.equal(rig.inbound(tunnelled({ source: parseAddress('8.8.8.8') }, { source: STRANGER })).length, 0);
    assert.equal(
      rig.inbound(tunnelled({}, { source: STRANGER + 1 })).length,
      0,
      '198.51.100.8 is just outside',
    );
    assert.deepEqual(rig.drops(), { 'inbound spoofed-source': 1, 'inbound unknown-peer': 1 });
  });

  test('a transit cluster may be the destination, and no other', () => {
    const rig = new Rig({ settings: { transit: ['north'] } });
    assert.equal(rig.inbound(tunnelled({ destination: NORTH_POD })).length, 1);
    assert.equal(rig.inbound(tunnelled({ destination: WEST_POD + 1 })).length, 0);
  });

  test('a gateway that is not alive may still send: liveness is about where we send', () => {
    const rig = new Rig();
    rig.fib.setPeer(NORTH, { alive: false });
    assert.equal(rig.inbound(tunnelled({ source: NORTH_POD }, { source: NORTH })).length, 1);
  });
});
