import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseCidr } from '../../../src/base/address.ts';
import { parseAddress6 } from '../../../src/base/address6.ts';
import { buildIpv4, get16, get32, parseIpv4, put16 } from '../../sim/oracle/wire.ts';
import { addressBytes, buildIpv6, buildSyn6, type Ipv6, transportError } from '../../sim/oracle/wire6.ts';
import { segmentsOf, superPacket, vnetOf } from '../io/super-packets.ts';
import { NORTH, OURS, Rig, type RigOptions, STRANGER, WEST_1 } from './rig.ts';

const POD = parseAddress6('fd00:1::5');
const WEST_POD = parseAddress6('fd00:2::5');
const NORTH_POD = parseAddress6('fd00:3::5');
const NOWHERE = parseAddress6('fd00:9::5');

/** The rig of IPv4, with a prefix of each cluster more. */
function rigOf(options: RigOptions = {}): Rig {
  const rig = new Rig(options);
  rig.fib.setLocal([parseCidr('10.1.0.0/16'), parseCidr('fd00:1::/48')]);
  const gateways = (address: number) => [{ address, weight: 1 }];
  rig.fib.apply(
    [
      { cidr: parseCidr('fd00:2::/48'), cluster: 'west', gateways: gateways(WEST_1) },
      { cidr: parseCidr('fd00:3::/64'), cluster: 'north', gateways: gateways(NORTH) },
    ],
    [],
  );
  return rig;
}

function packet(fields: Partial<Ipv6> = {}, length = 100): Uint8Array {
  const payload = Uint8Array.from({ length: length - 40 }, (_, i) => i * 7);
  return buildIpv6({ source: POD, destination: WEST_POD, payload, ...fields });
}

function tunnelled(inner: Partial<Ipv6> = {}, outer: object = {}): Uint8Array {
  const payload = packet({ source: WEST_POD, destination: POD, ...inner });
  return buildIpv4({
    protocol: 41,
    source: WEST_1,
    destination: OURS,
    dontFragment: true,
    payload,
    ...outer,
  });
}

