import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseCidr } from '../../../src/base/address.ts';
import { parseAddress6 } from '../../../src/base/address6.ts';
import { Prng } from '../../../src/base/prng.ts';
import { buildIpv4, get16, get32, parseIpv4 } from '../../sim/oracle/wire.ts';
import { addressBytes, buildIpv6, type Ipv6 } from '../../sim/oracle/wire6.ts';
import { superPacket, vnetOf } from '../io/super-packets.ts';
import { LOCAL, somePacket, someTunnelled } from './mixed-packets.ts';
import {
  ENTRIES,
  NORTH,
  NORTH_POD,
  OURS,
  POD,
  packet,
  Rig,
  STRANGER,
  WEST_1,
  WEST_2,
  WEST_POD,
} from './rig.ts';

const SEED = 2473;

const OURS6 = parseAddress6('2001:db8::1');
const WEST6 = parseAddress6('2001:db8:0:1::2');
/** Differs from the above in its last word only. */
const WEST6_2 = parseAddress6('2001:db8:0:1::3');
const NORTH6 = parseAddress6('2001:db8:0:2::2');
const STRANGER6 = parseAddress6('2001:db8:ffff::7');
const SIXES = new Map([
  [OURS, OURS6],
  [WEST_1, WEST6],
  [WEST_2, WEST6_2],
  [NORTH, NORTH6],
  [STRANGER, STRANGER6],
]);

const POD6 = parseAddress6('fd00:1::5');
const WEST_POD6 = parseAddress6('fd00:2::5');

/** Without the route whose flows two gateways share: which of them a flow goes to depends on their addresses. */
const entries4 = ENTRIES.filter(({ gateways }) => gateways.length === 1);

const entries = [
  ...entries4.map((entry) => ({
    ...entry,
    gateways: entry.gateways.map(({ address, weight }) => ({ address: SIXES.get(Number(address))!, weight })),
  })),
  { cidr: parseCidr('fd00:2::/48'), cluster: 'west', gateways: [{ address: WEST6, weight: 1 }] },
  // The underlay's addresses, as an overlay that contains them has them.
  { cidr: parseCidr('2001:db8::/32'), cluster: 'west', gateways: [{ address: WEST6, weight: 1 }] },
];

/** The same gateway on both kinds of underlay, with links that leave inner packets the same room. */
const rig4 = (): Rig => new Rig({ entries: entries4 });
function rig6(settings: object = {}): Rig {
  const rig = new Rig({ entries, settings: { source: OURS6, linkMtuBytes: 1520, ...settings } });
  rig.fib.setLocal([parseCidr('10.1.0.0/16'), parseCidr('fd00:1::/48')]);
  return rig;
}

function parse6(outer: Uint8Array): Ipv6 {
  assert.equal(outer[0]! >> 4, 6);
  assert.equal(get16(outer, 4), outer.length - 40, 'the payload length');
  const address = (at: number): bigint =>
    outer.subarray(at, at + 16).reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  return {
    trafficClass: (get32(outer, 0) >>> 20) & 255,
    flowLabel: get32(outer, 0) & 0xf_ffff,
    nextHeader: outer[6]!,
    hopLimit: outer[7]!,
    source: address(8),
    destination: address(24),
    payload: outer.slice(40),
  };
}

/** What an outer packet of either family has in common with one of the other. */
function essence(outer: Uint8Array): object {
  if (outer[0]! >> 4 === 4) {
    const { source, destination, protocol, tos, ttl, payload } = parseIpv4(outer);
    return { source: SIXES.get(source), destination: SIXES.get(destination), protocol, tos, ttl, payload };
  }
  const { source, destination, nextHeader, trafficClass, hopLimit, payload } = parse6(outer);
  return { source, destination, protocol: nextHeader, tos: trafficClass, ttl: hopLimit, payload };
}

/** The outer packet of the other family. */
function outer6(outer: Uint8Array): Uint8Array {
  const { source, destination, tos, ttl, protocol, payload } = parseIpv4(outer);
  return buildIpv6({
    ...{ source: SIXES.get(source)!, destination: SIXES.get(destination)!, trafficClass: tos },
    ...{ hopLimit: ttl, nextHeader: protocol, payload },
  });
}

function inner6(fields: Partial<Ipv6> = {}, length = 100): Uint8Array {
  const payload = Uint8Array.from({ length: length - 40 }, (_, i) => i * 7);
  return buildIpv6({ source: POD6, destination: WEST_POD6, payload, ...fields });
}

