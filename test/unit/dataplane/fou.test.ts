import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Prng } from '../../../src/base/prng.ts';
import { readI32 } from '../../../src/packet/bytes.ts';
import { flowHash } from '../../../src/packet/flow.ts';
import { buildIpv4, get16, onesSum, parseIpv4, put16, sealHeader } from '../../sim/oracle/wire.ts';
import { superPacket, vnetOf } from '../io/super-packets.ts';
import { datagram, LOCAL, REMOTE, somePacket, someTunnelled } from './mixed-packets.ts';
import {
  OURS,
  packet,
  Rig,
  SETTINGS,
  STRANGER,
  tunnelled,
  WEST_1,
  WEST_2,
  WEST_POD,
  WEST_SHARED_POD,
} from './rig.ts';

const SEED = 768;
const PORT = 5555;
const UDP_BYTES = 8;
const udp = { port: PORT, peerPorts: new Map([[WEST_2, 5556]]) };

/** The same gateway, with and without UDP, on links that leave inner packets the same room. */
const ipipRig = (): Rig => new Rig();
const fouRig = (): Rig => new Rig({ settings: { udp, linkMtuBytes: 1500 + UDP_BYTES } });

/** The outer packet without its UDP header, whose fields are checked. */
function withoutUdp(outer: Uint8Array): Uint8Array {
  const { protocol, destination } = parseIpv4(outer);
  assert.equal(protocol, 17);
  assert.equal(get16(outer, 22), destination === WEST_2 ? 5556 : PORT);
  assert.ok(get16(outer, 20) >= 49_152, 'a dynamic source port');
  assert.equal(get16(outer, 24), outer.length - 20);
  assert.equal(get16(outer, 26), 0, 'no checksum');
  const bare = Uint8Array.of(...outer.subarray(0, 20), ...outer.subarray(28));
  bare[9] = 4;
  put16(bare, 2, bare.length);
  sealHeader(bare);
  return bare;
}

const withUdp = (outer: Uint8Array): Uint8Array => {
  const { source, destination, payload } = parseIpv4(outer);
  return buildIpv4({
    ...parseIpv4(outer),
    protocol: 17,
    payload: datagram(payload, PORT, { source, destination }),
  });
};