describe('IPv6 into the tunnel', () => {
  test('goes to the gateway of its prefix in an outer packet of protocol 41 with DF, and unchanged', () => {
    const rig = rigOf();
    const inner = packet({ trafficClass: 0xb9, hopLimit: 12 });
    const [outer] = rig.outbound(inner);
    const { protocol, source, destination, tos, ttl, dontFragment, payload } = parseIpv4(outer!);
    assert.deepEqual([protocol, source, destination, ttl, dontFragment], [41, OURS, WEST_1, 64, true]);
    assert.equal(tos, 0xb9, 'the traffic class');
    assert.deepEqual(payload, inner);
    assert.deepEqual([rig.total('OUTBOUND_PACKETS'), rig.total('OUTBOUND_BYTES')], [1, inner.length]);
    assert.deepEqual(rig.drops(), {});
  });

  test('inherits hop limit and takes a fixed DSCP as IPv4 does', () => {
    const rig = rigOf({ settings: { ttl: 'inherit', dscp: 46, ecn: 'compatibility' } });
    const { tos, ttl } = parseIpv4(rig.outbound(packet({ trafficClass: 3, hopLimit: 12 }))[0]!);
    assert.deepEqual([tos, ttl], [46 << 2, 12]);
  });

  test('goes by UDP with fou, to the port of the gateway', () => {
    const rig = rigOf({ settings: { udp: { port: 5555, peerPorts: new Map() } } });
    const inner = packet();
    const [outer] = rig.outbound(inner);
    assert.deepEqual(
      [parseIpv4(outer!).protocol, get16(outer!, 22), get16(outer!, 24)],
      [17, 5555, 8 + inner.length],
    );
    assert.deepEqual(outer!.slice(28), inner);
  });

  test('a packet that the path does not carry is refused with the MTU, never below 1280', () => {
    const rig = rigOf();
    assert.deepEqual(rig.outbound(packet({}, 1481)), []);
    rig.learn(WEST_1, 1400);
    assert.deepEqual(rig.outbound(packet({}, 1381)), []);
    rig.learn(WEST_1, 1200);
    assert.deepEqual(rig.outbound(packet({}, 1281)), []);
    const errors = rig.icmp6();
    assert.deepEqual(
      errors.map((message) => [message[0], message[1], get32(message, 4)]),
      [
        [2, 0, 1480],
        [2, 0, 1380],
        [2, 0, 1280],
      ],
    );
    assert.deepEqual(errors[0]!.slice(8), packet({}, 1481).slice(0, 1232), 'as much as fits 1280 bytes');
    assert.deepEqual(rig.drops(), { 'outbound too-big': 3 });
  });

  test('up to 1280 bytes it goes on, in outer fragments where the path is narrower', () => {
    const rig = rigOf();
    rig.learn(WEST_1, 1000);
    const inner = packet({}, 1280);
    const fragments = rig.outbound(inner).map(parseIpv4);
    assert.equal(fragments.length, 2);
    assert.ok(fragments.every(({ protocol, dontFragment }) => protocol === 41 && !dontFragment));
    const whole = Uint8Array.from(fragments.flatMap(({ payload }) => [...payload]));
    assert.deepEqual(whole, inner);
    assert.equal(rig.total('OUTBOUND_BYTES'), 1280);
  });

  test('what has no route, and what has no gateway alive, is answered', () => {
    const rig = rigOf();
    rig.outbound(packet({ destination: NOWHERE }));
    rig.fib.setPeer(WEST_1, { alive: false });
    rig.outbound(packet());
    assert.deepEqual(
      rig.icmp6().map((message) => [message[0], message[1]]),
      [
        [1, 0],
        [1, 3],
      ],
    );
    assert.deepEqual(rig.drops(), { 'outbound no-route': 1, 'outbound no-gateway': 1 });
  });

  test('nobody is answered about an ICMPv6 error, to a group, or without an address', () => {
    const rig = rigOf();
    const error = packet({
      destination: NOWHERE,
      nextHeader: 58,
      payload: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0),
    });
    const echo = packet({
      destination: NOWHERE,
      nextHeader: 58,
      payload: Uint8Array.of(128, 0, 0, 0, 0, 0, 0, 0),
    });
    rig.outbound(
      error,
      packet({ destination: parseAddress6('ff02::1') }),
      packet({ destination: NOWHERE, source: 0n }),
      packet({ destination: NOWHERE, source: parseAddress6('fe80::1') }),
    );
    assert.deepEqual(rig.icmp6(), []);
    rig.outbound(echo);
    assert.equal(rig.icmp6().length, 1);
  });

  test('what is broken is dropped with its reason', () => {
    const short = packet();
    put16(short, 4, short.length);
    const jumbo = packet({ nextHeader: 0 });
    put16(jumbo, 4, 0);
    for (const [bytes, reason] of [
      [packet({ hopLimit: 0 }), 'inner-ttl'],
      [short, 'inner-truncated'],
      [packet().slice(0, 39), 'inner-truncated'],
      [jumbo, 'inner-malformed'],
    ] as const) {
      const rig = rigOf();
      assert.deepEqual(rig.outbound(bytes), []);
      assert.deepEqual(rig.drops(), { [`outbound ${reason}`]: 1 });
    }
  });

  test('the MSS of a SYN is lowered to what the path leaves, its checksum stays right', () => {
    const rig = rigOf();
    const [outer] = rig.outbound(buildSyn6(POD, WEST_POD, 8940));
    const inner = outer!.slice(20);
    assert.equal(get16(inner, 62), 1500 - 20 - 60);
    assert.equal(transportError(inner), 0);
    rig.learn(WEST_1, 600);
    assert.equal(get16(rig.outbound(buildSyn6(POD, WEST_POD, 8940))[0]!, 82), 1280 - 60);
  });

  test('what the device hands over uncut leaves in segments', () => {
    for (const isTcp of [true, false]) {
      const rig = rigOf();
      const shape = {
        ...{ isIpv6: true, isTcp, ipOptionWords: 0, tcpOptionWords: 3, payloadBytes: 5000, tcpFlags: 0x18 },
        ...{ id: 0, sequence: 77, tos: 0, dontFragment: true, source: 1, destination: 2 },
      };
      const uncut = superPacket(shape);
      const expected = segmentsOf(shape, 1000);
      for (const each of [uncut, ...expected]) {
        each.set(addressBytes(POD), 8);
        each.set(addressBytes(WEST_POD), 24);
      }
      rig.hostSendsUncut(uncut, vnetOf(shape, 1000));
      rig.run();
      const sent = rig.sent().map(parseIpv4);
      assert.deepEqual(
        sent.map(({ protocol }) => protocol),
        [41, 41, 41, 41, 41],
      );
      for (const [i, { payload }] of sent.entries()) {
        assert.equal(transportError(payload), 0, `segment ${i}`);
        assert.deepEqual(payload.slice(isTcp ? 72 : 48), expected[i]!.slice(isTcp ? 72 : 48));
      }
      assert.deepEqual(rig.drops(), {});
    }
  });
});