function tunnelled6(inner: Uint8Array, fields: Partial<Ipv6> = {}): Uint8Array {
  const nextHeader = inner[0]! >> 4 === 6 ? 41 : 4;
  return buildIpv6({ source: WEST6, destination: OURS6, nextHeader, payload: inner, ...fields });
}

/** No address of the IPv4 underlay in it: those are ends of a tunnel only there. */
function isOfOverlay(inner: Uint8Array): boolean {
  if (inner.length < 20) return true;
  return ![get32(inner, 12), get32(inner, 16)].some((address) => SIXES.has(address) || address === 0);
}

describe('an IPv6 underlay differs from an IPv4 one only in the outer header (RFC 2473)', () => {
  test('W1 to the underlay, whatever the hosts send', () => {
    const prng = new Prng(SEED);
    const [four, six] = [rig4(), rig6()];
    for (let round = 0; round < 300; round++) {
      const pathMtu = prng.pick([0, 1400, 1500, 1380]);
      four.learn(WEST_1, pathMtu);
      six.learn(WEST6, pathMtu === 0 ? 0 : pathMtu + 20);
      const packets = Array.from({ length: 1 + prng.below(40) }, () =>
        somePacket(prng, LOCAL, [WEST_POD, NORTH_POD]),
      ).filter(isOfOverlay);
      const sent4 = four.outbound(...packets).map(essence);
      assert.deepEqual(six.outbound(...packets).map(essence), sent4, `seed ${SEED}, round ${round}`);
      assert.deepEqual(six.icmp(), four.icmp(), 'the same answers with the same MTU');
    }
    assert.deepEqual(six.drops(), four.drops());
    for (const name of ['OUTBOUND_PACKETS', 'OUTBOUND_BYTES', 'FRAGMENTS', 'MSS_CLAMPED'] as const)
      assert.equal(six.total(name), four.total(name), name);
    assert.ok(six.total('FRAGMENTS') > 0 && six.total('MSS_CLAMPED') > 0);
  });

  test('of what the device hands over uncut too, of both families', () => {
    const prng = new Prng(SEED);
    for (let round = 0; round < 100; round++) {
      const [four, six] = [rig4(), rig6()];
      const isIpv6 = prng.chance(0.3);
      four.fib.apply([{ ...entries[2]!, gateways: [{ address: WEST_1, weight: 1 }] }], []);
      const shape = {
        ...{ isIpv6, isTcp: prng.chance(0.5), ipOptionWords: isIpv6 ? 0 : prng.pick([0, 3]) },
        ...{ tcpOptionWords: prng.below(4), payloadBytes: 100 + prng.below(20_000), tcpFlags: 0x18, id: 7 },
        ...{ sequence: prng.u32(), tos: prng.pick([0, 3]), dontFragment: prng.chance(0.5) },
        ...{ source: LOCAL[0]!, destination: WEST_POD },
      };
      const size = prng.pick([500, 1400, 1440, 3000]);
      const whole = superPacket(shape);
      if (isIpv6) whole.set(Uint8Array.of(...addressBytes(POD6), ...addressBytes(WEST_POD6)), 8);
      for (const rig of [four, six]) {
        rig.hostSendsUncut(whole, vnetOf(shape, size));
        rig.run();
      }
      assert.deepEqual(six.sent().map(essence), four.sent().map(essence), `seed ${SEED}, round ${round}`);
      assert.deepEqual(six.drops(), four.drops());
      assert.equal(six.total('OUTBOUND_BYTES'), four.total('OUTBOUND_BYTES'));
    }
  });

  test('W2 to the device, whatever gateways send', () => {
    const prng = new Prng(SEED);
    const [four, six] = [rig4(), rig6()];
    for (let round = 0; round < 300; round++) {
      const outers = Array.from({ length: 1 + prng.below(40) }, () => someTunnelled(prng)).filter(
        (outer) => isWhole(outer) && isOfOverlay(outer.subarray(20)),
      );
      const delivered = four.inbound(...outers);
      assert.deepEqual(six.inbound(...outers.map(outer6)), delivered, `seed ${SEED}, round ${round}`);
    }
    assert.deepEqual(six.drops(), four.drops());
    assert.ok(six.total('INBOUND_PACKETS') > 300, String(six.total('INBOUND_PACKETS')));
    assert.ok(Object.keys(six.drops()).length > 4, JSON.stringify(six.drops()));
  });
});

