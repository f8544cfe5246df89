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
} from './quantity.ts';

const MORE = 'Longer is better.';
const LESS = 'Shorter is better.';

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
function captioned(group: Group, plot: Markup): Markup {
  const { reference } = group;
  const caption =
    reference === undefined ? 'Without plain forwarding to compare with' : `Beside ${reference.name}`;
  return element('figure', {}, element('figcaption', {}, caption), plot);
}

function barSection(result: BenchResult, quantity: Quantity): Markup | undefined {
  const { id, title, unit, better, values } = quantity;
  const of = (path: PathResult): readonly number[] => values(path);
  const plots = groupsOf(result).flatMap((group, at) => {
    const looks = looksOf(group.paths);
    const bars = group.paths.flatMap((path, nth) => {
      const look = looks[nth];
      return look === undefined || of(path).length === 0
        ? []
        : [{ name: path.name, look, values: of(path), ratio: toPlain(group, path, of) }];
    });
    return bars.length === 0 ? [] : [captioned(group, barPlot(`plot-${id}-${at}`, title, unit, bars))];
  });
  const about = `${better === 'more' ? MORE : LESS} Bar: median; whisker: lowest to highest; a dot for each round; at the right the ratio to plain forwarding. Each plot has a scale of its own.`;
  return section(id, `${title}, ${unit}`, [about], plots);
}

function sizedSection(result: BenchResult, quantity: SizedQuantity): Markup | undefined {
  const { id, title, unit, about } = quantity;
  const plots = groupsOf(result).flatMap((group, at) => {
    const sizes = sizesOf(group.paths, quantity);
    if (sizes.length === 0) return [];
    const places = sizes.map((size): Place => ({ label: sizeLabel(size), isApart: isMixture(size) }));
    const lines = linesOf(group, (path) => sizes.map((size) => atSize(path, quantity, size)));
    const axes = { unit, across: 'bytes of the inner IPv4 packet', places };
    return [captioned(group, linePlot(`plot-${id}-${at}`, title, axes, lines))];
  });
  return section(
    id,
    `${title}, ${unit}`,
    [
      `${about} Higher is better. Marker: median; line through it: lowest to highest; small dots: the rounds.`,
    ],
    plots,
  );
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
