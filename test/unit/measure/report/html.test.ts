import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { BenchResult } from '../../../../src/measure/model.ts';
import { renderHtml } from '../../../../src/measure/report/html.ts';
import { number } from '../../../../src/measure/report/number.ts';
import { parseSavedResult } from '../../../../src/measure/report/saved-result.ts';
import { fixture, pathOf } from './fixture.ts';
import { results, shownNumbers } from './results.ts';

const RUNS = { seed: 20261124, numRuns: 25 };

/** The tags of a document, in order, without those that have no end. Fails on one that is not closed, or closed twice. */
function assertBalanced(html: string): void {
  const body = html.replace('<!doctype html>', '').replace(/<style>[\s\S]*?<\/style>/, '');
  const open: string[] = [];
  for (const [, end, name = ''] of body.matchAll(/<(\/?)([a-zA-Z][\w-]*)(?: [\w:-]+="[^"<>]*")*>/g)) {
    if (name === 'meta') continue;
    if (end === '') open.push(name);
    else assert.equal(open.pop(), name);
  }
  assert.deepEqual(open, []);
  const rest = body.replace(/<\/?[a-zA-Z][\w-]*(?: [\w:-]+="[^"<>]*")*>/g, '');
  assert.doesNotMatch(rest, /[<>]/);
}

test('a report has every value of every round', () => {
  fc.assert(
    fc.property(results(), (result) => {
      const html = renderHtml(result);
      for (const value of shownNumbers(result)) {
        assert.ok(html.includes(number(value)), `${number(value)} is missing`);
      }
    }),
    RUNS,
  );
});

test('a report is well-formed, whatever was measured', () => {
  fc.assert(
    fc.property(results(), (result) => assertBalanced(renderHtml(result))),
    RUNS,
  );
});

test('no coordinate of a plot is not a number', () => {
  fc.assert(
    fc.property(results(), (result) => assert.doesNotMatch(renderHtml(result), /NaN|Infinity|undefined/)),
    RUNS,
  );
});

const HOSTILE = `</title></style><script>alert(1)</script><img src=x onerror="alert(1)">'"&\u202e\u001b[2J`;

test('names from a file do not become markup', () => {
  const whole = fixture();
  const hostile: BenchResult = {
    ...whole,
    program: HOSTILE,
    machine: { ...whole.machine, processor: HOSTILE, kernel: HOSTILE, node: HOSTILE },
    run: { ...whole.run, at: HOSTILE, command: HOSTILE, tcpProgram: HOSTILE },
    paths: whole.paths.map((path, at) => ({
      ...path,
      name: `${HOSTILE}${at}`,
      reference: `${HOSTILE}${path.reference === 'plain forwarding' ? 0 : 3}`,
      failures: [HOSTILE],
      lossFree: [{ size: HOSTILE, values: [1] }],
    })),
    left: [HOSTILE],
  };
  const html = renderHtml(hostile);
  assertBalanced(html);
  assert.doesNotMatch(html, /<script|<img|onerror="/);
  assert.ok(!html.includes('\u202e') && !html.includes('\u001b'));
  assert.ok(html.includes('&lt;script&gt;alert(1)&lt;/script&gt;'));
});

test('a report loads nothing and runs nothing', () => {
  const html = renderHtml(fixture());
  assert.match(html, /<meta http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;;/);
  assert.doesNotMatch(html, /<script|<link|<img|<iframe|@import|url\(|https?:|\/\//);
});

test('each plot has a title and a description of its own, and every id stands once', () => {
  const html = renderHtml(fixture());
  const ids = [...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
  assert.equal(new Set(ids).size, ids.length);
  const labels = [...html.matchAll(/<svg [^>]*aria-labelledby="([^"]+)"/g)].flatMap(([, names]) =>
    names?.split(' '),
  );
  // Three kinds with bars, packets without loss and under flood, and the round trips for two groups of paths; TCP by size for one.
  assert.equal(labels.length, 2 * (2 * 6 + 1));
  for (const id of labels) assert.ok(ids.includes(id), id);
});

test('a link leads to the values of each plot', () => {
  const html = renderHtml(fixture());
  const links = [...html.matchAll(/ href="#([^"]+)"/g)].map(([, id]) => id ?? '');
  assert.equal(links.length, 7);
  for (const id of links) assert.ok(html.includes(` id="${id}"`), id);
});

test('one size is shown as bars, several as lines', () => {
  const kinds = (sizes: readonly string[]): number[] => {
    const html = renderHtml(fixture(2, sizes));
    return ['class="bar"', 'class="way"'].map((mark) => html.split(mark).length - 1);
  };
  // Bars of three kinds for eleven paths, of two more where there is one size; lines of the round trips always.
  assert.deepEqual(kinds(['64']), [5 * 11, 11]);
  assert.deepEqual(kinds(['64', '128']), [3 * 11 + 2 * 3 + 8, 11 + 2 * 8]);
});

test('a run that measured nothing is a report without plots', () => {
  const html = renderHtml({ ...fixture(), paths: [], left: ['everything: no program'] });
  assertBalanced(html);
  assert.doesNotMatch(html, /<svg/);
  assert.ok(html.includes('everything: no program'));
});

test('a path of failures only is named with them', () => {
  const failed = pathOf({ name: 'Isthmus, W', kind: 'isthmus', failures: ['round 1: TCP: no route'] });
  const html = renderHtml({ ...fixture(), paths: [failed] });
  assertBalanced(html);
  assert.ok(html.includes('Isthmus, W, round 1: TCP: no route'));
});

test('with one round there is a value and no spread', () => {
  const path = pathOf({ name: 'Isthmus', kind: 'isthmus', tcpSingle: [2.5] });
  const html = renderHtml({ ...fixture(1), paths: [path] });
  assert.ok(html.includes('>2.50</text>'));
  assert.doesNotMatch(html, /2\.50–2\.50/);
});

test('a report of a file that was read again is the same', () => {
  const result = fixture();
  assert.equal(renderHtml(parseSavedResult(JSON.stringify(result), 'a.json')), renderHtml(result));
});
