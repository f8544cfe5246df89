import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildIpv4, checksumOf, get16, get32 } from '../../sim/oracle/wire.ts';
import { OURS, POD, packet, Rig, type RigOptions, STRANGER, WEST_1, WEST_POD } from '../dataplane/rig.ts';

/** PROTOCOL.md C.1 of the design documents: RFC 2003 §3 and what it refers to, a test a row. docs/standards.md lists them. */

const DF = 0x4000;

function encapsulated(inner: Uint8Array, options: RigOptions = {}): Uint8Array {
  const [outer, ...rest] = new Rig(options).outbound(inner);
  assert.ok(outer !== undefined);
  assert.equal(rest.length, 0);
  return outer;
}

function dropped(inner: Uint8Array, reason: string, options: RigOptions = {}): Rig {
  const rig = new Rig(options);
  assert.deepEqual(rig.outbound(inner), []);
  assert.deepEqual(rig.drops(), { [`outbound ${reason}`]: 1 });
  return rig;
}

test('E1 the outer header: version 4, IHL 5, protocol 4, total length, checksum; inner options stay inside', () => {
  const inner = packet({ options: Uint8Array.of(7, 7, 4, 10, 1, 0, 0, 1) });
  const outer = encapsulated(inner);
  assert.equal(outer[0], 0x45);
  assert.equal(outer[9], 4);
  assert.equal(get16(outer, 2), inner.length + 20);
  assert.equal(checksumOf(outer, 0, 20), 0);
  assert.deepEqual([get32(outer, 12), get32(outer, 16)], [OURS, WEST_1]);
  assert.deepEqual(outer.slice(20), inner);
});

test('E2 inner DF set: outer DF set, whatever is fragmented; inner DF clear: set too, but where outer fragments are wanted', () => {
  for (const fragment of ['inner', 'outer'] as const) {
    const flags = (dontFragment: boolean) =>
      get16(encapsulated(packet({ dontFragment }), { settings: { fragment } }), 6) & DF;
    assert.equal(flags(true), DF);
    assert.equal(flags(false), fragment === 'inner' ? DF : 0);
  }
});

test('E3 TOS: DSCP of the inner header or the configured one, ECN by RFC 6040 §4.1 in both modes', () => {
  const tos = (inner: number, settings: RigOptions['settings']) =>
    encapsulated(packet({ tos: inner }), { settings: settings ?? {} })[1];
  for (let ecn = 0; ecn < 4; ecn++) {
    assert.equal(tos((46 << 2) | ecn, {}), (46 << 2) | ecn, 'normal mode, uniform model');
    assert.equal(tos((46 << 2) | ecn, { dscp: 8 }), (8 << 2) | ecn, 'pipe model');
    assert.equal(tos((46 << 2) | ecn, { ecn: 'compatibility' }), 46 << 2);
  }
});

test('E4 the inner TTL is that which the kernel left after it forwarded the packet: it is not lowered twice', () => {
  for (const ttl of [1, 2, 63, 255]) assert.equal(encapsulated(packet({ ttl }))[28], ttl);
});

test('E5 a packet with TTL 0 is not encapsulated', () => {
  dropped(packet({ ttl: 0 }), 'inner-ttl');
});

test('E6 the outer TTL is a constant that reaches the exit, not the inner one', () => {
  assert.equal(encapsulated(packet({ ttl: 3 }))[8], 64);
  assert.equal(encapsulated(packet({ ttl: 3 }), { settings: { ttl: 200 } })[8], 200);
});

test('E7 the inner header is otherwise as it was, its checksum too', () => {
  const inner = packet({ tos: 0xb9, id: 0xbeef, ttl: 17, protocol: 47 }, 333);
  assert.deepEqual(encapsulated(inner).slice(20), inner);
});

test('E8 no packet whose source is our own address, or whose source is the end of the tunnel, is encapsulated', () => {
  dropped(packet({ source: OURS }), 'loop');
  dropped(packet({ source: WEST_1 }), 'loop');
});

test('E9 nothing goes into the tunnel from end to end of it, and no packet of the tunnel goes into it again', () => {
  const toTheExit = { cidr: { address: WEST_1, prefixLength: 32 }, cluster: 'west' };
  const rig = new Rig();
  rig.fib.apply([{ ...toTheExit, gateways: [{ address: WEST_1, weight: 1 }] }], []);
  const own = buildIpv4({ protocol: 4, source: OURS, destination: WEST_1, payload: packet() });
  assert.deepEqual(rig.outbound(packet({ source: OURS, destination: WEST_1 }), own), []);
  assert.deepEqual(rig.outbound(packet({ destination: WEST_1 })), []);
  assert.deepEqual(rig.drops(), { 'outbound loop': 3 });
});

test('E10 the outer ID of packets without DF is not used again within 65,534 packets; with DF any will do', () => {
  const rig = new Rig({ settings: { fragment: 'outer' } });
  const ids = new Set<number>();
  for (let i = 0; i < 2000; i++) {
    const [outer] = rig.outbound(packet({ dontFragment: false }, 40));
    ids.add(get16(outer!, 4));
  }
  assert.equal(ids.size, 2000);
  assert.equal(ids.has(0), false, 'the kernel would replace 0');
});

test('E11 what is too long and has DF clear is fragmented inside; outside where that is configured', () => {
  const inner = packet({ dontFragment: false }, 2000);
  const inside = new Rig().outbound(inner);
  assert.equal(inside.length, 2);
  for (const outer of inside) {
    assert.ok(outer.length <= 1500);
    assert.equal(get16(outer, 6), DF, 'the outer packets are whole');
    assert.notEqual(get16(outer, 26) & 0x3fff, 0, 'the inner ones are fragments');
  }
  const outside = new Rig({ settings: { fragment: 'outer' } }).outbound(inner);
  assert.equal(outside.length, 2);
  for (const outer of outside) assert.notEqual(get16(outer, 6) & 0x3fff, 0);
  assert.equal(get16(outside[0]!, 4), get16(outside[1]!, 4), 'they are pieces of one packet');
});

test('E12 what is too long and has DF set is answered with the MTU that the tunnel leaves, path MTU less 20', () => {
  const rig = dropped(packet({}, 1481), 'too-big');
  const [{ destination, message } = assert.fail('no ICMP')] = rig.icmp();
  assert.equal(destination, POD);
  assert.deepEqual([message[0], message[1], get16(message, 6)], [3, 4, 1480]);
  assert.equal(new Rig().outbound(packet({}, 1480)).length, 1);
});

test('a packet to nobody we know is no packet of the tunnel: RFC 1812 §4.3.3.1, net unreachable', () => {
  const rig = dropped(packet({ destination: STRANGER }), 'no-route');
  assert.deepEqual([...rig.icmp()[0]!.message.slice(0, 2)], [3, 0]);
  assert.equal(new Rig().outbound(packet({ destination: WEST_POD })).length, 1);
});
