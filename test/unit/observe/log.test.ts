import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GatewayError } from '../../../src/base/errors.ts';
import { type AdjustableLogger, makeLogger } from '../../../src/observe/log.ts';
import { readVersion } from '../../../src/observe/version.ts';

type Line = Record<string, unknown>;

function capture(level: 'debug' | 'info' | 'warn' | 'error'): { log: AdjustableLogger; lines: () => Line[] } {
  const chunks: string[] = [];
  const log = makeLogger({ level }, { write: (chunk) => void chunks.push(chunk) });
  return {
    log,
    lines: () =>
      chunks
        .join('')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Line),
  };
}

test('an event is one line of JSON with level, ISO time, name, version, its fields and its message', () => {
  const { log, lines } = capture('info');
  log.info({ cluster: 'west', routes: 3 }, 'routes changed');
  const [line] = lines();
  const { time, pid, ...rest } = line ?? {};
  assert.deepEqual(rest, {
    level: 'info',
    name: 'isthmus',
    version: readVersion(),
    cluster: 'west',
    routes: 3,
    msg: 'routes changed',
  });
  assert.equal(pid, undefined);
  assert.equal(new Date(String(time)).toISOString(), time);
});

test('events below the level are left out, and the level can be changed while it runs', () => {
  const { log, lines } = capture('warn');
  for (const level of ['debug', 'info', 'warn', 'error'] as const) log[level]({}, level);
  log.setLevel('debug');
  log.debug({}, 'now');
  log.setLevel('error');
  log.warn({}, 'not now');
  assert.deepEqual(
    lines().map(({ msg }) => msg),
    ['warn', 'error', 'now'],
  );
});

test('an error among the fields is written with its code, message and stack', () => {
  const { log, lines } = capture('info');
  log.error({ error: new GatewayError('ISTHMUS_ERR_STATE', 'cannot write') }, 'snapshot failed');
  const { error } = lines()[0] as { error: Line };
  assert.equal(error.message, 'cannot write');
  assert.equal(error.code, 'ISTHMUS_ERR_STATE');
  assert.match(String(error.stack), /log\.test/);
});

test('a line end in a message does not make a second line', () => {
  const { log, lines } = capture('info');
  log.info({ reason: 'a\nb' }, 'first\nsecond');
  assert.deepEqual(
    lines().map(({ msg, reason }) => [msg, reason]),
    [['first\nsecond', 'a\nb']],
  );
});

test('the version is that of the package', () => {
  assert.match(readVersion(), /^\d+\.\d+\.\d+/);
});
