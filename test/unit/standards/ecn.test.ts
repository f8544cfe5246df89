import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checksumOf } from '../../sim/oracle/wire.ts';
import { Rig } from '../dataplane/rig.ts';
import { incoming, outgoing, WAYS } from './ways.ts';

/** RFC 6040, cell by cell; docs/standards.md has a row for each test here. */

const EF = 46 << 2;
const CODEPOINT = { 'Not-ECT': 0b00, 'ECT(1)': 0b01, 'ECT(0)': 0b10, CE: 0b11 } as const;
type Codepoint = keyof typeof CODEPOINT;

/** Marked "(!!!)" in Figure 4: currently unused, and to be logged. */
const UNUSED = true;

/** RFC 6040 §4.2, Figure 4, with its title in front of each cell. */
const FIGURE_4: readonly (readonly [
  title: string,
  inner: Codepoint,
  outer: Codepoint,
  outgoing: Codepoint | 'drop',
  isUnused?: boolean,
])[] = [
  ['ECN inner Not-ECT, outer Not-ECT: Not-ECT', 'Not-ECT', 'Not-ECT', 'Not-ECT'],
  ['ECN inner Not-ECT, outer ECT(0): Not-ECT, counted', 'Not-ECT', 'ECT(0)', 'Not-ECT', UNUSED],
  ['ECN inner Not-ECT, outer ECT(1): Not-ECT, counted', 'Not-ECT', 'ECT(1)', 'Not-ECT', UNUSED],
  ['ECN inner Not-ECT, outer CE: dropped, counted', 'Not-ECT', 'CE', 'drop', UNUSED],
  ['ECN inner ECT(0), outer Not-ECT: ECT(0)', 'ECT(0)', 'Not-ECT', 'ECT(0)'],
  ['ECN inner ECT(0), outer ECT(0): ECT(0)', 'ECT(0)', 'ECT(0)', 'ECT(0)'],
  ['ECN inner ECT(0), outer ECT(1): ECT(1)', 'ECT(0)', 'ECT(1)', 'ECT(1)'],
  ['ECN inner ECT(0), outer CE: CE', 'ECT(0)', 'CE', 'CE'],
  ['ECN inner ECT(1), outer Not-ECT: ECT(1)', 'ECT(1)', 'Not-ECT', 'ECT(1)'],
  ['ECN inner ECT(1), outer ECT(0): ECT(1)', 'ECT(1)', 'ECT(0)', 'ECT(1)'],
  ['ECN inner ECT(1), outer ECT(1): ECT(1)', 'ECT(1)', 'ECT(1)', 'ECT(1)'],
  ['ECN inner ECT(1), outer CE: CE', 'ECT(1)', 'CE', 'CE'],
  ['ECN inner CE, outer Not-ECT: CE', 'CE', 'Not-ECT', 'CE'],
  ['ECN inner CE, outer ECT(0): CE', 'CE', 'ECT(0)', 'CE'],
  ['ECN inner CE, outer ECT(1): CE, counted', 'CE', 'ECT(1)', 'CE', UNUSED],
  ['ECN inner CE, outer CE: CE', 'CE', 'CE', 'CE'],
];

for (const [title, inner, outer, expected, isUnused = false] of FIGURE_4) {
  test(title, () => {
    for (const options of WAYS) {
      const rig = new Rig();
      const [delivered] = rig.inbound(
        incoming(options, { tos: EF | CODEPOINT[inner] }, { tos: CODEPOINT[outer] }),
      );
      assert.equal(delivered?.[1], expected === 'drop' ? undefined : EF | CODEPOINT[expected]);
      if (delivered !== undefined) assert.equal(checksumOf(delivered, 0, 20), 0);
      assert.deepEqual(rig.drops(), expected === 'drop' ? { 'inbound ecn-illegal': 1 } : {});
      assert.equal(rig.total('ECN_UNUSED'), isUnused ? 1 : 0);
    }
  });
}

/** RFC 6040 §4.1, Figure 3. */
function outerTos(ecn: 'normal' | 'compatibility', inner: number): number[] {
  return WAYS.map(
    (options) => new Rig({ settings: { ecn } }).outbound(outgoing(options, { tos: inner }))[0]![1]!,
  );
}

test('ECN normal mode: the outer field is a copy of the inner', () => {
  for (const inner of Object.values(CODEPOINT)) {
    assert.deepEqual(outerTos('normal', EF | inner), [EF | inner, EF | inner]);
  }
});

test('ECN compatibility mode: the outer field is Not-ECT', () => {
  for (const inner of Object.values(CODEPOINT)) {
    assert.deepEqual(outerTos('compatibility', EF | inner), [EF, EF]);
  }
});
