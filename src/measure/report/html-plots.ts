import type { BenchResult, PathResult } from '../model.ts';
import { type Group, groupsOf, toPlain } from './comparison.ts';
import { type Content, element, type Markup } from './markup.ts';
import { barPlot } from './plot-bars.ts';
import { linePlot, type Place } from './plot-lines.ts';
import { looksOf } from './plot-style.ts';
import {
  atSize,
  isMixture,
  type Quantity,
  quantitiesOf,
  ROUND_TRIP,
  SIZED,
  type SizedQuantity,
  sizeLabel,
  sizesOf,
  sizeText,
} from './quantity.ts';

const MORE = 'Longer is better.';
const LESS = 'Shorter is better.';
const BARS =
  'Bar: median; whisker: lowest to highest; a dot for each round; at the right the ratio to plain forwarding.';
const LINES = 'Marker: median; line through it: lowest to highest; small dots: the rounds.';

/** A section for each kind of measurement that has a value, with a plot for each group of paths: only those have comparable figures. */
export function plotSections(result: BenchResult): Markup[] {
  const quantities = quantitiesOf(result).filter(({ group }) => group !== 'roundTrip');
  const bars = quantities.map((quantity) => barSection(result, quantity));
  const [single, many, cpu] = bars;
  const sized = SIZED.map((quantity) => sizedSection(result, quantity));
  return [single, many, ...sized, roundTripSection(result), cpu].filter((section) => section !== undefined);
}

function section(
  id: string,
  title: string,
  about: readonly Content[],
  plots: readonly Markup[],
): Markup | undefined {
  if (plots.length === 0) return undefined;
  return element(
    'section',
    { id },
    element('h2', {}, title),
    element('p', { class: 'note' }, ...about, ' ', element('a', { href: `#values-${id}` }, 'All values')),
    ...plots,
  );
}

/** What stands above the plot of a group. */
function captioned(group: Group, plot: Markup, more = ''): Markup {
  const { reference } = group;
  const caption =
    reference === undefined ? 'Without plain forwarding to compare with' : `Beside ${reference.name}`;
  return element(
    'figure',
    {},
    element('figcaption', {}, more === '' ? caption : `${caption}, ${more}`),
    plot,
  );
}

function barSection(result: BenchResult, quantity: Quantity): Markup | undefined {
  const { id, title, unit, better, values } = quantity;
  const plots = groupsOf(result).flatMap((group, at) =>
    bars(group, { id: `plot-${id}-${at}`, title, unit, values }).map((plot) => captioned(group, plot)),
  );
  const about = `${better === 'more' ? MORE : LESS} ${BARS} Each plot has a scale of its own.`;
  return section(id, `${title}, ${unit}`, [about], plots);
}

interface BarsOf extends Pick<Quantity, 'id' | 'title' | 'unit'> {
  values(path: PathResult): readonly number[];
}

/** No plot where none of the group has a value. */
function bars(group: Group, { id, title, unit, values }: BarsOf): Markup[] {
  const looks = looksOf(group.paths);
  const found = group.paths.flatMap((path, nth) => {
    const look = looks[nth];
    const of = values(path);
    return look === undefined || of.length === 0
      ? []
      : [{ name: path.name, look, values: of, ratio: toPlain(group, path, values) }];
  });
  return found.length === 0 ? [] : [barPlot(id, title, unit, found)];
}

function sizedSection(result: BenchResult, quantity: SizedQuantity): Markup | undefined {
  const { id, title, unit, about } = quantity;
  const plots = groupsOf(result).flatMap((group, at) => {
    const sizes = sizesOf(group.paths, quantity);
    const [only] = sizes;
    if (only === undefined) return [];
    const plot = `plot-${id}-${at}`;
    // A line of one point is none, and bars show the ratio too.
    if (sizes.length === 1) {
      const values = (path: PathResult): readonly number[] => atSize(path, quantity, only);
      const of = { id: plot, title: `${title}, ${sizeText(only)}`, unit, values };
      return bars(group, of).map((drawn) => captioned(group, drawn, sizeText(only)));
    }
    const places = sizes.map((size): Place => ({ label: sizeLabel(size), isApart: isMixture(size) }));
    const lines = linesOf(group, (path) => sizes.map((size) => atSize(path, quantity, size)));
    const axes = { unit, across: 'bytes of the inner IPv4 packet', places };
    return [captioned(group, linePlot(plot, title, axes, lines))];
  });
  const drawn = `${LINES} ${BARS}`;
  return section(id, `${title}, ${unit}`, [`${about} More is better. ${drawn}`], plots);
}

function roundTripSection(result: BenchResult): Markup | undefined {
  const title = 'Round trip';
  const plots = groupsOf(result).flatMap((group, at) => {
    const measured = ROUND_TRIP.filter(({ values }) => group.paths.some((path) => values(path).length > 0));
    if (measured.length === 0) return [];
    const places = measured.map(({ short }): Place => ({ label: short, isApart: false }));
    const lines = linesOf(group, (path) => measured.map(({ values }) => values(path)));
    const axes = { unit: 'µs', across: 'of the round trips took at most this long', places };
    return [captioned(group, linePlot(`plot-roundTrip-${at}`, title, axes, lines))];
  });
  const about =
    'Lower is better. Marker: median of the percentile over the rounds; line through it: lowest to highest; small dots: the rounds.';
  return section('roundTripp50', `${title}, µs`, [about], plots);
}

function linesOf(group: Group, places: (path: PathResult) => readonly (readonly number[])[]) {
  const looks = looksOf(group.paths);
  return group.paths.flatMap((path, nth) => {
    const look = looks[nth];
    const of = places(path);
    return look === undefined || of.every((values) => values.length === 0)
      ? []
      : [{ name: path.name, look, places: of }];
  });
}
