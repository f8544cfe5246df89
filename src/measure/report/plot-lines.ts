import { summary } from '../statistics.ts';
import { type Axis, logarithmicAxis } from './axis.ts';
import { element, type Markup } from './markup.ts';
import { number, spread } from './number.ts';
import { figure, fixed, type Look, line, marker, shortName, textAt } from './plot-style.ts';

export interface Line {
  readonly name: string;
  readonly look: Look;
  /** One entry a place of the axis, in its order: the values of the rounds, none where it was not measured. */
  readonly places: readonly (readonly number[])[];
}

export interface Place {
  readonly label: string;
  /** Not a point of the scale before it, such as a mixture of sizes: the line does not go on to it. */
  readonly isApart: boolean;
}

const WIDTH = 900;
const LEFT = 64;
const RIGHT = 600;
const TOP = 28;
/** Lower where so many paths are shown that their names need it. */
const BOTTOM_MIN = 334;
const BELOW = 46;
const LABELS = 636;
const LABEL_HEIGHT = 17;
/** Between neighbours in one place, so that whiskers and dots of different paths stand beside each other. */
const DODGE = 7;

/** Medians joined by lines over a logarithmic axis, with whiskers from the lowest to the highest and each round as a dot. */
export function linePlot(
  id: string,
  title: string,
  axes: { readonly unit: string; readonly across: string; readonly places: readonly Place[] },
  lines: readonly Line[],
): Markup {
  const bottom = Math.max(BOTTOM_MIN, TOP + lines.length * LABEL_HEIGHT);
  const axis = logarithmicAxis(
    lines.flatMap(({ places }) => places.flat()),
    bottom,
    TOP,
  );
  const width = (RIGHT - LEFT) / axes.places.length;
  const middle = (place: number): number => LEFT + (place + 0.5) * width;
  const room = Math.min(DODGE, (width * 0.7) / Math.max(1, lines.length));
  const x = (of: number, place: number): number => middle(place) + (of - (lines.length - 1) / 2) * room;
  const drawn = lines.map((one, of) => drawLine(one, axes.places, (place) => x(of, place), axis.at));
  const about = lines.map(({ name, places }) => {
    const values = places.map((of, place) => `${axes.places[place]?.label ?? ''}: ${spread(summary(of))}`);
    return `${name}, ${values.join(', ')}`;
  });
  return figure(
    id,
    { width: WIDTH, height: bottom + BELOW },
    `${title}, ${axes.unit}`,
    `${axes.across} across, ${axes.unit} upwards on a logarithmic scale. ${about.join('. ')}`,
    [
      ...grid(axis),
      line(LEFT, bottom, RIGHT, bottom, 'base'),
      textAt(LEFT - 8, 14, axes.unit, { class: 'tick', 'text-anchor': 'end' }),
      ...axes.places.map(({ label }, place) =>
        textAt(middle(place), bottom + 18, label, { class: 'tick', 'text-anchor': 'middle' }),
      ),
      textAt((LEFT + RIGHT) / 2, bottom + 38, axes.across, { class: 'tick', 'text-anchor': 'middle' }),
      ...drawn,
      ...labels(lines, (of, place) => x(of, place), axis.at, bottom),
    ],
  );
}

function grid({ ticks, at }: Axis): Markup[] {
  return ticks.flatMap((tick) => [
    line(LEFT, at(tick), RIGHT, at(tick), 'grid'),
    textAt(LEFT - 8, at(tick) + 4, tick.toLocaleString('en', { maximumSignificantDigits: 3 }), {
      ...{ class: 'tick', 'text-anchor': 'end' },
    }),
  ]);
}

function drawLine(
  { name, look, places }: Line,
  axis: readonly Place[],
  x: (place: number) => number,
  y: (value: number) => number,
): Markup {
  const measured = places.flatMap((values, place) => (values.length === 0 ? [] : [{ values, place }]));
  const joined = measured.filter(({ place }) => axis[place]?.isApart !== true);
  const steps = joined.map(
    ({ values, place }, at) =>
      `${at === 0 ? 'M' : 'L'}${fixed(x(place))} ${fixed(y(summary(values).median))}`,
  );
  const way = joined.length < 2 ? [] : [element('path', { class: 'way', d: steps.join('') })];
  const points = measured.flatMap(({ values, place }) => {
    const of = summary(values);
    const dots = values.map((value, round) =>
      element(
        'circle',
        { class: 'round', cx: fixed(x(place)), cy: fixed(y(value)), r: 1.7 },
        element('title', {}, `${name}, round ${round + 1}: ${number(value)}`),
      ),
    );
    const about = `${name}, ${axis[place]?.label ?? ''}: ${spread(of)}`;
    return [
      line(x(place), y(of.min), x(place), y(of.max), 'whisker'),
      ...dots,
      marker(look, x(place), y(of.median), about),
    ];
  });
  return element('g', { class: look.series }, ...way, ...points);
}

/** The name of each path at the height of its last point; where they would overlap they move apart, with a thin line back. */
function labels(
  lines: readonly Line[],
  x: (of: number, place: number) => number,
  y: (value: number) => number,
  bottom: number,
): Markup[] {
  const wanted = lines.flatMap((one, of) => {
    const place = one.places.findLastIndex((values) => values.length > 0);
    const values = one.places[place];
    return values === undefined ? [] : [{ one, x: x(of, place), y: y(summary(values).median) }];
  });
  const sorted = wanted.toSorted((a, b) => a.y - b.y);
  const heights = spreadOut(
    sorted.map((label) => label.y),
    bottom,
  );
  return sorted.map((label, at) => {
    const height = heights[at] ?? label.y;
    return element(
      'g',
      { class: label.one.look.series },
      line(label.x + 8, label.y, LABELS - 12, height, 'leader'),
      marker(label.one.look, LABELS, height),
      element(
        'text',
        { x: LABELS + 11, y: fixed(height + 4.5), class: 'name' },
        element('title', {}, label.one.name),
        shortName(label.one.name),
      ),
    );
  });
}

/** The nearest heights, in the same order, that leave each label its own; the last ones first pushed down, then all up from the bottom. */
function spreadOut(wanted: readonly number[], bottom: number): number[] {
  const placed: number[] = [];
  for (const height of wanted) {
    placed.push(Math.max(height, (placed.at(-1) ?? Number.NEGATIVE_INFINITY) + LABEL_HEIGHT));
  }
  let limit = bottom;
  for (let at = placed.length - 1; at >= 0; at--) {
    placed[at] = Math.min(placed[at] ?? 0, limit);
    limit = (placed[at] ?? 0) - LABEL_HEIGHT;
  }
  return placed;
}
