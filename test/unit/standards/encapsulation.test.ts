import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildIpv4, checksumOf, get16, parseIpv4 } from '../../sim/oracle/wire.ts';
import { OURS, POD, packet, Rig, type RigOptions, WEST_1 } from '../dataplane/rig.ts';
import { carried, outgoing, WAYS } from './ways.ts';

/** RFC 2003 §3 and what belongs to it, row by row of docs/standards.md. */

type Settings = NonNullable<RigOptions['settings']>;

/** The one outer packet that becomes of an inner one. */
function encapsulated(inner: Uint8Array, settings: Settings = {}): Uint8Array {
  const [outer, ...rest] = new Rig({ settings }).outbound(inner);
  assert.ok(outer !== undefined, 'it is dropped');
  assert.equal(rest.length, 0);
  return outer;
}

function dropped(inner: Uint8Array, reason: string, rig = new Rig()): Rig {
  assert.deepEqual(rig.outbound(inner), []);
  assert.deepEqual(rig.drops(), { [`outbound ${reason}`]: 1 });
  return rig;
}

test('E1 the outer header is version 4, IHL 5, protocol 4, with its own length and checksum; options stay inside', () => {
  for (const options of WAYS) {
    const inner = outgoing(options);
    const outer = encapsulated(inner);
    assert.equal(outer[0], 0x45);
    assert.equal(get16(outer, 2), inner.length + 20);
    assert.equal(checksumOf(outer, 0, 20), 0);
    const { protocol, source, destination } = parseIpv4(outer);
    assert.deepEqual([protocol, source, destination], [4, OURS, WEST_1]);
    assert.deepEqual(carried(outer).options, options);
  }
});

test('E2 where the inner packet has DF, the outer has it; without it only outer fragmentation leaves it clear', () => {
  for (const options of WAYS) {
    for (const fragment of ['inner', 'outer'] as const) {
      const hasDf = (dontFragment: boolean) =>
        parseIpv4(encapsulated(outgoing(options, { dontFragment }), { fragment })).dontFragment;
      assert.equal(hasDf(true), true);
      assert.equal(hasDf(false), fragment === 'inner');
    }
  }
});

test('E3 the TOS is that of the inner packet; a configured DSCP replaces its first six bits only', () => {
  for (const options of WAYS) {
    for (const tos of [0, 0xb8, 0xba, 0xff]) {
      assert.equal(encapsulated(outgoing(options, { tos }))[1], tos);
      assert.equal(encapsulated(outgoing(options, { tos }), { dscp: 8 })[1], (8 << 2) | (tos & 3));
    }
  }
});

test('E4 the inner TTL, which the kernel has lowered, is not lowered again', () => {
  for (const options of WAYS) {
    for (const ttl of [1, 2, 64, 255])
      assert.equal(carried(encapsulated(outgoing(options, { ttl }))).ttl, ttl);
  }
});

test('E5 a packet with TTL 0 is not encapsulated', () => {
  for (const options of WAYS) dropped(outgoing(options, { ttl: 0 }), 'inner-ttl');
});

test('E6 the outer TTL is a constant and not the inner one, unless that is asked for', () => {
  for (const options of WAYS) {
    const inner = outgoing(options, { ttl: 3 });
    assert.equal(encapsulated(inner)[8], 64);
    assert.equal(encapsulated(inner, { ttl: 200 })[8], 200);
    assert.equal(encapsulated(inner, { ttl: 'inherit' })[8], 3);
  }
});

test('E7 the inner packet is carried bit for bit', () => {
  for (const options of WAYS) {
    const inner = outgoing(options, { tos: 0xb9, id: 0xbeef, ttl: 17, protocol: 47 }, 333);
    assert.deepEqual(encapsulated(inner).slice(20), inner);
  }
});

test('E8 a packet from our underlay address or from the end of the tunnel is not encapsulated; one from tunnel.address is', () => {
  for (const options of WAYS) {
    dropped(outgoing(options, { source: OURS }), 'loop');
    dropped(outgoing(options, { source: WEST_1 }), 'loop');
    assert.equal(carried(encapsulated(outgoing(options), { tunnelAddress: POD })).source, POD);
  }
});

test('E9 a packet from end to end of the tunnel, or of the tunnel itself, does not enter it', () => {
  for (const options of WAYS) {
    const rig = new Rig();
    const cidr = { address: WEST_1, prefixLength: 32 };
    rig.fib.apply([{ cidr, cluster: 'west', gateways: [{ address: WEST_1, weight: 1 }] }], []);
    const ends = { source: OURS, destination: WEST_1 };
    const toTheEnd = outgoing(options, { destination: WEST_1 });
    const own = buildIpv4({ ...ends, options, protocol: 4, payload: packet() });
    assert.deepEqual(rig.outbound(outgoing(options, ends), toTheEnd, own), []);
    assert.deepEqual(rig.drops(), { 'outbound loop': 3 });
  }
});

test('E10 the outer ID is not used again before all others were', () => {
  for (const options of WAYS) {
    const rig = new Rig({ settings: { fragment: 'outer' } });
    const ids: number[] = [];
    while (ids.length < 65_535 + 64) {
      const inner = Array.from({ length: 64 }, () => outgoing(options, { dontFragment: false }, 28));
      for (const outer of rig.outbound(...inner)) ids.push(get16(outer, 4));
    }
    assert.equal(new Set(ids.slice(0, 65_535)).size, 65_535, 'all but 0, which the kernel would replace');
    assert.deepEqual(ids.slice(65_535, 65_535 + 64), ids.slice(0, 64));
  }
});

test('E11 what is too long and has DF clear is fragmented before it is encapsulated', () => {
  for (const options of WAYS) {
    const outers = new Rig().outbound(outgoing(options, { dontFragment: false }, 2000));
    assert.equal(outers.length, 2);
    for (const outer of outers) {
      const { dontFragment, moreFragments, offsetUnits } = parseIpv4(outer);
      assert.deepEqual([dontFragment, moreFragments, offsetUnits], [true, false, 0], 'it is a whole packet');
      assert.ok(outer.length <= 1500);
    }
    assert.deepEqual(
      outers.map((outer) => carried(outer).moreFragments),
      [true, false],
    );
  }
});

test('E12 what is too long and has DF set is dropped, and its sender is told the MTU of the tunnel', () => {
  for (const options of WAYS) {
    const [answer] = dropped(outgoing(options, {}, 1481), 'too-big').icmp();
    assert.equal(answer!.destination, POD);
    assert.deepEqual([...answer!.message.slice(0, 2)], [3, 4]);
    assert.equal(get16(answer!.message, 6), 1500 - 20);
    assert.equal(encapsulated(outgoing(options, {}, 1480)).length, 1500);
  }
});
