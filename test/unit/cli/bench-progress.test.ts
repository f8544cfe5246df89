import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BenchProgress } from '../../../src/cli/bench-progress.ts';
import type { ProgressEvent } from '../../../src/measure/model.ts';
import { StepClock } from '../host/step-clock.ts';
import { type FakeTerminal, piped, screen } from './fake-terminal.ts';

const ERASE = '\r\u001b[K';
const OPENING: ProgressEvent = {
  ...{ round: 0, rounds: 0, path: 'kernel VXLAN', what: 'opening', done: 0, total: 0, text: '' },
};
const STEP: ProgressEvent = {
  ...{ round: 1, rounds: 2, path: 'Isthmus, W', what: 'TCP', done: 0, total: 40, text: '' },
};

function progress(terminal: FakeTerminal) {
  const clock = new StepClock();
  return { clock, line: new BenchProgress(terminal, clock) };
}

/** What a screen shows: the text since the line was erased last. */
function shown(terminal: FakeTerminal): string {
  return terminal.stderr().split(ERASE).at(-1) ?? '';
}

test('on a screen there is one line that is drawn over itself and gone at the end', () => {
  const terminal = screen(100);
  const { line } = progress(terminal);
  line.tell(OPENING);
  assert.equal(shown(terminal), 'opening kernel VXLAN');
  line.tell(STEP);
  assert.equal(shown(terminal), 'round 1/2  0 %  Isthmus, W, TCP');
  line.tell({ ...STEP, done: 1, text: '3.42 Gbit/s' });
  assert.equal(shown(terminal), 'round 1/2  2 %  Isthmus, W, TCP: 3.42 Gbit/s');
  line.tell({ ...STEP, done: 1, what: 'round trips' });
  assert.equal(shown(terminal), 'round 1/2  2 %  Isthmus, W, round trips  (Isthmus, W, TCP: 3.42 Gbit/s)');
  line.end();
  assert.ok(terminal.stderr().endsWith(ERASE));
  assert.equal(terminal.stderr().includes('\n'), false);
  assert.equal(terminal.stdout(), '');
});

test('the time that is left follows from the pace until now, and counts down without news', () => {
  const terminal = screen(100);
  const { clock, line } = progress(terminal);
  line.tell(STEP);
  clock.advance(20_000);
  line.tell({ ...STEP, done: 4 });
  assert.match(shown(terminal), /^round 1\/2 {2}10 % {2}about 3 min left {2}/);
  line.tell({ ...STEP, done: 30 });
  assert.match(shown(terminal), / {2}about 7 s left {2}/);
  const before = terminal.stderr().length;
  clock.advance(1000);
  assert.ok(terminal.stderr().length > before);
  line.end();
  const after = terminal.stderr().length;
  clock.advance(5000);
  assert.equal(terminal.stderr().length, after);
});

test('the line never fills a narrow screen', () => {
  const terminal = screen(30);
  const { line } = progress(terminal);
  line.tell({ ...STEP, done: 1, text: '3.42 Gbit/s' });
  assert.equal(shown(terminal), 'round 1/2  2 %  Isthmus, W, …'.slice(0, 29));
  line.end();
});

test('in a pipe there is a line for what is opened and for each round, and no control character', () => {
  const terminal = piped();
  const { clock, line } = progress(terminal);
  line.tell(OPENING);
  line.tell(OPENING);
  line.tell(STEP);
  clock.advance(60_000);
  line.tell({ ...STEP, done: 19, text: '1 Gbit/s' });
  line.tell({ ...STEP, round: 2, done: 20 });
  line.end();
  assert.equal(
    terminal.stderr(),
    `opening kernel VXLAN
round 1/2, 0 of 40 measurements done
round 2/2, 20 of 40 measurements done, about 60 s left
`,
  );
  assert.equal(terminal.stdout(), '');
});

test('a message stays, and the line goes on below it', () => {
  const terminal = screen(100);
  const { line } = progress(terminal);
  line.tell(STEP);
  line.say('stopping');
  assert.match(terminal.stderr(), /stopping\n/);
  assert.equal(shown(terminal), 'round 1/2  0 %  Isthmus, W, TCP');
  line.end();
});

test('a name cannot move the cursor', () => {
  const terminal = screen(100);
  const { line } = progress(terminal);
  line.tell({ ...STEP, path: 'a\u001b[2Jb' });
  assert.equal(shown(terminal), 'round 1/2  0 %  a?[2Jb, TCP');
  line.end();
});