/** Of protocol 4 in a header that says what is there, from somebody the table above has. */
function isWhole(outer: Uint8Array): boolean {
  if (outer.length < 20 || outer[0] !== 0x45 || outer[9] !== 4 || get16(outer, 2) !== outer.length)
    return false;
  const { source, destination } = parseIpv4(outer);
  if (get16(outer, 6) !== 0x4000 || outer[8] === 0 || !SIXES.has(source) || !SIXES.has(destination))
    return false;
  return Buffer.from(buildIpv4({ ...parseIpv4(outer) })).equals(outer);
}

describe('into the tunnel on an IPv6 underlay', () => {
  test('W1 IPv4 and IPv6 leave as next header 4 and 41, with traffic class and a flow label of the inner flow', () => {
    const rig = rig6();
    const four = packet({ tos: 0xb9, protocol: 6 });
    const six = inner6({ trafficClass: 0xb9, hopLimit: 12 });
    const [first, again, other] = rig.outbound(four, four, six).map(parse6);
    const { source, destination, nextHeader, trafficClass, hopLimit, payload } = first!;
    assert.deepEqual([source, destination, nextHeader, hopLimit], [OURS6, WEST6, 4, 64]);
    assert.equal(trafficClass, 0xb9);
    assert.deepEqual(payload, four);
    assert.equal(again!.flowLabel, first!.flowLabel, 'one flow, one label');
    assert.deepEqual([other!.nextHeader, other!.trafficClass, other!.hopLimit], [41, 0xb9, 64]);
    assert.deepEqual(other!.payload, six);
    assert.deepEqual(rig.drops(), {});
    const labels = new Set<number>();
    for (let i = 0; i < 64; i++) {
      const [outer] = rig.outbound(packet({ protocol: 17, payload: Uint8Array.of(i, i, 0, 53, 0, 8, 0, 0) }));
      labels.add(parse6(outer!).flowLabel);
    }
    assert.ok(labels.size > 60, 'flows have labels of their own (RFC 6438)');
  });

  test('W3 hop limit and DSCP are those of the tunnel, or inherited', () => {
    const inherit = rig6({ ttl: 'inherit', dscp: 46 });
    const [outer] = inherit.outbound(packet({ ttl: 17, tos: 0x03 }));
    assert.deepEqual([parse6(outer!).hopLimit, parse6(outer!).trafficClass], [17, (46 << 2) | 3]);
  });

  test('W4 IPv6 that is too big is refused down to 1280 bytes, and carried in outer fragments from there', () => {
    const rig = rig6({ linkMtuBytes: 1500 });
    assert.deepEqual(rig.outbound(inner6({}, 1461)), []);
    const [message] = rig.icmp6();
    assert.deepEqual([message![0], get32(message!, 4)], [2, 1460]);
    rig.learn(WEST6, 1290);
    assert.deepEqual(rig.outbound(inner6({}, 1281)), []);
    assert.equal(get32(rig.icmp6()[0]!, 4), 1280);
    assert.deepEqual(rig.drops(), { 'outbound too-big': 2 });

    const inner = inner6({ trafficClass: 0x0c }, 1280);
    const fragments = rig.outbound(inner, inner);
    assert.deepEqual(
      fragments.map((outer) => outer.length),
      [1288, 88, 1288, 88],
    );
    const heads = fragments.map(parse6);
    assert.ok(heads.every(({ nextHeader, trafficClass }) => nextHeader === 44 && trafficClass === 0x0c));
    const [one, two, three] = heads.map(({ payload }) => payload);
    assert.deepEqual([one![0], get16(one!, 2), get16(two!, 2)], [41, 1, 1240]);
    assert.equal(get32(one!, 4), get32(two!, 4), 'one packet, one ID');
    assert.notEqual(get32(one!, 4), get32(three!, 4), 'the next has another');
    assert.deepEqual(Buffer.concat([one!.subarray(8), two!.subarray(8)]), Buffer.from(inner));
    assert.equal(rig.total('OUTBOUND_BYTES'), 2 * 1280, 'outer headers are not counted');
    assert.deepEqual([rig.total('FRAGMENTED'), rig.total('FRAGMENTS')], [2, 4]);
  });

  test('W4 fragments are whole for every size of packet and path', () => {
    for (let pathMtu = 1280; pathMtu < 1320; pathMtu++) {
      const rig = rig6({ linkMtuBytes: pathMtu });
      for (const length of [1280, 1279, 1273, 1272, 1265, 1264].filter((bytes) => bytes + 40 > pathMtu)) {
        const inner = inner6({}, length);
        const sent = rig.outbound(inner);
        assert.ok(sent.every((outer) => outer.length <= pathMtu));
        assert.equal(sent.length, 2);
        const parts = sent.map((outer) => parse6(outer).payload.subarray(8));
        assert.deepEqual(Buffer.concat(parts), Buffer.from(inner), `${length} bytes over ${pathMtu}`);
      }
    }
  });

  test('W5 a packet of an end of the tunnel, or to one, would go round: it is dropped', () => {
    const rig = rig6();
    const ends: Partial<Ipv6>[] = [{ source: OURS6 }, { source: WEST6 }, { destination: WEST6 }];
    for (const end of ends) assert.deepEqual(rig.outbound(inner6(end)), []);
    assert.deepEqual(rig.drops(), { 'outbound loop': 3 });
    assert.equal(
      rig.outbound(inner6({ destination: WEST6_2 })).length,
      1,
      'a neighbour of a gateway is none',
    );
  });
});

