import { summary } from '../statistics.ts';
import { linearAxis } from './axis.ts';
import { element, type Markup } from './markup.ts';
import { number, spread, times } from './number.ts';
import { figure, fixed, type Look, line, shortName, textAt } from './plot-style.ts';

export interface Bar {
  readonly name: string;
  readonly look: Look;
  /** One value a round. */
  readonly values: readonly number[];
  /** To plain forwarding; NaN where there is none. */
  readonly ratio: number;
}

const WIDTH = 900;
const ROW = 32;
const BAR = 16;
const TOP = 8;
const AXIS = 26;
const PLOT_LEFT = 260;
const PLOT_RIGHT = 640;
const VALUE_RIGHT = 820;

/** Medians as bars from 0, lowest to highest as whiskers, and each round as a dot. Bars lie, because the names of paths are long. */
export function barPlot(id: string, title: string, unit: string, bars: readonly Bar[]): Markup {
  const axis = linearAxis(
    bars.flatMap(({ values }) => values),
    PLOT_LEFT,
    PLOT_RIGHT,
  );
  const bottom = TOP + bars.length * ROW;
  const grid = axis.ticks.flatMap((tick) => [
    line(axis.at(tick), TOP, axis.at(tick), bottom, tick === 0 ? 'base' : 'grid'),
    textAt(axis.at(tick), bottom + 17, tick.toLocaleString('en'), { class: 'tick', 'text-anchor': 'middle' }),
  ]);
  const rows = bars.map((bar, at) => row(bar, TOP + at * ROW + ROW / 2, axis.at));
  const about = bars
    .map(({ name, values, ratio }) => {
      const ofPlain = Number.isFinite(ratio) ? `, ${number(ratio)} of plain forwarding` : '';
      return `${name}: ${spread(summary(values))} ${unit}${ofPlain}`;
    })
    .join('. ');
  const height = bottom + AXIS;
  return figure(id, { width: WIDTH, height }, `${title}, ${unit}`, about, [
    ...grid,
    textAt(PLOT_RIGHT + 20, bottom + 17, unit, { class: 'tick' }),
    ...rows,
  ]);
}

function row({ name, look, values, ratio }: Bar, middle: number, at: (value: number) => number): Markup {
  const baseline = middle + 4.5;
  const of = summary(values);
  const label = element(
    'text',
    { x: PLOT_LEFT - 10, y: fixed(baseline), 'text-anchor': 'end', class: 'name' },
    element('title', {}, name),
    shortName(name),
  );
  const numbers = [
    textAt(VALUE_RIGHT, baseline, values.length === 0 ? 'not measured' : spread(of), {
      ...{ class: 'value', 'text-anchor': 'end' },
    }),
    textAt(WIDTH - 4, baseline, Number.isFinite(ratio) ? times(ratio) : '', {
      ...{ class: 'ratio', 'text-anchor': 'end' },
    }),
  ];
  if (values.length === 0) return element('g', { class: look.series }, label, ...numbers);
  const bar = element(
    'rect',
    {
      ...{ class: 'bar', x: fixed(at(0)), y: fixed(middle - BAR / 2), height: BAR, rx: 2 },
      width: fixed(Math.max(1, at(of.median) - at(0))),
    },
    element('title', {}, `${name}: ${spread(of)}`),
  );
  return element(
    'g',
    { class: look.series },
    label,
    bar,
    ...whisker(of.min, of.max, middle, at),
    ...dots(values, middle, at),
    ...numbers,
  );
}

const CAP = 5;

function whisker(min: number, max: number, y: number, at: (value: number) => number): Markup[] {
  return [
    line(at(min), y, at(max), y, 'whisker'),
    line(at(min), y - CAP, at(min), y + CAP, 'whisker'),
    line(at(max), y - CAP, at(max), y + CAP, 'whisker'),
  ];
}

/** In the order of the rounds from top to bottom: dots on one line would hide each other. */
function dots(values: readonly number[], middle: number, at: (value: number) => number): Markup[] {
  const step = values.length < 2 ? 0 : (BAR - 6) / (values.length - 1);
  const first = middle - (step * (values.length - 1)) / 2;
  return values.map((value, round) =>
    element(
      'circle',
      { class: 'dot', cx: fixed(at(value)), cy: fixed(first + round * step), r: 2.2 },
      element('title', {}, `round ${round + 1}: ${number(value)}`),
    ),
  );
}
