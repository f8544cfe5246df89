import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress, parseCidr4 } from '../../../src/base/address.ts';
import { buildIpv4, put16 } from '../../sim/oracle/wire.ts';
import {
  NORTH,
  NORTH_POD,
  OURS,
  POD,
  packet,
  Rig,
  type RigOptions,
  STRANGER,
  WEST_1,
  WEST_2,
  WEST_POD,
} from '../dataplane/rig.ts';
import { incoming, WAYS } from './ways.ts';

/** RFC 2003 §3.1 and §6.2, RFC 4213 §3.6, RFC 1812 §5, RFC 2827 and 3704, row by row of docs/standards.md. */

function delivered(outer: Uint8Array, options: RigOptions = {}): Uint8Array {
  const [inner, ...rest] = new Rig(options).inbound(outer);
  assert.ok(inner !== undefined, 'it is dropped');
  assert.equal(rest.length, 0);
  return inner;
}

function dropped(outer: Uint8Array, reason: string, options: RigOptions = {}): void {
  const rig = new Rig(options);
  assert.deepEqual(rig.inbound(outer), []);
  assert.deepEqual(rig.drops(), { [`inbound ${reason}`]: 1 });
  assert.deepEqual(rig.icmp(), [], 'nobody on the underlay is answered');
}

function spoiled(bytes: Uint8Array, change: (bytes: Uint8Array) => void): Uint8Array {
  change(bytes);
  return bytes;
}

const westToUs = (): Uint8Array => packet({ source: WEST_POD, destination: POD });

test('D1 an outer header that is short, of another version or malformed, or has a wrong checksum, is discarded silently', () => {
  for (const options of WAYS) {
    const outer = (change: (bytes: Uint8Array) => void): Uint8Array => spoiled(incoming(options), change);
    dropped(incoming(options).slice(0, 19), 'outer-malformed');
    dropped(
      outer((bytes) => bytes.fill(0x65, 0, 1)),
      'outer-malformed',
    );
    dropped(
      outer((bytes) => bytes.fill(0x44, 0, 1)),
      'outer-malformed',
    );
    dropped(
      outer((bytes) => put16(bytes, 2, 19)),
      'outer-malformed',
    );
    dropped(
      outer((bytes) => put16(bytes, 10, 0x1234)),
      'outer-malformed',
    );
    dropped(incoming(options).slice(0, -1), 'inner-truncated');
  }
});

test('D2 a packet from anybody but a gateway, or a sender that is configured, is discarded silently', () => {
  const settings = { allowedSources: [parseCidr4('198.51.100.0/24')] };
  for (const options of WAYS) {
    const outer = incoming(options, {}, { source: STRANGER });
    dropped(outer, 'unknown-peer');
    assert.deepEqual(delivered(outer, { settings }), westToUs());
  }
});

test('D3 a fragment is never decapsulated; the largest packet that can be reassembled is', () => {
  for (const options of WAYS) {
    dropped(incoming(options, {}, { moreFragments: true, dontFragment: false }), 'outer-malformed');
    dropped(incoming(options, {}, { offsetUnits: 3, dontFragment: false }), 'outer-malformed');
    const payload = packet({ source: WEST_POD, destination: POD, protocol: 253 }, 65_515 - options.length);
    assert.deepEqual(delivered(incoming(options, {}, { payload })), payload);
  }
});

test('D4 the packet ends where its own total length says, and is checked like any other', () => {
  for (const options of WAYS) {
    const holding = (payload: Uint8Array): Uint8Array => incoming(options, {}, { payload });
    assert.deepEqual(delivered(holding(Uint8Array.from([...westToUs(), 1, 2, 3]))), westToUs());
    const bad = (change: (bytes: Uint8Array) => void): Uint8Array => holding(spoiled(westToUs(), change));
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
    dropped(incoming(options, { source: parseAddress('127.0.0.1') }), 'martian');
  }
});

test('D5 the inner TTL is not changed, and a packet with TTL 0 is discarded', () => {
  for (const options of WAYS) {
    for (const ttl of [1, 64, 255]) assert.equal(delivered(incoming(options, { ttl }))[8], ttl);
    dropped(incoming(options, { ttl: 0 }), 'inner-ttl');
  }
});

test('D6 the inner source must be of a cluster of that peer, the destination ours, and neither a martian', () => {
  for (const options of WAYS) {
    dropped(incoming(options, { source: NORTH_POD }), 'spoofed-source');
    dropped(incoming(options, { source: POD + 1 }), 'spoofed-source');
    dropped(incoming(options, { destination: NORTH_POD }), 'not-local');
    dropped(incoming(options, { destination: STRANGER }), 'not-local');
    for (const text of ['0.0.0.1', '127.0.0.1', '224.0.0.1', '240.0.0.1', '255.255.255.255']) {
      const address = parseAddress(text);
      dropped(incoming(options, { source: address }), 'martian');
      dropped(incoming(options, { destination: address }), 'martian');
    }
    for (const end of [OURS, WEST_1]) {
      dropped(incoming(options, { source: end }), 'martian');
      dropped(incoming(options, { destination: end }), 'martian');
    }
    const payload = buildIpv4({
      ...{ source: WEST_POD, destination: OURS, protocol: 4, payload: westToUs() },
    });
    dropped(incoming(options, {}, { payload }), 'nested');
  }
});

test('D7 a congestion mark of the outer header is carried over, with the header checksum', () => {
  for (const options of WAYS) {
    const expected = packet({ source: WEST_POD, destination: POD, tos: 3 });
    assert.deepEqual(delivered(incoming(options, { tos: 2 }, { tos: 3 })), expected);
  }
});

test('D8 the inner DSCP is kept, whatever the outer one is', () => {
  for (const options of WAYS) {
    const [ef, cs1] = [46 << 2, 8 << 2];
    assert.equal(delivered(incoming(options, { tos: ef }, { tos: cs1 }))[1], ef);
    assert.equal(delivered(incoming(options, { tos: 0 }, { tos: ef }))[1], 0);
  }
});

test('R1 a peer cannot send from an address that is not its own', () => {
  for (const options of WAYS) {
    const fromNorth = incoming(options, {}, { source: NORTH });
    dropped(fromNorth, 'spoofed-source');
    assert.deepEqual(delivered(fromNorth, { settings: { innerSource: 'loose' } }), westToUs());
  }
});

test('R2 of several gateways of a cluster each may send from all of it, also where our route back takes another', () => {
  for (const options of WAYS) {
    assert.deepEqual(delivered(incoming(options, {}, { source: WEST_2 })), westToUs());
  }
});
