import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StreamWithFallback } from '../../../../src/watch/kubernetes/absent-resource.ts';
import type { OpenStream } from '../../../../src/watch/kubernetes/connection.ts';
import type { StoreEvent } from '../../../../src/watch/store-event.ts';
import { StreamRegistry } from '../../../../src/watch/stream-state.ts';
import { StepClock } from '../../host/step-clock.ts';
import { until } from '../running-watcher.ts';
import { ScriptedStream } from '../scripted-stream.ts';

const ABSENT = { kind: 'absent', reason: '404' } as const;

/** A fallback over streams that a test drives, and what it told. */
class Rig {
  readonly clock = new StepClock();
  readonly streams: ScriptedStream<number>[];
  readonly told: string[] = [];
  readonly absent: string[] = [];
  /** Index of each stream whenever it was opened. */
  readonly opened: number[] = [];
  closed = 0;
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;

  constructor(count: number, confirmMs: number) {
    this.streams = Array.from({ length: count }, () => new ScriptedStream<number>());
    const registry = new StreamRegistry();
    const stream = new StreamWithFallback<number>({
      streams: this.streams.map((scripted, index) => () => this.#open(scripted, index, registry)),
      objects: new Map([['fallback', 0]]),
      confirmMs,
      askAgainMs: 10_000,
      onAbsent: (reason) => this.absent.push(reason),
      clock: this.clock,
    });
    this.#done = this.#run(stream);
  }

  async tells(...lines: string[]): Promise<void> {
    await until(
      () => this.told.length >= lines.length && this.streams.every(({ left }) => left === 0),
      () => this.told,
    );
    assert.deepEqual(this.told, lines);
  }

  async asks(index: number, times: number): Promise<void> {
    await until(
      () => this.streams[index]?.open === times,
      () => this.opened,
    );
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#done;
    assert.equal(this.closed, this.opened.length, 'every stream that was opened is closed');
  }

  #open(scripted: ScriptedStream<number>, index: number, registry: StreamRegistry): OpenStream<number> {
    this.opened.push(index);
    return {
      state: registry.open('test', `${index}`),
      events: (signal) => scripted.events(signal),
      close: () => {
        this.closed++;
      },
    };
  }

  async #run(stream: StreamWithFallback<number>): Promise<void> {
    for await (const event of stream.events(this.#abort.signal)) this.told.push(lineOf(event));
  }
}

function lineOf(event: StoreEvent<number>): string {
  return event.kind === 'replace' ? `replace ${[...event.objects.keys()].join()}` : event.kind;
}

test('the first resource that the server knows is read', async () => {
  const rig = new Rig(2, 0);
  rig.streams[0]?.say(ABSENT);
  rig.streams[1]?.list({ a: 1 });
  await rig.tells('replace a');
  assert.deepEqual([rig.opened, rig.absent], [[0, 1], []]);
  await rig.stop();
});

test('where the server knows none, there is what was given instead, until it knows one', async () => {
  const rig = new Rig(2, 0);
  for (const stream of rig.streams) stream.say(ABSENT);
  await rig.tells('replace fallback');
  assert.deepEqual(rig.absent, ['404']);
  for (const stream of rig.streams) stream.say(ABSENT);
  rig.clock.advance(10_000);
  await until(
    () => rig.absent.length === 2,
    () => rig.absent,
  );
  rig.streams[0]?.list({ a: 1 });
  rig.clock.advance(10_000);
  await rig.tells('replace fallback', 'replace a');
  await rig.stop();
});

test('a server that has just started is asked twice before it is believed', async () => {
  const rig = new Rig(1, 3000);
  rig.streams[0]?.say(ABSENT);
  await until(
    () => rig.streams[0]?.left === 0 && rig.streams[0].open === 0,
    () => rig.streams,
  );
  assert.deepEqual(rig.told, []);
  rig.streams[0]?.list({ a: 1 });
  rig.clock.advance(3000);
  await rig.tells('replace a');
  assert.deepEqual([rig.opened, rig.absent], [[0], []]);
  await rig.stop();
});

test('what was listed once is not forgotten because a server does not know it', async () => {
  const rig = new Rig(2, 0);
  rig.streams[0]?.list({ a: 1 });
  rig.streams[0]?.say(ABSENT);
  await rig.tells('replace a', 'absent');
  rig.streams[0]?.list({ a: 1 });
  await rig.tells('replace a', 'absent', 'replace a');
  assert.deepEqual(rig.opened, [0]);
  await rig.stop();
});

test('a server that was away and still does not know the resource is well again', async () => {
  const rig = new Rig(1, 0);
  rig.streams[0]?.say(ABSENT);
  await rig.tells('replace fallback');
  rig.clock.advance(10_000);
  rig.streams[0]?.say({ kind: 'stale', reason: 'refused' }, ABSENT);
  await rig.tells('replace fallback', 'stale', 'fresh');
  await rig.stop();
});