/** An inner packet with a Destination Options header that has the limit, behind `pads` bytes of padding. */
function limited(limit: number, pads: readonly number[] = [], length = 100, hopByHop = false): Uint8Array {
  const options = Uint8Array.of(...pads, 4, 1, limit);
  const bytes = (2 + options.length + 7) & ~7;
  const header = new Uint8Array(bytes).fill(0);
  header.set([59, bytes / 8 - 1]);
  header.set(options, 2);
  const before = hopByHop ? Uint8Array.of(60, 0, 1, 4, 0, 0, 0, 0) : new Uint8Array(0);
  const payload = new Uint8Array(length - 40).fill(7);
  payload.set(before);
  payload.set(header, before.length);
  return inner6({ nextHeader: hopByHop ? 0 : 60, payload });
}

describe('the tunnel encapsulation limit', () => {
  test('W9 a packet that may enter no further tunnel is dropped, and its sender told where that is said', () => {
    for (const [pads, hopByHop, pointer] of [
      [[], false, 44],
      [[0], false, 45],
      [[1, 2, 0, 0], false, 48],
      [[0, 1, 0], true, 55],
    ] as const) {
      const rig = rig6();
      assert.deepEqual(rig.outbound(limited(0, pads, 100, hopByHop)), []);
      const [message] = rig.icmp6();
      assert.deepEqual([message![0], message![1], get32(message!, 4)], [4, 0, pointer]);
      assert.deepEqual(rig.drops(), { 'outbound encapsulation-limit': 1 });
    }
  });

  test('W9 one that may has one tunnel less left, in a header of the outer packet', () => {
    const rig = rig6();
    const inner = limited(4);
    const { nextHeader, payload } = parse6(rig.outbound(inner)[0]!);
    assert.equal(nextHeader, 60);
    assert.deepEqual([...payload.subarray(0, 8)], [41, 0, 4, 1, 3, 1, 1, 0]);
    assert.deepEqual(payload.subarray(8), inner);
    assert.equal(rig.total('OUTBOUND_BYTES'), inner.length);
    assert.equal(parse6(rig.outbound(inner6())[0]!).nextHeader, 41, 'the next one has none');
  });

  test('W9 the option counts for what fits the path, and is in the first fragment', () => {
    const rig = rig6({ linkMtuBytes: 1500 });
    assert.equal(rig.outbound(limited(1, [], 1452)).length, 1);
    assert.deepEqual(rig.outbound(limited(1, [], 1453)), []);
    assert.equal(get32(rig.icmp6()[0]!, 4), 1452);
    rig.learn(WEST6, 1280);
    const inner = limited(1, [], 1280);
    const parts = rig.outbound(inner).map((outer) => parse6(outer).payload);
    assert.equal(parts[0]![0], 60);
    const whole = Buffer.concat(parts.map((part) => part.subarray(8)));
    assert.deepEqual([...whole.subarray(0, 8)], [41, 0, 4, 1, 0, 1, 1, 0]);
    assert.deepEqual(whole.subarray(8), Buffer.from(inner));
  });

  test('options that cannot be read limit nothing', () => {
    const broken = limited(0);
    broken[41] = 200;
    const other = limited(0);
    other[42] = 5;
    const rig = rig6();
    for (const inner of [broken, other]) assert.equal(parse6(rig.outbound(inner)[0]!).nextHeader, 41);
  });
});

