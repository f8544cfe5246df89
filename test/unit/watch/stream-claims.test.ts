import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { parseCidr } from '../../../src/base/address.ts';
import type { ClaimUpdate } from '../../../src/table/claim.ts';
import { ClaimLedger } from '../../../src/watch/claim-ledger.ts';
import type { Told } from '../../../src/watch/combine-streams.ts';
import { LastGood, type Malformed } from '../../../src/watch/last-good.ts';
import { type Deriver, streamClaims } from '../../../src/watch/stream-claims.ts';
import { until } from './running-watcher.ts';
import { ScriptedStream } from './scripted-stream.ts';

interface Net {
  readonly cidr: string;
}
interface Nets {
  readonly one: Net | Malformed;
  readonly two: Net | Malformed;
}

/** Claims every net as it is. */
class NetClaims implements Deriver<Nets> {
  readonly ledger = new ClaimLedger();
  readonly #nets = { one: new LastGood<Net>(), two: new LastGood<Net>() };

  apply({ stream, event }: Told<Nets>): void {
    for (const key of this.#nets[stream].apply(event)) {
      const net = this.#nets[stream].get(key);
      const claim = net && { id: key, cidr: parseCidr(net.cidr), cluster: 'west', gateways: [] };
      this.ledger.put(key, claim === undefined ? [] : [claim]);
    }
  }

  settle(): void {}

  *problems(): Iterable<string> {
    yield* this.#nets.one.problems();
    yield* this.#nets.two.problems();
  }
}

let one: ScriptedStream<Net | Malformed>;
let two: ScriptedStream<Net | Malformed>;
let words: string[];
let abort: AbortController;
let done: Promise<void>;

function inShort(update: ClaimUpdate): string {
  const stale = 'stale' in update && update.stale !== undefined ? ` (${update.stale})` : '';
  if (update.kind === 'stale') return `stale: ${update.reason}`;
  if (update.kind === 'fresh') return 'fresh';
  const ids = update.kind === 'remove' ? update.ids : update.claims.map(({ id }) => id);
  return `${update.kind} ${ids.join(' ') || 'nothing'}${stale}`;
}

beforeEach(() => {
  one = new ScriptedStream();
  two = new ScriptedStream();
  words = [];
  abort = new AbortController();
  const run = async () => {
    for await (const update of streamClaims({ one, two }, new NetClaims(), abort.signal))
      words.push(inShort(update));
  };
  done = run();
});

afterEach(async () => {
  abort.abort();
  await done;
});

async function says(...expected: string[]): Promise<void> {
  await until(
    () => words.length >= expected.length,
    () => words,
  );
  assert.deepEqual(words.splice(0), expected);
}

async function ready(): Promise<void> {
  one.list({ a: { cidr: '10.1.0.0/16' } });
  two.list({});
  await says('replace a');
}

test('claims nothing before every stream has listed, and says why when one cannot', async () => {
  one.list({ a: { cidr: '10.1.0.0/16' } });
  two.say({ kind: 'stale', reason: 'two: refused' });
  await says('stale: two: refused');
  two.list({ b: { cidr: '10.2.0.0/16' } });
  await says('replace a b');
});

test('tells changes as they come, and all again after a stream has listed again', async () => {
  await ready();
  two.upsert('b', { cidr: '10.2.0.0/16' });
  await says('upsert b');
  one.remove('a');
  await says('remove a');
  two.list({ b: { cidr: '10.2.0.0/16' }, c: { cidr: '10.3.0.0/16' } });
  await says('replace b c');
});

test('goes on with what can be heard while another stream is away, and says so in each word', async () => {
  await ready();
  one.say({ kind: 'stale', reason: 'one: 403' });
  await says('upsert nothing (one: 403)');
  two.upsert('b', { cidr: '10.2.0.0/16' });
  await says('upsert b (one: 403)');
  one.say({ kind: 'fresh' });
  await says('fresh');
});

test('is away only when no stream can be heard', async () => {
  await ready();
  one.say({ kind: 'stale', reason: 'gone' });
  await says('upsert nothing (gone)');
  two.say({ kind: 'stale', reason: 'gone' });
  await says('stale: gone');
  two.say({ kind: 'fresh' });
  await says('upsert nothing (gone)');
  one.list({ a: { cidr: '10.1.0.0/16' } });
  await says('replace a');
});

test('a resource that the server does not know is no empty list', async () => {
  await ready();
  one.say({ kind: 'absent', reason: 'no ones' });
  await says('upsert nothing (no ones)');
  two.upsert('b', { cidr: '10.2.0.0/16' });
  await says('upsert b (no ones)');
});

test('a wrong object is named, and no more once it is mended', async () => {
  await ready();
  one.upsert('a', { problem: 'a: cidr is 7' });
  await says('upsert nothing (a: cidr is 7)');
  one.upsert('a', { cidr: '10.1.0.0/16' });
  await says('fresh');
});

test('of many wrong objects three are named', async () => {
  await ready();
  const wrong = ['p', 'q', 'r', 's', 't'].map((key) => [key, { problem: `${key} is wrong` }] as const);
  one.say({ kind: 'change', upserts: new Map(wrong), removed: [] });
  await says('upsert nothing (p is wrong; q is wrong; r is wrong; and 2 more)');
});

test('repeats nothing', async () => {
  await ready();
  one.say({ kind: 'fresh' }, { kind: 'stale', reason: 'gone' }, { kind: 'stale', reason: 'gone' });
  two.upsert('b', { cidr: '10.2.0.0/16' });
  await until(
    () => words.some((word) => word.startsWith('upsert b')),
    () => words,
  );
  assert.equal(words.filter((word) => word === 'upsert nothing (gone)').length <= 1, true);
  assert.equal(words.includes('fresh'), false);
});
