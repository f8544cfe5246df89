import type { PathResult } from '../model.ts';
import { element, type Markup } from './markup.ts';

/**
 * What tells paths apart. Colour is never alone: each path has a marker of its own in its group, and its name stands beside it. The hues are
 * those of Okabe and Ito, which people with any of the common colour deficiencies can tell apart, darkened or lightened for contrast.
 */
export interface Look {
  /** Class of the style sheet that sets `--series`. */
  readonly series: string;
  readonly marker: (typeof MARKERS)[number];
}

const MARKERS = ['circle', 'square', 'triangle', 'diamond', 'cross', 'wedge', 'plus', 'slab', 'bow'] as const;

const HUES: Readonly<Record<PathResult['kind'], readonly string[]>> = {
  reference: ['grey'],
  isthmus: ['blue', 'sky'],
  kernel: ['vermilion', 'orange'],
  peer: ['green', 'purple', 'amber', 'brown'],
};

/** The classes of `HUES` on paper-white and on dark ground; either has a contrast of at least 3 to its ground. */
export const HUE_VALUES: readonly (readonly [name: string, light: string, dark: string])[] = [
  ['grey', '#5f6874', '#a5aebb'],
  ['blue', '#0063a6', '#5cb3f5'],
  ['sky', '#2f95cf', '#a5d8f7'],
  ['vermilion', '#c84f00', '#ff8a4c'],
  ['orange', '#b87700', '#f2b134'],
  ['green', '#007d5b', '#2fc79b'],
  ['purple', '#a8487f', '#e79cc6'],
  ['amber', '#8a7400', '#e0cf4a'],
  ['brown', '#7a4a2b', '#c99b7a'],
];

/** One for each path of a group, in its order. */
export function looksOf(paths: readonly PathResult[]): Look[] {
  const used = new Map<PathResult['kind'], number>();
  return paths.map(({ kind }, at) => {
    const nth = used.get(kind) ?? 0;
    used.set(kind, nth + 1);
    const hues = HUES[kind];
    return {
      series: `hue-${hues[nth % hues.length] ?? 'grey'}`,
      marker: MARKERS[at % MARKERS.length] ?? 'circle',
    };
  });
}

const RADIUS = 4.5;

/** A marker with its middle at (x, y). */
export function marker({ marker: shape, series }: Look, x: number, y: number, about?: string): Markup {
  const title = about === undefined ? [] : [element('title', {}, about)];
  const of = { class: `marker ${series}` };
  if (shape === 'circle') {
    return element('circle', { ...of, cx: fixed(x), cy: fixed(y), r: RADIUS }, ...title);
  }
  return element('path', { ...of, d: `M${fixed(x)} ${fixed(y)}${SHAPES[shape]}z` }, ...title);
}

/** From the middle of the marker. */
const SHAPES: Readonly<Record<Exclude<Look['marker'], 'circle'>, string>> = {
  square: 'm-4-4h8v8h-8',
  triangle: 'm0-5.2l5 9h-10',
  wedge: 'm0 5.2l5-9h-10',
  slab: 'm-6-2.4h12v4.8h-12',
  bow: 'm-5.5-4.5v9l11-9v9',
  diamond: 'm0-5.8l5.2 5.8l-5.2 5.8l-5.2-5.8',
  plus: 'm-1.6-5h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4v-3.2h3.4',
  cross:
    'm0-2.3l2.7-2.7l2.3 2.3l-2.7 2.7l2.7 2.7l-2.3 2.3l-2.7-2.7l-2.7 2.7l-2.3-2.3l2.7-2.7l-2.7-2.7l2.3-2.3',
};

/** A tenth of a unit is finer than any screen shows. */
export function fixed(coordinate: number): string {
  return String(Math.round(coordinate * 10) / 10);
}

/** As wide as a label may be; the whole name is its tooltip. */
const NAME_MAX = 38;

export function shortName(name: string): string {
  return name.length > NAME_MAX ? `${name.slice(0, NAME_MAX - 1)}…` : name;
}

/** What a reader who cannot see the plot is told, and how both halves are tied to it. */
export function figure(
  id: string,
  size: { readonly width: number; readonly height: number },
  title: string,
  about: string,
  drawing: readonly Markup[],
): Markup {
  return element(
    'svg',
    {
      ...{ viewBox: `0 0 ${size.width} ${fixed(size.height)}`, class: 'plot', role: 'img' },
      'aria-labelledby': `${id}-title ${id}-about`,
    },
    element('title', { id: `${id}-title` }, title),
    element('desc', { id: `${id}-about` }, about),
    ...drawing,
  );
}

export function textAt(
  x: number,
  y: number,
  text: string,
  attributes: Readonly<Record<string, string>> = {},
): Markup {
  return element('text', { x: fixed(x), y: fixed(y), ...attributes }, text);
}

export function line(x1: number, y1: number, x2: number, y2: number, kind: string): Markup {
  return element('line', { class: kind, x1: fixed(x1), y1: fixed(y1), x2: fixed(x2), y2: fixed(y2) });
}