describe('IPv6 out of the tunnel', () => {
  test('reaches the device as it was', () => {
    const rig = rigOf();
    const outer = tunnelled({ hopLimit: 5 });
    assert.deepEqual(rig.inbound(outer), [outer.slice(20)]);
    assert.deepEqual([rig.total('INBOUND_PACKETS'), rig.drops()], [1, {}]);
  });

  test('beside IPv4 in one batch', () => {
    const rig = rigOf();
    const ipv4 = buildIpv4({
      ...{ protocol: 4, source: WEST_1, destination: OURS },
      payload: buildIpv4({
        source: 0x0a02_0005,
        destination: 0x0a01_0005,
        ttl: 9,
        payload: new Uint8Array(30),
      }),
    });
    const ipv6 = tunnelled();
    assert.deepEqual(rig.inbound(ipv4, ipv6, ipv4), [ipv4.slice(20), ipv6.slice(20), ipv4.slice(20)]);
  });

  for (const [what, bytes, reason] of [
    ['from a stranger', tunnelled({}, { source: STRANGER }), 'unknown-peer'],
    ['of another cluster', tunnelled({ source: NORTH_POD }), 'spoofed-source'],
    ['of no cluster', tunnelled({ source: NOWHERE }), 'spoofed-source'],
    ['from one of ours', tunnelled({ source: POD }), 'spoofed-source'],
    ['to another cluster', tunnelled({ destination: NORTH_POD }), 'not-local'],
    ['to nobody', tunnelled({ destination: NOWHERE }), 'not-local'],
    ['from the loopback address', tunnelled({ source: 1n }), 'martian'],
    ['from an IPv4-mapped address', tunnelled({ source: 0xffff_0a02_0005n }), 'martian'],
    ['to a link-local address', tunnelled({ destination: parseAddress6('fe80::1') }), 'martian'],
    ['to a group', tunnelled({ destination: parseAddress6('ff02::1') }), 'martian'],
    ['with hop limit 0', tunnelled({ hopLimit: 0 }), 'inner-ttl'],
    ['with CE around what is not ECN-capable', tunnelled({}, { tos: 3 }), 'ecn-illegal'],
    ['as protocol 4', tunnelled({}, { protocol: 4 }), 'inner-version'],
  ] as const) {
    test(`a packet ${what} is dropped as ${reason}`, () => {
      const rig = rigOf();
      assert.deepEqual(rig.inbound(bytes), []);
      assert.deepEqual(rig.drops(), { [`inbound ${reason}`]: 1 });
      assert.deepEqual(rig.icmp6(), [], 'nobody on the underlay is ever answered');
    });
  }

  test('IPv4 as protocol 41 is no way in', () => {
    const rig = rigOf();
    const payload = buildIpv4({ source: 0x0a02_0005, destination: 0x0a01_0005, payload: new Uint8Array(30) });
    rig.inbound(buildIpv4({ protocol: 41, source: WEST_1, destination: OURS, payload }));
    assert.deepEqual(rig.drops(), { 'inbound inner-version': 1 });
  });

  test('the 16 pairs of ECN fields give what RFC 6040 §4.2 says', () => {
    // [inner][outer]: Not-ECT, ECT(1), ECT(0), CE; -1 is dropped.
    const TABLE = [
      [0, 0, 0, -1],
      [1, 1, 1, 3],
      [2, 1, 2, 3],
      [3, 3, 3, 3],
    ];
    for (const [inner, row] of TABLE.entries()) {
      for (const [outer, expected] of row.entries()) {
        const rig = rigOf();
        const [delivered] = rig.inbound(
          tunnelled({ trafficClass: 0xb8 | inner, flowLabel: 0xabcde }, { tos: outer }),
        );
        assert.equal(
          delivered === undefined ? -1 : (delivered[1]! >> 4) & 3,
          expected,
          `${inner} in ${outer}`,
        );
        if (delivered === undefined) continue;
        assert.equal(get32(delivered, 0) & 0xf_ffff, 0xabcde, 'the flow label is left alone');
        assert.equal((get32(delivered, 0) >>> 20) & 0xfc, 0xb8, 'and the DSCP');
      }
    }
  });

  test('a packet cut at any byte is dropped, and what is behind it is cut off', () => {
    const whole = tunnelled();
    for (let length = 20; length < whole.length; length++) {
      const rig = rigOf();
      assert.deepEqual(rig.inbound(whole.slice(0, length)), []);
      assert.deepEqual(rig.drops(), { 'inbound inner-truncated': 1 });
    }
    const padded = buildIpv4({
      ...{ protocol: 41, source: WEST_1, destination: OURS },
      payload: Uint8Array.of(...packet({ source: WEST_POD, destination: POD }), 1, 2, 3),
    });
    assert.deepEqual(rigOf().inbound(padded), [packet({ source: WEST_POD, destination: POD })]);
  });

  test('the MSS that a remote host offers is lowered, with a checksum that is whole and one that is not', () => {
    const rig = rigOf();
    const syn = buildSyn6(WEST_POD, POD, 9000);
    const outer = (payload: Uint8Array) =>
      buildIpv4({ protocol: 41, source: WEST_1, destination: OURS, payload });
    const [delivered] = rig.inbound(outer(syn));
    assert.equal(get16(delivered!, 62), 1420);
    assert.equal(transportError(delivered!), 0);
  });

  test('transit and loose sources hold for IPv6 too', () => {
    const transit = rigOf({ settings: { transit: ['north'] } });
    assert.equal(transit.inbound(tunnelled({ destination: NORTH_POD })).length, 1);
    const loose = rigOf({ settings: { innerSource: 'loose' } });
    assert.equal(loose.inbound(tunnelled({ source: NORTH_POD })).length, 1);
  });
});
