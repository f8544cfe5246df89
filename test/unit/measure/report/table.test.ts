import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { BenchResult } from '../../../../src/measure/model.ts';
import { renderHtml } from '../../../../src/measure/report/html.ts';
import { number } from '../../../../src/measure/report/number.ts';
import { renderTable } from '../../../../src/measure/report/table.ts';
import { median } from '../../../../src/measure/statistics.ts';
import { fixture, pathOf } from './fixture.ts';
import { results } from './results.ts';

const WIDE = { columns: Number.POSITIVE_INFINITY, colour: false };
const RUNS = { seed: 20261124, numRuns: 60 };

test('the table has the median of every series', () => {
  fc.assert(
    fc.property(results(), (result) => {
      const table = renderTable(result, WIDE);
      for (const path of result.paths) {
        const series = [path.tcpSingle, path.tcpMany, path.cpuPerGbit, ...Object.values(path.roundTrip)];
        const sized = [...path.lossFree, ...path.flood].map(({ values }) =>
          values.map((value) => value / 1000),
        );
        for (const values of [...series, ...sized, ...path.tcpBySize.map((one) => one.values)]) {
          if (values.length > 0) assert.ok(table.includes(number(median(values))), path.name);
        }
      }
    }),
    RUNS,
  );
});

for (const columns of [80, 140]) {
  test(`no line is longer than a screen of ${columns} columns`, () => {
    const table = renderTable(fixture(), { columns, colour: false });
    for (const line of table.split('\n')) assert.ok(line.length <= columns, line);
  });
}

test('a path shows median, spread and its ratios to plain forwarding and to kernel VXLAN', () => {
  const of = (name: string, kind: 'reference' | 'isthmus' | 'kernel', tcpSingle: number[]) =>
    pathOf({ name, kind, tcpSingle, reference: 'plain forwarding, W' });
  const paths = [
    of('kernel VXLAN, W', 'kernel', [4, 5, 6]),
    of('Isthmus, W', 'isthmus', [2.6, 2.5, 2.2]),
    of('plain forwarding, W', 'reference', [10, 11, 9]),
  ];
  const table = renderTable({ ...fixture(3), paths, left: [] }, WIDE);
  const from = table.indexOf('TCP payload');
  assert.equal(
    table.slice(from),
    `TCP payload, Gbit/s, and processor seconds for one Gbit
PATH                          TCP x 1  x PLAIN  x VXLAN
plain forwarding, W  10.0 (9.00–11.0)     1.00     2.00
Isthmus, W           2.50 (2.20–2.60)     0.25     0.50
kernel VXLAN, W      5.00 (4.00–6.00)     0.50     1.00

Isthmus, W: 0.25 of plain forwarding, W over one TCP connection; TCP 0.50 of kernel VXLAN, W
kernel VXLAN, W: 0.50 of plain forwarding, W over one TCP connection
`,
  );
});

test('Isthmus is compared with the fastest of the other programs', () => {
  const table = renderTable(fixture(), WIDE);
  assert.match(table, /^Isthmus, W: .* TCP \d[\d.]* times OpenVPN without cipher, W$/m);
});

test('sizes are columns, with the spread below the median', () => {
  const path = pathOf({
    ...{ name: 'plain', kind: 'reference', reference: 'plain' },
    lossFree: [
      { size: 'imix', values: [1000] },
      { size: '1480', values: [2000, 4000, 3000] },
      { size: '64', values: [] },
      { size: '128', values: [5000, 7000] },
    ],
  });
  const table = renderTable({ ...fixture(1), paths: [path], left: [] }, WIDE);
  const from = table.indexOf('PATH');
  assert.equal(
    table.slice(from),
    `PATH         128       1480  IMIX
plain       6.00       3.00  1.00
       5.00–7.00  2.00–4.00
`,
  );
});

test('after one round there are medians without lines for a spread', () => {
  const of = (name: string) => pathOf({ name, kind: 'reference', flood: [{ size: '64', values: [2000] }] });
  const table = renderTable({ ...fixture(1), paths: [of('one'), of('two')], left: [] }, WIDE);
  assert.ok(table.endsWith('PATH    64\none   2.00\n\ntwo   2.00\n'), table);
});

test('what failed and what was not measured stands below the figures', () => {
  const table = renderTable(fixture(), WIDE);
  assert.match(table, /^failed: socat, W, round 3: TCP: socat ended with status 1$/m);
  assert.match(table, /^not measured: flannel udp: no such program; not in Debian$/m);
});

test('a run that measured nothing has its conditions and what is missing', () => {
  const table = renderTable({ ...fixture(), paths: [], left: ['all'] }, WIDE);
  assert.match(
    table,
    /^isthmus bench local, version 0\.1\.0, 2026-11-24 00:17 UTC, 5 rounds of 2 s, seed 346058/,
  );
  assert.ok(table.endsWith('\nnot measured: all\n'));
});

test('a path without plain forwarding to compare with has dashes for ratios', () => {
  const path = pathOf({ name: 'Isthmus', kind: 'isthmus', tcpSingle: [2] });
  const table = renderTable({ ...fixture(1), paths: [path], left: [] }, WIDE);
  assert.match(table, /^Isthmus {5}2\.00 {8}–$/m);
  assert.match(table, /^Isthmus: not measured, or nothing to compare it with$/m);
});

test('a run between two hosts names both of them', () => {
  const { machine, ...rest } = fixture(1, ['64']);
  const far = { address: '10.2.1.2', program: '9.8.7', machine: { ...machine, kernel: '6.99' } };
  const result: BenchResult = { ...rest, machine, mode: 'run', far };
  assert.match(renderTable(result, WIDE), /the other end, 10\.2\.1\.2: .*Linux 6\.99.*version 9\.8\.7/);
  const page = renderHtml(result);
  assert.match(page, /between two hosts/);
  assert.match(page, /10\.2\.1\.2: .*Linux 6\.99/);
});

test('there are colours only where they are asked for', () => {
  const bold = '\u001b[1m';
  assert.ok(!renderTable(fixture(), WIDE).includes('\u001b'));
  assert.ok(renderTable(fixture(), { ...WIDE, colour: true }).includes(`${bold}PATH`));
});

test('names cannot move the cursor', () => {
  const path = pathOf({ name: 'a\u001b[2Jb', kind: 'peer', tcpSingle: [1], failures: ['c\u001b[2Jd'] });
  const table = renderTable({ ...fixture(), paths: [path], left: ['e\u001b[2Jf'] }, WIDE);
  assert.ok(!table.includes('\u001b'));
});
