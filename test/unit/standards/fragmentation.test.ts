import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get16, parseIpv4 } from '../../sim/oracle/wire.ts';
import { packet, Rig, WEST_1 } from '../dataplane/rig.ts';
import { carried, outgoing, WAYS } from './ways.ts';

/** Which packets are cut, where and in which order of preference: RFC 2003 §5.1, RFC 791, RFC 4459, row by row of docs/standards.md. */

const isPiece = (bytes: Uint8Array): boolean => (get16(bytes, 6) & 0x3fff) !== 0;

test('F1 an outer packet is fragmented only where DF is clear in both headers', () => {
  for (const options of WAYS) {
    const rig = new Rig({ settings: { fragment: 'outer' } });
    const pieces = rig.outbound(outgoing(options, { dontFragment: false }, 2000));
    assert.deepEqual(pieces.map(isPiece), [true, true]);
    assert.ok(pieces.every((piece) => !parseIpv4(piece).dontFragment));
    assert.equal(get16(pieces[0]!, 4), get16(pieces[1]!, 4), 'one packet, one ID');
    assert.deepEqual(rig.outbound(outgoing(options, {}, 2000)), [], 'DF inside');
    assert.deepEqual(rig.drops(), { 'outbound too-big': 1 });
  }
});

test('F2 what would be longer than 65,535 bytes outside is dropped', () => {
  for (const options of WAYS) {
    const rig = new Rig({ settings: { fragment: 'outer' } });
    assert.ok(rig.outbound(outgoing(options, { dontFragment: false }, 65_515)).length > 1);
    assert.deepEqual(rig.outbound(outgoing(options, { dontFragment: false }, 65_516)), []);
    assert.deepEqual(rig.drops(), { 'outbound too-big': 1 });
  }
});

test('F3 a fragment of somebody else is carried as it is, and cut further where it must be', () => {
  for (const options of WAYS) {
    const fields = { dontFragment: false, moreFragments: true, offsetUnits: 100 };
    const [whole] = new Rig().outbound(outgoing(options, fields, 820));
    assert.deepEqual([carried(whole!).offsetUnits, carried(whole!).moreFragments], [100, true]);
    const pieces = new Rig().outbound(outgoing(options, fields, 2020)).map(carried);
    assert.equal(pieces.length, 2);
    assert.deepEqual(
      pieces.map(({ offsetUnits, moreFragments }) => [offsetUnits, moreFragments]),
      [
        [100, true],
        [100 + pieces[0]!.payload.length / 8, true],
      ],
    );
  }
});

test('M2 a source that forbids fragments is told the lower MTU, and fits after that', () => {
  const rig = new Rig();
  rig.learn(WEST_1, 1400);
  rig.outbound(packet({}, 1480));
  const mtu = get16(rig.icmp()[0]!.message, 6);
  const [outer] = rig.outbound(packet({}, mtu));
  assert.equal(outer!.length, 1400);
  assert.deepEqual(rig.icmp(), []);
});

test('M3 a packet that may be fragmented is, before encapsulation, without being asked for', () => {
  const outers = new Rig().outbound(packet({ dontFragment: false }, 1481));
  assert.deepEqual(outers.map(isPiece), [false, false]);
  assert.ok(outers.every((outer) => isPiece(outer.slice(20))));
});

test('M4 the outer packet is fragmented only where that is configured', () => {
  const rig = new Rig({ settings: { fragment: 'outer' } });
  assert.deepEqual(rig.outbound(packet({ dontFragment: false }, 1481)).map(isPiece), [true, true]);
});
