import type { BenchResult, PathResult } from '../model.ts';
import { median, ratioOfMedians } from '../statistics.ts';
import { fastestPeer, type Group, groupsOf, toPlain, toVxlan, verdictsOf } from './comparison.ts';
import { describeFar, describeMachine, timeOf, W_MEANS } from './conditions.ts';
import { plotSections } from './html-plots.ts';
import { valueTables } from './html-values.ts';
import { element, Markup } from './markup.ts';
import { number, times } from './number.ts';
import { atSize, LOSS_FREE, quantitiesOf, sizesOf, sizeText } from './quantity.ts';
import { styleSheet } from './style.ts';

/** The document may not load or run anything, even if something that looks like markup came into it. */
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

type Values = (path: PathResult) => readonly number[];

/** The report of a run as one HTML document, with its plots inside. It loads nothing and runs no script. */
export function renderHtml(result: BenchResult): string {
  const plots = plotSections(result);
  const title = `Throughput, ${timeOf(result.run.at)}`;
  const main = element(
    'main',
    {},
    heading(result),
    tiles(result),
    summaryTable(result),
    missing(result),
    conditions(result),
    plots,
    element('section', { id: 'values' }, element('h2', {}, 'All values'), valueTables(result)),
    method(result),
  );
  const head = element(
    'head',
    {},
    element('meta', { charset: 'utf-8' }),
    element('meta', { 'http-equiv': 'Content-Security-Policy', content: POLICY }),
    element('meta', { name: 'viewport', content: 'width=device-width, initial-scale=1' }),
    element('title', {}, title),
    // Our own text, in which quotes and angle brackets mean what they say.
    element('style', {}, new Markup(styleSheet())),
  );
  return `<!doctype html>\n${element('html', { lang: 'en' }, head, element('body', {}, main)).text}\n`;
}

function heading(result: BenchResult): Markup {
  const { mode, program, run, machine } = result;
  const where = mode === 'local' ? 'between network namespaces of one machine' : 'between two hosts';
  const rounds = run.rounds === 1 ? 'one round' : `${run.rounds} rounds`;
  return element(
    'header',
    {},
    element('h1', {}, 'Throughput of Isthmus'),
    element(
      'p',
      { class: 'lead' },
      `Version ${program}, measured ${timeOf(run.at)} ${where}, ${rounds}, on ${machine.processor} with ${machine.cores} cores.`,
    ),
  );
}

/** The path that the tiles speak of: with the offloads of a wire if there is one. */
function headline(result: BenchResult): { group: Group; path: PathResult } | undefined {
  const candidates = groupsOf(result).flatMap((group) =>
    group.paths.filter(({ kind }) => kind === 'isthmus').map((path) => ({ group, path })),
  );
  return candidates.find(({ path }) => /, W$/.test(path.name)) ?? candidates[0];
}

function tiles(result: BenchResult): Markup | string {
  const found = headline(result);
  if (found === undefined) return '';
  const { group, path } = found;
  const plain = group.reference?.name ?? '';
  const size = sizesOf(group.paths, LOSS_FREE)[0];
  const rate: Values = (of) => (size === undefined ? [] : atSize(of, LOSS_FREE, size));
  const tcp: Values = ({ tcpSingle }) => tcpSingle;
  const trip: Values = ({ roundTrip }) => roundTrip.p50;
  const peer = fastestPeer(group);
  const all: readonly (readonly [ratio: number, text: string])[] = [
    [toPlain(group, path, tcp), `of ${plain}, TCP over one connection: ${number(median(tcp(path)))} Gbit/s`],
    [
      toPlain(group, path, rate),
      `of its packets a second without loss, ${sizeText(size ?? '')}: ${number(median(rate(path)))} kpps`,
    ],
    [toPlain(group, path, trip), `its median round trip: ${number(median(trip(path)))} µs`],
    [toVxlan(group, path, tcp), `TCP of ${group.vxlan?.name ?? ''}`],
    [peer === undefined ? Number.NaN : ratioOfMedians(tcp(path), tcp(peer)), `TCP of ${peer?.name ?? ''}`],
  ];
  const shown = all.filter(([ratio]) => Number.isFinite(ratio));
  if (shown.length === 0) return '';
  return element(
    'section',
    { 'aria-label': path.name },
    element('h3', {}, `${path.name}, against other paths of the same run`),
    element(
      'ul',
      { class: 'tiles' },
      shown.map(([ratio, text]) =>
        element('li', {}, element('b', {}, times(ratio)), element('span', {}, text)),
      ),
    ),
  );
}

