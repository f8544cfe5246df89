import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checksumOf } from '../../sim/oracle/wire.ts';
import { Rig, tunnelled } from '../dataplane/rig.ts';

const NAMES = { 'Not-ECT': 0, 'ECT(0)': 2, 'ECT(1)': 1, CE: 3 } as const;
type Name = keyof typeof NAMES;
const OUTER: readonly Name[] = ['Not-ECT', 'ECT(0)', 'ECT(1)', 'CE'];

/** RFC 6040 §4.2, Figure 4, as it is printed; `!` marks the combinations that are "currently unused" and to be logged. */
const FIGURE_4: readonly [inner: Name, outgoing: readonly string[]][] = [
  ['Not-ECT', ['Not-ECT', 'Not-ECT!', 'Not-ECT!', 'drop!']],
  ['ECT(0)', ['ECT(0)', 'ECT(0)', 'ECT(1)', 'CE']],
  ['ECT(1)', ['ECT(1)', 'ECT(1)', 'ECT(1)', 'CE']],
  ['CE', ['CE', 'CE', 'CE!', 'CE']],
];

for (const [inner, row] of FIGURE_4) {
  for (const [column, cell] of row.entries()) {
    const outer = OUTER[column]!;
    const outgoing = cell.replace('!', '');
    test(`ECN inner ${inner}, outer ${outer}: ${outgoing}${cell.endsWith('!') ? ', counted as unused' : ''}`, () => {
      const rig = new Rig();
      const tos = (46 << 2) | NAMES[inner];
      const [packet] = rig.inbound(tunnelled({ tos }, { tos: NAMES[outer] }));
      if (outgoing === 'drop') {
        assert.equal(packet, undefined);
        assert.deepEqual(rig.drops(), { 'inbound ecn-illegal': 1 });
      } else {
        assert.equal(packet![1], (46 << 2) | NAMES[outgoing as Name]);
        assert.equal(checksumOf(packet!, 0, 20), 0);
      }
      assert.equal(rig.total('ECN_UNUSED'), cell.endsWith('!') ? 1 : 0);
    });
  }
}