describe('fou differs from IP in IP only in the eight bytes of UDP', () => {
  test('to the underlay, whatever the hosts send', () => {
    const prng = new Prng(SEED);
    const [ipip, fou] = [ipipRig(), fouRig()];
    for (let round = 0; round < 300; round++) {
      const pathMtu = prng.pick([0, 1400, 1500, 600]);
      ipip.learn(WEST_1, pathMtu);
      fou.learn(WEST_1, pathMtu === 0 ? 0 : pathMtu + UDP_BYTES);
      const packets = Array.from({ length: 1 + prng.below(40) }, () => somePacket(prng, LOCAL, REMOTE));
      const plain = ipip.outbound(...packets);
      const wrapped = fou.outbound(...packets);
      assert.deepEqual(wrapped.map(withoutUdp), plain, `seed ${SEED}, round ${round}`);
      assert.deepEqual(fou.icmp(), ipip.icmp(), 'the same answers with the same MTU');
    }
    assert.deepEqual(fou.drops(), ipip.drops());
    for (const name of ['OUTBOUND_PACKETS', 'OUTBOUND_BYTES', 'FRAGMENTS', 'MSS_CLAMPED'] as const)
      assert.equal(fou.total(name), ipip.total(name), name);
    assert.ok(fou.total('FRAGMENTS') > 0 && fou.total('MSS_CLAMPED') > 0);
  });

  test('of what the device hands over uncut too', () => {
    const prng = new Prng(SEED);
    for (let round = 0; round < 100; round++) {
      const [ipip, fou] = [ipipRig(), fouRig()];
      const shape = {
        ...{
          isIpv6: false,
          isTcp: prng.chance(0.5),
          ipOptionWords: prng.pick([0, 0, 3]),
          tcpOptionWords: prng.below(4),
        },
        ...{
          payloadBytes: 100 + prng.below(20_000),
          tcpFlags: 0x18,
          id: 7,
          sequence: prng.u32(),
          tos: prng.pick([0, 3]),
        },
        ...{ dontFragment: prng.chance(0.5), source: LOCAL[0]!, destination: WEST_POD },
      };
      // Also such as do not fit and have to be fragmented one by one.
      const size = prng.pick([500, 1400, 1440, 3000]);
      for (const rig of [ipip, fou]) {
        rig.hostSendsUncut(superPacket(shape), vnetOf(shape, size));
        rig.run();
      }
      assert.deepEqual(fou.sent().map(withoutUdp), ipip.sent(), `seed ${SEED}, round ${round}`);
      assert.deepEqual(fou.drops(), ipip.drops());
      assert.equal(fou.total('OUTBOUND_BYTES'), ipip.total('OUTBOUND_BYTES'));
    }
  });

  test('to the device, whatever gateways send in whole datagrams', () => {
    const prng = new Prng(SEED);
    const [ipip, fou] = [ipipRig(), fouRig()];
    for (let round = 0; round < 300; round++) {
      const outers = Array.from({ length: 1 + prng.below(40) }, () => someTunnelled(prng)).filter(isWhole);
      assert.deepEqual(
        fou.inbound(...outers.map(withUdp)),
        ipip.inbound(...outers),
        `seed ${SEED}, round ${round}`,
      );
    }
    assert.deepEqual(fou.drops(), ipip.drops());
    assert.ok(fou.total('INBOUND_PACKETS') > 1000);
  });
});

/** Of protocol 4 in a header that says what is there. */
function isWhole(outer: Uint8Array): boolean {
  if (outer.length < 20 || outer[0] !== 0x45 || outer[9] !== 4 || get16(outer, 2) !== outer.length)
    return false;
  // With UDP nothing but the inner packet says that it is IPv6.
  if (outer[20]! >> 4 === 6) return false;
  return get16(outer, 6) === 0x4000 && outer[8] !== 0 && onesSum(outer, 0, 20) === 0xffff;
}

test('with outer fragmentation, only the first fragment has the UDP header, and all together are the datagram', () => {
  const rig = new Rig({ settings: { udp, fragment: 'outer' } });
  const inner = packet({ dontFragment: false }, 4000);
  const fragments = rig.outbound(inner).map(parseIpv4);
  assert.equal(fragments.length, 3);
  const whole = Uint8Array.from(fragments.flatMap(({ payload }) => [...payload]));
  assert.equal(get16(whole, 4), 8 + 4000);
  assert.deepEqual(Buffer.from(whole.subarray(8)), Buffer.from(inner));
  assert.equal(rig.total('OUTBOUND_BYTES'), 4000, 'outer headers are not counted');
});

test('the source port is that of the flow: the same for its packets, another for others', () => {
  const rig = fouRig();
  const ports = (count: number, make: (i: number) => Uint8Array): number[] =>
    rig.outbound(...Array.from({ length: count }, (_, i) => make(i))).map((outer) => get16(outer, 20));
  const flow = (sourcePort: number): Uint8Array =>
    packet({
      protocol: 17,
      destination: WEST_SHARED_POD,
      payload: Uint8Array.of(sourcePort >> 8, sourcePort, 0, 53, 0, 8, 0, 0),
    });
  assert.equal(new Set(ports(20, () => flow(1000))).size, 1);
  assert.ok(new Set(ports(60, (i) => flow(2000 + i))).size > 50);
  // Of a datagram in fragments no part has both the ports and company.
  const fragments = rig.outbound(packet({ dontFragment: false, protocol: 17 }, 4000));
  assert.equal(new Set(fragments.map((outer) => get16(outer, 20))).size, 1);
});

