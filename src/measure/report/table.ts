import { printable } from '../../base/printable.ts';
import type { BenchResult, PathResult } from '../model.ts';
import { summary } from '../statistics.ts';
import { type Group, groupsOf, toPlain, toVxlan, verdictsOf } from './comparison.ts';
import { describeFar, describeMachine, describeRun, W_MEANS } from './conditions.ts';
import { number, range, spread } from './number.ts';
import {
  atSize,
  type Quantity,
  quantitiesOf,
  SIZED,
  type SizedQuantity,
  sizeLabel,
  sizesOf,
} from './quantity.ts';
import { type Cell, formatGrid, type GridColumn, paint, type Screen, wrapText } from './text-grid.ts';

/** A longer name would leave no room for figures on a screen of 80 columns. */
const NAME_MAX = 40;
const BLANK: Cell = { text: '' };

interface Row {
  readonly group: Group;
  readonly path: PathResult;
}

/** The figures of a run for a terminal or a text file. Ends in a newline. */
export function renderTable(result: BenchResult, screen: Screen): string {
  const quantities = quantitiesOf(result);
  const of = (group: Quantity['group']): Quantity[] => quantities.filter((one) => one.group === group);
  const sections = [
    heading(result, screen),
    plainSection(result, screen, 'TCP payload, Gbit/s, and processor seconds for one Gbit', [
      ...of('tcp'),
      ...of('cpu'),
    ]),
    plainSection(result, screen, 'Round trip, µs: percentiles of each round', of('roundTrip')),
    ...SIZED.map((quantity) => sizedSection(result, screen, quantity)),
    notes(result, screen),
    verdictSection(result, screen),
  ];
  return sections.filter((section) => section !== '').join('\n');
}

function heading(result: BenchResult, screen: Screen): string {
  const lines = [
    describeRun(result),
    describeMachine(result),
    ...(result.far === undefined ? [] : [`the other end, ${describeFar(result.far)}`]),
    'A value is the median of the rounds (lowest–highest). x PLAIN: its ratio to plain forwarding with the same offloads; x VXLAN: to kernel VXLAN.',
    ...(result.paths.some(({ name }) => /, W$/.test(name)) ? [W_MEANS] : []),
  ];
  return `${lines.map((line) => wrapText(printable(line), screen.columns)).join('\n')}\n`;
}

/** The rows of every table: a blank line stands between paths that are not compared with each other. */
function rowsOf(result: BenchResult, wants: (path: PathResult) => boolean): (Row | undefined)[] {
  const groups = groupsOf(result).map((group) =>
    group.paths.filter(wants).map((path): Row => ({ group, path })),
  );
  return groups
    .filter((rows) => rows.length > 0)
    .flatMap((rows, at) => (at === 0 ? rows : [undefined, ...rows]));
}

function label(name: string): string {
  const text = printable(name);
  return text.length > NAME_MAX ? `${text.slice(0, NAME_MAX - 1)}…` : text;
}

function column(
  title: string,
  rows: readonly (Row | undefined)[],
  cell: (row: Row) => string | Cell,
): GridColumn {
  return {
    title,
    cells: rows.map((row) => {
      const made = row === undefined ? BLANK : cell(row);
      return typeof made === 'string' ? { text: made } : made;
    }),
  };
}

const hasVxlan = (rows: readonly (Row | undefined)[]): boolean =>
  rows.some((row) => row?.group.vxlan !== undefined);

function plainSection(
  result: BenchResult,
  screen: Screen,
  title: string,
  quantities: readonly Quantity[],
): string {
  const measured = quantities.filter((one) => result.paths.some((path) => one.values(path).length > 0));
  if (measured.length === 0) return '';
  const rows = rowsOf(result, (path) => measured.some((one) => one.values(path).length > 0));
  const blocks = measured.map((one) => {
    const values = (path: PathResult): readonly number[] => one.values(path);
    return [
      column(one.short, rows, ({ path }) => spread(summary(values(path)))),
      column('x PLAIN', rows, ({ group, path }) => number(toPlain(group, path, values))),
      ...(hasVxlan(rows)
        ? [column('x VXLAN', rows, ({ group, path }) => number(toVxlan(group, path, values)))]
        : []),
    ];
  });
  const labels = column('PATH', rows, ({ path }) => label(path.name));
  return `${paint(screen, title, 'bold')}\n${formatGrid(screen, labels, blocks)}`;
}

