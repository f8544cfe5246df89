import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress, parseCidr } from '../../../src/base/address.ts';
import { buildIpv4, put16 } from '../../sim/oracle/wire.ts';
import {
  NORTH_POD,
  OURS,
  POD,
  packet,
  Rig,
  type RigOptions,
  STRANGER,
  tunnelled,
  WEST_1,
  WEST_POD,
} from '../dataplane/rig.ts';

/** What a decapsulator must check and keep: RFC 2003 §3, §6.2, RFC 4213 §3.6, RFC 1812 §5; a test a row of docs/standards.md. */

function delivered(outer: Uint8Array, options: RigOptions = {}): Uint8Array {
  const [inner, ...rest] = new Rig(options).inbound(outer);
  assert.ok(inner !== undefined);
  assert.equal(rest.length, 0);
  return inner;
}

function dropped(outer: Uint8Array, reason: string, options: RigOptions = {}): void {
  const rig = new Rig(options);
  assert.deepEqual(rig.inbound(outer), []);
  assert.deepEqual(rig.drops(), { [`inbound ${reason}`]: 1 });
  assert.deepEqual(rig.icmp(), [], 'silently: nobody on the underlay is answered');
}

function changed(outer: Uint8Array, change: (bytes: Uint8Array) => void): Uint8Array {
  change(outer);
  return outer;
}

test('D1 an outer header with another version, IHL below 5, a length beyond what came or a wrong checksum is discarded', () => {
  dropped(
    changed(tunnelled(), (bytes) => bytes.fill(0x65, 0, 1)),
    'outer-malformed',
  );
  dropped(
    changed(tunnelled(), (bytes) => bytes.fill(0x44, 0, 1)),
    'outer-malformed',
  );
  dropped(
    changed(tunnelled(), (bytes) => put16(bytes, 10, 0x1234)),
    'outer-malformed',
  );
  dropped(tunnelled().slice(0, -1), 'inner-truncated');
});

test('D2 an outer source that is not a gateway is discarded silently, unless it is in security.decapsulateFrom', () => {
  dropped(tunnelled({}, { source: STRANGER }), 'unknown-peer');
  const settings = { allowedSources: [parseCidr('198.51.100.0/24')] };
  assert.equal(delivered(tunnelled({}, { source: STRANGER }), { settings }).length, 100);
});

test('D3 an outer fragment that was not reassembled never passes; packets of 65,535 bytes that were do', () => {
  dropped(tunnelled({}, { moreFragments: true, dontFragment: false }), 'outer-malformed');
  dropped(tunnelled({}, { offsetUnits: 3, dontFragment: false }), 'outer-malformed');
  const inner = packet({ source: WEST_POD, destination: POD, protocol: 253 }, 65_515);
  assert.deepEqual(delivered(tunnelled({}, { payload: inner })), inner);
});

test('D4 the inner total length says where the packet ends, and the inner header is checked again', () => {
  const inner = packet({ source: WEST_POD, destination: POD });
  assert.deepEqual(delivered(tunnelled({}, { payload: Uint8Array.from([...inner, 1, 2, 3]) })), inner);
  const bad = (change: (bytes: Uint8Array) => void) =>
    tunnelled({}, { payload: changed(inner.slice(), change) });
  dropped(
    bad((bytes) => bytes.fill(0x65, 0, 1)),
    'inner-version',
  );
  dropped(
    bad((bytes) => bytes.fill(0x44, 0, 1)),
    'inner-malformed',
  );
  dropped(
    bad((bytes) => put16(bytes, 10, 0x1234)),
    'inner-checksum',
  );
  dropped(
    bad((bytes) => put16(bytes, 2, 101)),
    'inner-truncated',
  );
});

test('D5 the inner TTL stays as it is, and 0 is discarded', () => {
  for (const ttl of [1, 64, 255]) assert.equal(delivered(tunnelled({ ttl }))[8], ttl);
  dropped(tunnelled({ ttl: 0 }), 'inner-ttl');
});

test('D6 inner addresses: a source of the cluster of that peer, a destination that is ours, no martian', () => {
  dropped(tunnelled({ source: NORTH_POD }), 'spoofed-source');
  dropped(tunnelled({ source: POD }), 'spoofed-source');
  dropped(tunnelled({ destination: NORTH_POD }), 'not-local');
  dropped(tunnelled({ destination: STRANGER }), 'not-local');
  for (const source of ['0.0.0.1', '127.0.0.1', '224.0.0.1', '240.0.0.1', '255.255.255.255'])
    dropped(tunnelled({ source: parseAddress(source) }), 'martian');
  for (const destination of ['127.0.0.1', '224.0.0.1', '255.255.255.255'])
    dropped(tunnelled({ destination: parseAddress(destination) }), 'martian');
  for (const end of [OURS, WEST_1]) {
    dropped(tunnelled({ source: end }), 'martian');
    dropped(tunnelled({ destination: end }), 'martian');
  }
});

test('D7 ECN comes out by RFC 6040 §4.2, on the fast way as on the other', () => {
  // Without a mark that must be carried over the packet takes the fast way; with one it does not.
  assert.equal(delivered(tunnelled({ tos: 2 }, { tos: 2 }))[1], 2);
  assert.equal(delivered(tunnelled({ tos: 2 }, { tos: 3 }))[1], 3);
});

test('D8 the DSCP of the inner packet is kept, whatever the outer one is (RFC 2983 §3.1, pipe model)', () => {
  assert.equal(delivered(tunnelled({ tos: 46 << 2 }, { tos: 8 << 2 }))[1], 46 << 2);
});

test('nested encapsulation is not taken apart a second time', () => {
  const inside = packet({ source: WEST_POD, destination: POD });
  const nested = buildIpv4({ protocol: 4, source: WEST_POD, destination: OURS, payload: inside });
  dropped(tunnelled({}, { payload: nested }), 'nested');
});