test('a datagram that is not ours or not in order is counted as malformed, and nothing else suffers', () => {
  const ends = { source: WEST_1, destination: OURS };
  const inner = packet({ source: WEST_POD, destination: LOCAL[0]! });
  const outer = (payload: Uint8Array, protocol = 17): Uint8Array => buildIpv4({ ...ends, protocol, payload });
  const withLength = (length: number): Uint8Array => {
    const payload = datagram(inner, PORT, ends);
    put16(payload, 4, length);
    return outer(payload);
  };
  const wrong: Record<string, Uint8Array> = {
    'another port': outer(datagram(inner, PORT + 1, ends)),
    'a wrong checksum': outer(datagram(inner, PORT, ends, 'wrong')),
    'a length below its header': withLength(7),
    'a length beyond its end': withLength(inner.length + 9),
    'half a UDP header': outer(new Uint8Array(7)),
    'protocol 4': outer(inner, 4),
  };
  for (const [what, bytes] of Object.entries(wrong)) {
    const rig = fouRig();
    assert.deepEqual(rig.inbound(bytes), [], what);
    assert.deepEqual(rig.drops(), { 'inbound outer-malformed': 1 }, what);
  }
  for (const checksum of ['none', 'right', 'partial'] as const) {
    const rig = fouRig();
    assert.deepEqual(rig.inbound(outer(datagram(inner, PORT, ends, checksum))), [inner], checksum);
    assert.deepEqual(rig.drops(), {}, checksum);
  }
  const stranger = { source: STRANGER, destination: OURS };
  const rig = fouRig();
  rig.inbound(buildIpv4({ ...stranger, protocol: 17, payload: datagram(inner, PORT, stranger) }));
  assert.deepEqual(rig.drops(), { 'inbound unknown-peer': 1 });
});

test('datagrams that the kernel has merged on the way are dropped and counted, and a long one in fragments is not taken for them', () => {
  const ends = { source: WEST_1, destination: OURS };
  const inner = packet({ source: WEST_POD, destination: LOCAL[0]! }, 800);
  const rig = new Rig({ settings: { udp } });
  const outer = (...inners: Uint8Array[]): Uint8Array => {
    const payload = datagram(Uint8Array.from(inners.flatMap((each) => [...each])), PORT, ends);
    return buildIpv4({ ...ends, protocol: 17, payload });
  };
  assert.deepEqual(rig.inbound(outer(inner, inner)), []);
  assert.deepEqual(rig.drops(), { 'inbound merged-datagrams': 1 });
  const long = packet({ source: WEST_POD, destination: LOCAL[0]!, protocol: 1 }, 3000);
  assert.deepEqual(rig.inbound(outer(long)), [long]);
});

test('with IP in IP, UDP is no way in', () => {
  const rig = ipipRig();
  assert.deepEqual(rig.inbound(withUdp(tunnelled())), []);
  assert.deepEqual(rig.drops(), { 'inbound outer-malformed': 1 });
});

test('a gateway that comes later gets its port too, and a reload changes it', () => {
  const { fib } = fouRig();
  assert.deepEqual([fib.udpPortOf(WEST_1), fib.udpPortOf(WEST_2)], [PORT, 5556]);
  fib.configure({ ...SETTINGS, udp: { port: PORT, peerPorts: new Map([[WEST_1, 6000]]) } });
  assert.deepEqual([fib.udpPortOf(WEST_1), fib.udpPortOf(WEST_2)], [6000, PORT]);
  assert.equal(fib.udpPortOf(STRANGER), 0);
});

test('the flow hash of the source port is that which picks the gateway', () => {
  const outer = fouRig().outbound(packet({ destination: WEST_SHARED_POD }))[0]!;
  assert.equal(get16(outer, 20) & 0x3fff, flowHash(outer, 28) & 0x3fff);
  assert.equal(readI32(outer, 28 + 16), WEST_SHARED_POD | 0);
});
