import assert from 'node:assert/strict';
import { test } from 'node:test';
import { combineStreams } from '../../../src/watch/combine-streams.ts';
import { until } from './running-watcher.ts';
import { ScriptedStream } from './scripted-stream.ts';

interface Fruit {
  readonly apples: number;
  readonly pears: string;
}

function fruit() {
  const apples = new ScriptedStream<number>();
  const pears = new ScriptedStream<string>();
  const abort = new AbortController();
  const batches = combineStreams<Fruit>({ apples, pears }, abort.signal);
  return { apples, pears, abort, batches };
}

test('tells what several streams said, each event with the name of its stream', async () => {
  const { apples, pears, abort, batches } = fruit();
  apples.list({ a: 1 });
  pears.list({ p: 'x' });
  const told: string[] = [];
  for await (const batch of batches) {
    told.push(...batch.map(({ stream, event }) => `${stream} ${event.kind}`));
    if (told.length === 2) pears.upsert('q', 'y');
    if (told.length === 3) abort.abort();
  }
  assert.deepEqual(told.toSorted(), ['apples replace', 'pears change', 'pears replace']);
  assert.deepEqual([apples.open, pears.open], [0, 0]);
});

test('asks a stream for another event only when the one before was taken', async () => {
  const { apples, abort, batches } = fruit();
  for (let i = 0; i < 100; i++) apples.upsert('a', i);
  const first = await batches.next();
  assert.equal(first.value?.length, 1);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(apples.left, 99);
  abort.abort();
  assert.equal((await batches.next()).done, true);
});

test('throws what a stream throws, and ends the others', async () => {
  const { apples, pears, batches } = fruit();
  const next = batches.next();
  await until(
    () => pears.open === 1,
    () => pears.open,
  );
  apples.say(new Error('a fault of ours'));
  await assert.rejects(next, /a fault of ours/);
  assert.equal(pears.open, 0);
});

test('ends all streams when the loop that reads it is left', async () => {
  const { apples, pears, batches } = fruit();
  apples.list({});
  for await (const _ of batches) break;
  assert.deepEqual([apples.open, pears.open], [0, 0]);
});

test('says nothing for a signal that was aborted before', async () => {
  const apples = new ScriptedStream<number>();
  apples.list({});
  const batches = combineStreams<{ apples: number }>({ apples }, AbortSignal.abort());
  assert.equal((await batches.next()).done, true);
});
