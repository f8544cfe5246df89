import type { BenchResult, PathResult } from '../model.ts';
import { summary } from '../statistics.ts';
import { type Group, groupsOf, toPlain, toVxlan } from './comparison.ts';
import { element, type Markup } from './markup.ts';
import { number, range } from './number.ts';
import { atSize, quantitiesOf, SIZED, sizeLabel, sizesOf } from './quantity.ts';

type Values = (path: PathResult) => readonly number[];

interface Series {
  /** Packet size; empty for what has none. */
  readonly label: string;
  readonly values: Values;
}

/** Every value of every round: what the plots show, for those who compute with it or cannot see them. */
export function valueTables(result: BenchResult): Markup[] {
  const plain = quantitiesOf(result).map(({ id, title, unit, values }) =>
    valueTable(result, id, `${title}, ${unit}`, [{ label: '', values }]),
  );
  const sized = SIZED.map((quantity) => {
    const series = sizesOf(result.paths, quantity).map(
      (size): Series => ({ label: sizeLabel(size), values: (path) => atSize(path, quantity, size) }),
    );
    return valueTable(result, quantity.id, `${quantity.title}, ${quantity.unit}`, series);
  });
  return [...plain, ...sized].filter((table) => table !== undefined);
}

function valueTable(
  result: BenchResult,
  id: string,
  title: string,
  series: readonly Series[],
): Markup | undefined {
  const isMeasured = (path: PathResult): boolean => series.some(({ values }) => values(path).length > 0);
  if (!result.paths.some(isMeasured)) return undefined;
  const isSized = series.some(({ label }) => label !== '');
  const bodies = groupsOf(result).map((group) => {
    const rows = group.paths
      .filter(isMeasured)
      .flatMap((path) =>
        series
          .filter(({ values }) => values(path).length > 0)
          .map((one, nth, all) => valueRow(group, path, one, isSized, nth === 0 ? all.length : 0)),
      );
    return element('tbody', { class: 'group' }, rows);
  });
  const head = ['path', ...(isSized ? ['bytes'] : []), 'median', 'lowest–highest', '× plain', '× VXLAN'];
  return element(
    'div',
    { class: 'scroll', id: `values-${id}` },
    element(
      'table',
      {},
      element('caption', {}, title),
      element(
        'thead',
        {},
        element(
          'tr',
          {},
          head.map((text) => element('th', { scope: 'col' }, text)),
          element('th', { scope: 'col', class: 'text' }, 'rounds'),
        ),
      ),
      bodies,
    ),
  );
}

/** `spans`: the rows that the name stands for; 0 where it stands above already. */
function valueRow(group: Group, path: PathResult, series: Series, isSized: boolean, spans: number): Markup {
  const { label, values } = series;
  const of = summary(values(path));
  const cells = [
    ...(isSized ? [label] : []),
    number(of.median),
    range(of),
    number(toPlain(group, path, values)),
    number(toVxlan(group, path, values)),
  ];
  const name =
    spans === 0
      ? []
      : [element('th', { scope: 'rowgroup', rowspan: spans > 1 ? spans : undefined }, path.name)];
  return element(
    'tr',
    {},
    name,
    cells.map((text) => element('td', {}, text)),
    element('td', { class: 'rounds' }, values(path).map(number).join(', ')),
  );
}