/** Medians and, below each, the ratio, of what is asked first; a row a path. */
function summaryTable(result: BenchResult): Markup {
  const measured = firstAsked(result).filter(({ values }) =>
    result.paths.some((path) => values(path).length > 0),
  );
  const cell = (group: Group, path: PathResult, values: Values): Markup => {
    const ratio = toPlain(group, path, values);
    const below = Number.isFinite(ratio) ? [element('small', {}, times(ratio))] : [];
    return element('td', {}, number(median(values(path))), below);
  };
  const row = (group: Group, path: PathResult): Markup =>
    element(
      'tr',
      { class: path.kind },
      element('th', { scope: 'row' }, path.name),
      measured.map(({ values }) => cell(group, path, values)),
    );
  const heads = ['path', ...measured.map(({ title }) => title)];
  return element(
    'section',
    { id: 'summary' },
    element('h2', {}, 'Summary'),
    element(
      'p',
      { class: 'note' },
      'Medians of the rounds; below each its ratio to plain forwarding with the same offloads.',
      result.paths.some(({ name }) => /, W$/.test(name)) ? ` ${W_MEANS}` : '',
    ),
    element(
      'div',
      { class: 'scroll' },
      element(
        'table',
        { class: 'summary' },
        element(
          'thead',
          {},
          element(
            'tr',
            {},
            heads.map((text) => element('th', { scope: 'col' }, text)),
          ),
        ),
        groupsOf(result).map((group) =>
          element(
            'tbody',
            { class: 'group' },
            group.paths.map((path) => row(group, path)),
          ),
        ),
      ),
    ),
    verdictList(result),
  );
}

function firstAsked(result: BenchResult): { readonly title: string; readonly values: Values }[] {
  const size = sizesOf(result.paths, LOSS_FREE)[0];
  const rates: Values = (path) => (size === undefined ? [] : atSize(path, LOSS_FREE, size));
  const of = (id: string) =>
    quantitiesOf(result)
      .filter((quantity) => quantity.id === id)
      .map(({ title, unit, values }) => ({ title: `${title}, ${unit}`, values }));
  return [
    ...of('tcpSingle'),
    ...of('tcpMany'),
    { title: `Packets without loss, ${sizeText(size ?? '')}, kpps`, values: rates },
    ...of('roundTripp50'),
    ...of('roundTripp99'),
    ...of('cpuPerGbit'),
  ];
}

/** Of our own paths: the table has the others. */
function verdictList(result: BenchResult): Markup | string {
  const ours = new Set(result.paths.filter(({ kind }) => kind === 'isthmus').map(({ name }) => name));
  const items = verdictsOf(result)
    .filter(({ name }) => ours.has(name))
    .map(({ name, text }) => element('li', {}, element('b', {}, name), `: ${text}.`));
  return items.length === 0 ? '' : element('ul', {}, items);
}

function missing({ paths, left }: BenchResult): Markup | string {
  const failures = paths.flatMap(({ name, failures }) => failures.map((failure) => `${name}, ${failure}`));
  if (failures.length + left.length === 0) return '';
  const list = (items: readonly string[], kind?: string): Markup =>
    element(
      'ul',
      { class: kind },
      items.map((item) => element('li', {}, item)),
    );
  return element(
    'section',
    { id: 'missing' },
    element('h2', {}, 'What is missing'),
    failures.length === 0 ? '' : [element('h3', {}, 'Measurements that failed'), list(failures, 'bad')],
    left.length === 0 ? '' : [element('h3', {}, 'Not measured'), list(left)],
  );
}

function conditions(result: BenchResult): Markup {
  const { run } = result;
  const pairs: readonly (readonly [string, Markup | string])[] = [
    ['Command', element('code', {}, run.command)],
    ['Machine', describeMachine(result)],
    ...(result.far === undefined ? [] : [['The other end', describeFar(result.far)] as const]),
    ['Rounds', `${run.rounds}, the paths of each in a new order, seed ${run.seed}`],
    ['TCP', `${run.tcpProgram}, ${run.seconds} s each, ${run.streams} connections where there are many`],
    ['Time', run.at],
  ];
  return element(
    'section',
    { id: 'conditions' },
    element('h2', {}, 'Machine and conditions'),
    element(
      'dl',
      {},
      pairs.map(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]),
    ),
  );
}

function method({ mode }: BenchResult): Markup {
  const local =
    'Pod, gateway, router, gateway and pod are network namespaces of one machine and share its processors. Absolute figures belong to that machine; the ratios between paths of one run carry over best.';
  const between =
    'Two hosts measure, one with isthmus bench run, the other with isthmus bench serve; Isthmus is the address behind the tunnel, plain forwarding one that is reached without it. Round trips are of UDP between the two programs. Processor time is of both hosts; gateways on other machines are not in it.';
  const paragraphs = [
    mode === 'local' ? local : between,
    'Packets without loss: a search for the highest rate at which at least 99.5 % of the UDP packets arrive. Flood: what arrives when the sender sends all it can; a path inside the kernel takes no more from the sender than it carries, the others drop the rest. Sizes are of the inner IPv4 packet; IMIX is 7 packets of 64 bytes to 4 of 576 to 1 of 1,480. Round trips are of single small packets, one every 2 ms, with nothing else on the path.',
    'Other work on the machine is in every number: differences smaller than the spread of the rounds mean nothing.',
  ];
  return element(
    'section',
    { id: 'method' },
    element('h2', {}, 'How it was measured'),
    paragraphs.map((text) => element('p', {}, text)),
  );
}
