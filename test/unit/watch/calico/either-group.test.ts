import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ASK_AGAIN_MS, EitherGroup } from '../../../../src/watch/calico/either-group.ts';
import type { StoreEvent } from '../../../../src/watch/store-event.ts';
import { SimClock } from '../../../sim/sim-clock.ts';
import { FakeConnection, testEnvironment } from '../fake-connection.ts';
import { until } from '../running-watcher.ts';

const FIRST = 'ippools.crd.projectcalico.org';
const SECOND = 'ippools.projectcalico.org';

function running(api: FakeConnection) {
  const clock = new SimClock();
  const environment = testEnvironment({ clock });
  const connection = api.connect('calico:west', { kind: 'in-cluster' }, environment);
  const open = (group: string, version: string) => () =>
    connection.stream({ group, version, plural: 'ippools' }, ({ metadata }) => metadata.name);
  const stream = new EitherGroup(
    [open('crd.projectcalico.org', 'v1'), open('projectcalico.org', 'v3')],
    clock,
  );
  const abort = new AbortController();
  const events: string[] = [];
  const inShort = (event: StoreEvent<string>): string =>
    event.kind === 'replace' ? `replace ${[...event.objects.values()].join(' ')}` : event.kind;
  const run = async () => {
    for await (const event of stream.events(abort.signal)) events.push(inShort(event));
  };
  const done = run();
  const says = async (...expected: string[]) => {
    await until(
      () => events.length >= expected.length,
      () => events,
    );
    assert.deepEqual(events.splice(0), expected);
  };
  const stop = async () => {
    abort.abort();
    await done;
    assert.deepEqual(environment.streams.list(), []);
  };
  return { clock, environment, says, heard: () => events.length, stop };
}

test('reads the first group that the server has', async () => {
  const api = new FakeConnection().serve(FIRST, SECOND);
  api.put(FIRST, 'a', {});
  const { says, environment, stop } = running(api);
  await says('replace a');
  assert.deepEqual(
    environment.streams.list().map(({ resource }) => resource),
    [FIRST],
  );
  await stop();
});

test('reads the second where the first is not there, and follows a move in both directions', async () => {
  const api = new FakeConnection().serve(SECOND);
  api.put(SECOND, 'a', {});
  const { says, stop } = running(api);
  await says('replace a');
  api.serve(FIRST);
  api.put(FIRST, 'a', {});
  api.withdraw(SECOND);
  await says('replace a');
  api.serve(SECOND);
  api.put(SECOND, 'b', {});
  api.withdraw(FIRST);
  await says('replace b');
  await stop();
});

test('says that it is absent only when no group is there, and asks again', async () => {
  const api = new FakeConnection();
  const { says, heard, clock, stop } = running(api);
  await says('absent');
  api.serve(FIRST);
  // The pause may not have begun yet.
  await until(
    () => {
      clock.advance(ASK_AGAIN_MS);
      return heard() > 0;
    },
    () => 'nothing',
  );
  await says('replace ');
  await stop();
});
