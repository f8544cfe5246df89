import assert from 'node:assert/strict';
import { test } from 'node:test';
import { READER_WORDS, READERS } from '../../../src/fib/layout.ts';
import { enterEpoch, leaveEpoch } from '../../../src/fib/lookup.ts';
import { packet, Rig, tunnelled } from './rig.ts';

const NOWHERE = 0xc000_0201;

test('engine 1 of 2 writes nothing that engine 0 reads or writes: of the shared image only its own reader line', () => {
  const rig = new Rig({ engine: 1, engines: 2 });
  const { words } = rig.fib;
  const before = words.slice();
  enterEpoch(words, 1);
  const entered = words.slice();
  // One that is forwarded each way, and one that nobody has a route for, which makes an ICMP error.
  assert.equal(rig.outbound(packet()).length, 1);
  assert.equal(rig.inbound(tunnelled()).length, 1);
  assert.equal(rig.outbound(packet({ destination: NOWHERE })).length, 0);
  assert.equal(rig.icmp().length, 1);
  assert.deepEqual(words, entered);
  leaveEpoch(words, 1);
  const changed = [...entered.keys()].filter((word) => entered[word] !== before[word]);
  assert.deepEqual(changed, [READERS + READER_WORDS]);
});