/** Medians with the spread below each, then the ratios: one line a path, because there the eye goes down the column. */
function sizedSection(result: BenchResult, screen: Screen, quantity: SizedQuantity): string {
  const sizes = sizesOf(result.paths, quantity);
  if (sizes.length === 0) return '';
  const rows = rowsOf(result, (path) => quantity.series(path).some(({ values }) => values.length > 0));
  const hasSpread = ({ path }: Row): boolean => sizes.some((size) => atSize(path, quantity, size).length > 1);
  const withSpread = rows.flatMap((row) => (row !== undefined && hasSpread(row) ? [row, row] : [row]));
  // A path's rows are told apart by their place: the second of two neighbours is the spread.
  const isSpread = withSpread.map((row, at) => row !== undefined && withSpread[at - 1] === row);
  const values = column('PATH', withSpread, ({ path }) => label(path.name));
  const labels = { ...values, cells: values.cells.map((cell, at) => (isSpread[at] === true ? BLANK : cell)) };
  const blocks = sizes.map((size) => {
    const cells = withSpread.map((row, at): Cell => {
      if (row === undefined) return BLANK;
      const of = summary(atSize(row.path, quantity, size));
      return isSpread[at] === true ? { text: range(of), style: 'dim' } : { text: number(of.median) };
    });
    return [{ title: sizeLabel(size), cells }];
  });
  const title = `${quantity.title}, ${quantity.unit}, by bytes of the inner IPv4 packet`;
  return [
    `${paint(screen, title, 'bold')}\n${formatGrid(screen, labels, blocks)}`,
    // Not to VXLAN as well: it is a row of this table.
    ratios(result, screen, quantity),
  ]
    .filter((part) => part !== '')
    .join('\n');
}

function ratios(result: BenchResult, screen: Screen, quantity: SizedQuantity): string {
  const sizes = sizesOf(result.paths, quantity);
  const ratio = ({ group, path }: Row, size: string): number =>
    toPlain(group, path, (of) => atSize(of, quantity, size));
  const compared = new Set(
    rowsOf(result, ({ kind }) => kind !== 'reference')
      .filter((row) => row !== undefined)
      .filter((row) => sizes.some((size) => Number.isFinite(ratio(row, size))))
      .map(({ path }) => path),
  );
  if (compared.size === 0) return '';
  const rows = rowsOf(result, (path) => compared.has(path));
  const blocks = sizes.map((size) => [column(sizeLabel(size), rows, (row) => number(ratio(row, size)))]);
  const labels = column('x PLAIN', rows, ({ path }) => label(path.name));
  return formatGrid(screen, labels, blocks);
}

function notes({ paths, left }: BenchResult, screen: Screen): string {
  const lines = [
    ...paths.flatMap(({ name, failures }) => failures.map((failure) => `failed: ${name}, ${failure}`)),
    ...left.map((what) => `not measured: ${what}`),
  ];
  return lines.map((line) => `${wrapText(printable(line), screen.columns, '  ')}\n`).join('');
}

function verdictSection(result: BenchResult, screen: Screen): string {
  const lines = verdictsOf(result).map(({ name, text }) => {
    const whole = wrapText(printable(`${name}: ${text}`), screen.columns, '  ');
    const first = whole.split('\n', 1)[0] ?? '';
    const bold = Math.min(name.length + 1, first.length);
    return paint(screen, whole.slice(0, bold), 'bold') + whole.slice(bold);
  });
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}