describe('out of the tunnel on an IPv6 underlay', () => {
  test('W6 from gateways only, and from security.decapsulateFrom', () => {
    const inner = packet({ source: WEST_POD, destination: POD });
    const strict = rig6();
    assert.equal(strict.inbound(tunnelled6(inner)).length, 1);
    assert.deepEqual(strict.inbound(tunnelled6(inner, { source: STRANGER6 })), []);
    assert.deepEqual(strict.inbound(tunnelled6(inner, { source: WEST6 ^ (1n << 127n) })), []);
    assert.deepEqual(strict.inbound(tunnelled6(inner, { source: NORTH6 })), []);
    assert.deepEqual(strict.drops(), { 'inbound unknown-peer': 2, 'inbound spoofed-source': 1 });
    assert.equal(strict.peer(WEST6, 'INBOUND_PACKETS'), 1);

    const allowed = ['2001:db8:7::/48', '2001:db8:ffff::4/126'].map(parseCidr);
    const open = rig6({ allowedSources: allowed });
    assert.equal(open.inbound(tunnelled6(inner, { source: STRANGER6 })).length, 1);
    assert.equal(open.inbound(tunnelled6(inner, { source: parseAddress6('2001:db8:7:1::1') })).length, 1);
    assert.deepEqual(open.inbound(tunnelled6(inner, { source: STRANGER6 + 1n })), []);
    assert.deepEqual(open.drops(), { 'inbound unknown-peer': 1 });
  });

  test('W7 an inner packet with an end of the tunnel is no packet of the overlay', () => {
    const rig = rig6();
    const payload = inner6({ source: WEST_POD6, destination: POD6 });
    const nested = { source: WEST_POD6, destination: OURS6, payload };
    const inners = [
      inner6({ ...nested, nextHeader: 41 }),
      inner6({ ...nested, nextHeader: 4 }),
      inner6({ ...nested, nextHeader: 6 }),
      inner6({ source: OURS6, destination: POD6 }),
      inner6({ source: WEST6, destination: POD6 }),
      inner6({ source: WEST_POD6, destination: WEST6 }),
    ];
    for (const inner of inners) assert.deepEqual(rig.inbound(tunnelled6(inner)), []);
    assert.deepEqual(rig.drops(), { 'inbound nested': 2, 'inbound martian': 4 });
  });

  test('what is broken is counted as such', () => {
    const rig = rig6();
    const inner = packet({ source: WEST_POD, destination: POD });
    const broken = [
      tunnelled6(inner, { nextHeader: 17 }),
      tunnelled6(inner).subarray(0, 39),
      buildIpv4({ protocol: 4, source: WEST_1, destination: OURS, payload: inner }),
      tunnelled6(inner).subarray(0, 59),
      tunnelled6(inner, { nextHeader: 41 }),
    ];
    for (const outer of broken) assert.deepEqual(rig.inbound(outer), []);
    assert.deepEqual(rig.drops(), {
      ...{ 'inbound outer-malformed': 3, 'inbound inner-truncated': 1, 'inbound inner-version': 1 },
    });
  });

  test('W8 the mark of the outer traffic class is merged into the inner one, of both families', () => {
    const [four, six] = [rig4(), rig6()];
    for (let cell = 0; cell < 16; cell++) {
      const inner = packet({ source: WEST_POD, destination: POD, tos: 0x10 | (cell >> 2) });
      const outer = buildIpv4({
        protocol: 4,
        source: WEST_1,
        destination: OURS,
        tos: cell & 3,
        payload: inner,
      });
      assert.deepEqual(six.inbound(outer6(outer)), four.inbound(outer), `cell ${cell}`);
      const sent = inner6({ source: WEST_POD6, destination: POD6, trafficClass: 0x10 | (cell >> 2) });
      const [got] = six.inbound(tunnelled6(sent, { trafficClass: cell & 3 }));
      const [like] = four.inbound(buildIpv4({ ...parseIpv4(outer), tos: cell & 3 }));
      assert.equal(got === undefined, like === undefined);
      if (got !== undefined) assert.equal((get32(got, 0) >>> 20) & 3, like![1]! & 3, `cell ${cell}`);
    }
    assert.equal(six.total('ECN_UNUSED'), four.total('ECN_UNUSED'));
    assert.ok(six.total('ECN_UNUSED') > 0);
  });
});
