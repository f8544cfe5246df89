import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FakeApiServer } from './fake-api-server.ts';
import { NODES, node, podCidrOf, RunningReflector, showMap } from './running-reflector.ts';

const SEED = 20_240_611;
const RUNS = 60;

/** What changes on a server. */
type Change =
  | { readonly kind: 'put'; readonly name: number; readonly value: number }
  | { readonly kind: 'remove'; readonly name: number }
  | { readonly kind: 'compact' };

/** What happens to a server and on the way to it. */
type Step =
  | Change
  | {
      readonly kind: 'refuse';
      readonly status: number;
      readonly times: number;
      readonly verb: 'list' | 'watch';
    }
  | { readonly kind: 'wait'; readonly turns: number }
  | { readonly kind: 'gone-as'; readonly form: 'status' | 'event' }
  | { readonly kind: 'raw'; readonly text: string }
  /** The server is away, and is not the same when it is back. */
  | { readonly kind: 'outage'; readonly meanwhile: readonly Change[] }
  /** No watch is told of any of this before it breaks. */
  | { readonly kind: 'partition'; readonly meanwhile: readonly Change[] }
  | { readonly kind: (typeof SIMPLE)[number] };

const SIMPLE = [
  ...(['settle', 'settle', 'reset', 'end', 'gone', 'server-error'] as const),
  ...(['bookmark', 'close-early', 'reset-request'] as const),
] as const;

const change: fc.Arbitrary<Change> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('put' as const), name: fc.nat(5), value: fc.nat(3) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('remove' as const), name: fc.nat(5) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('compact' as const) }) },
);
const meanwhile = fc.array(change, { maxLength: 6, size: 'max' });

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: change },
  { weight: 6, arbitrary: fc.record({ kind: fc.constantFrom(...SIMPLE) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('wait' as const), turns: fc.nat(30) }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom('outage' as const, 'partition' as const), meanwhile }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('refuse' as const),
      status: fc.constantFrom(401, 403, 410, 429, 500, 503, 504),
      times: fc.integer({ min: 1, max: 4 }),
      verb: fc.constantFrom('list' as const, 'watch' as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('gone-as' as const),
      form: fc.constantFrom('status' as const, 'event' as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('raw' as const),
      text: fc.constantFrom(
        'garbage\n',
        '\n',
        '{"type":"ADDED","object":{}}\n',
        '{"type":"ADD',
        'x'.repeat(5000),
      ),
    }),
  },
);

function make(server: FakeApiServer, action: Change): void {
  if (action.kind === 'compact') server.compact();
  else if (action.kind === 'remove') server.remove(NODES, `n${action.name}`);
  else server.put(NODES, node(`n${action.name}`, `10.${action.name}.${action.value}.0/24`));
}

async function perform(server: FakeApiServer, reflector: RunningReflector, action: Step): Promise<void> {
  switch (action.kind) {
    case 'settle':
      return await settled(server, reflector);
    case 'wait':
      for (let i = 0; i < action.turns; i++) await new Promise((resolve) => setImmediate(resolve));
      return;
    case 'refuse':
      return void server.refuse(action.status, { verb: action.verb, times: action.times });
    case 'gone-as':
      server.goneAs = action.form;
      return;
    case 'raw':
      return server.sendRaw(action.text);
    case 'reset':
      return server.resetWatches();
    case 'end':
      return server.endWatches();
    case 'gone':
      return server.sendErrors(410, 'Expired');
    case 'server-error':
      return server.sendErrors(500, 'InternalError');
    case 'bookmark':
      return server.sendBookmarks();
    case 'close-early':
      return void server.closeEarly({ times: 2 });
    case 'reset-request':
      return void server.reset({ times: 1 });
    case 'outage':
      await server.stop();
      for (const one of action.meanwhile) make(server, one);
      return await server.listen();
    case 'partition':
      // After a bookmark the client expects more of them, so it soon notices.
      server.sendBookmarks();
      server.freezeWatches();
      for (const one of action.meanwhile) make(server, one);
      return;
    default:
      make(server, action);
  }
}

async function settled(server: FakeApiServer, reflector: RunningReflector): Promise<void> {
  await reflector.until(() => reflector.shown === stored(server) && reflector.health === 'fresh');
}

function stored(server: FakeApiServer): string {
  return showMap(server.store.all(NODES).map((object) => [object.metadata.name, podCidrOf(object) ?? '']));
}

async function run(steps: readonly Step[], watchList: 'served' | 'refused', early: boolean): Promise<void> {
  const server = await FakeApiServer.start({ serves: [NODES], watchList });
  server.put(NODES, node('steady', '10.200.0.0/24'));
  let withdrawn = 0;
  const limits = {
    bookmarkSilenceMs: 20,
    lineBytesMax: 4096,
    pageObjects: 2,
    earlyCloseMs: early ? 600_000 : 0,
  };
  const reflector: RunningReflector = new RunningReflector(server, {
    limits,
    onWord: () => {
      if (reflector.health === 'fresh' && !reflector.view.has('steady')) withdrawn++;
    },
  });
  try {
    for (const action of steps) await perform(server, reflector, action);
    await settled(server, reflector);
    // What is there by now is seen as well: the loop still runs.
    server.put(NODES, node('last', '10.250.0.0/24'));
    await reflector.until(() => reflector.shown === stored(server));
    assert.equal(withdrawn, 0, 'an object that was always there was withdrawn');
    assert.equal(reflector.stream.objects, reflector.view.size);
  } finally {
    await reflector.stop();
    await server.stop();
  }
}

describe('whatever happens between them', () => {
  for (const watchList of ['refused', 'served'] as const) {
    it(`the reflector ends with what the server has, ${watchList === 'served' ? 'with' : 'without'} watch-lists`, async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(step, { minLength: 10, maxLength: 40, size: 'max' }),
          fc.boolean(),
          (steps, early) => run(steps, watchList, early),
        ),
        // A run that fails lasts until its deadline; shrinking would take hours of them.
        { seed: SEED, numRuns: RUNS, endOnFailure: true },
      );
    });
  }
});
