import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get16 } from '../../sim/oracle/wire.ts';
import { packet, Rig, WEST_1 } from '../dataplane/rig.ts';

/** RFC 791, RFC 2003 §5.1, RFC 4459: what may be fragmented, and where; a test a row of docs/standards.md. */

test('F1 an outer packet is fragmented only where its DF is clear', () => {
  const rig = new Rig({ settings: { fragment: 'outer' } });
  for (const outer of rig.outbound(packet({ dontFragment: false }, 2000)))
    assert.equal(get16(outer, 6) & 0x4000, 0);
  assert.deepEqual(rig.outbound(packet({}, 2000)), []);
  assert.deepEqual(rig.drops(), { 'outbound too-big': 1 });
});

test('F2 nothing is encapsulated to more than 65,535 bytes', () => {
  const largest = { settings: { fragment: 'outer', linkMtuBytes: 65_535 } } as const;
  const rig = new Rig(largest);
  assert.equal(rig.outbound(packet({ dontFragment: false, protocol: 253 }, 65_515)).length, 1);
  assert.deepEqual(rig.outbound(packet({ dontFragment: false, protocol: 253 }, 65_516)), []);
  assert.deepEqual(rig.drops(), { 'outbound too-big': 1 });
});

test('F3 every fragment but the last carries a multiple of 8 bytes, and all of them fit the path', () => {
  for (const pathMtu of [596, 1007, 1499]) {
    const rig = new Rig();
    rig.learn(WEST_1, pathMtu);
    const pieces = rig.outbound(packet({ dontFragment: false }, 1480));
    assert.ok(pieces.length > 1);
    for (const [i, outer] of pieces.entries()) {
      assert.ok(outer.length <= pathMtu);
      if (i < pieces.length - 1) assert.equal((outer.length - 40) % 8, 0);
    }
  }
});

test('F4 order of RFC 4459 §3: senders are told first, packets without DF are cut before encapsulation, outer fragments come last', () => {
  const rig = new Rig();
  rig.learn(WEST_1, 1400);
  rig.outbound(packet({}, 1400));
  assert.equal(get16(rig.icmp()[0]!.message, 6), 1380);
  const pieces = rig.outbound(packet({ dontFragment: false }, 1400));
  assert.ok(
    pieces.every((outer) => (get16(outer, 6) & 0x3fff) === 0),
    'no outer fragment',
  );
  assert.deepEqual(rig.icmp(), []);
});
