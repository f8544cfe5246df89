import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Call, checkMoments, ProtocolError, readCall } from '../../../../src/measure/remote/protocol.ts';

const NOW = 5e12;
const SECOND = 1e9;

function line(command: string, request: object): string {
  return JSON.stringify({ id: 7, command, request });
}

const SEND = {
  ...{ port: 9463, run: 1, flows: 16, payloadBytes: [36] },
  ...{ perSecond: null, startAtNs: NOW, durationMs: 300 },
};

test('what a controller asks is read, and wrong fields are named with the id of the request', () => {
  assert.deepEqual(readCall(line('send', SEND)), { id: 7, command: 'send', request: SEND });
  const refused: [string, object, RegExp][] = [
    ['send', { ...SEND, destination: '192.0.2.1' }, /^send: Unrecognized key: "destination"/],
    ['send', { ...SEND, flows: 65 }, /^send: flows: /],
    ['send', { ...SEND, payloadBytes: [] }, /^send: payloadBytes: /],
    ['send', { ...SEND, port: 22 }, /^send: port: /],
    ['send', { ...SEND, perSecond: 1e9 }, /^send: perSecond: /],
    ['listen', { port: 9463 }, /^there is no command "listen"/],
    ['constructor', {}, /^there is no command "constructor"/],
  ];
  for (const [command, request, message] of refused) {
    assert.throws(
      () => readCall(line(command, request)),
      (error) => error instanceof ProtocolError && error.id === 7 && message.test(error.message),
      command,
    );
  }
});

test('whatever a line is, it is a call or a ProtocolError', () => {
  const request = fc.oneof(fc.jsonValue(), fc.constant(SEND), fc.constant({ startAtNs: -1 }));
  const command = fc.constantFrom('send', 'clock', 'busy', 'trips', '__proto__', 'toString');
  const any = fc.oneof(
    fc.string(),
    fc.json(),
    fc
      .record({ id: fc.jsonValue(), command: fc.oneof(command, fc.jsonValue()), request })
      .map((value) => JSON.stringify(value)),
  );
  fc.assert(
    fc.property(any, (text) => {
      try {
        assert.equal(typeof readCall(text).command, 'string');
      } catch (error) {
        assert.ok(error instanceof ProtocolError, String(error));
      }
    }),
    { seed: 3, numRuns: 500 },
  );
});

test('a request that would keep the server busy for long is refused', () => {
  const check = (call: Call): void => checkMoments(call, NOW);
  const echo = (endAtNs: number): Call => ({ id: 1, command: 'echo', request: { run: 1, endAtNs } });
  const streams = (startAtNs: number, endAtNs: number): Call => ({
    ...{ id: 1, command: 'streamIn', request: { startAtNs, endAtNs } },
  });
  const trips = (count: number): Call => ({
    ...{ id: 1, command: 'trips' },
    request: { port: 9463, run: 1, payloadBytes: 36, count, intervalMs: 100, timeoutMs: 100 },
  });
  check(echo(NOW + 60 * SECOND));
  check(streams(NOW + SECOND, NOW + 61 * SECOND));
  check(trips(600));
  assert.throws(() => check(echo(NOW + 62 * SECOND)), /echo: endAtNs: /);
  assert.throws(() => check(echo(NOW - 1)), /echo: endAtNs: before/);
  assert.throws(() => check(streams(NOW + 11 * SECOND, NOW + 12 * SECOND)), /streamIn: startAtNs: /);
  assert.throws(() => check(streams(NOW, NOW + 62 * SECOND)), /streamIn: endAtNs: /);
  assert.throws(() => check(trips(700)), /trips: count: /);
});
