import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Load } from '../../../../src/measure/remote/load-process.ts';
import { type FarEnd, RemoteEnds } from '../../../../src/measure/remote/remote-ends.ts';

const ADDRESS = '192.0.2.7';
const ANSWERS: Readonly<Record<string, unknown>> = {
  send: { sent: 100, refused: 0 },
  receive: { inTime: 90, arrived: 99, duplicates: 1, reordered: 2, overflowed: 0 },
  streamOut: { bytes: 2000 },
  streamIn: { bytes: 1000 },
  trips: { sent: 1, microseconds: [12] },
  echo: { echoed: 1 },
  busy: { seconds: 5 },
  drain: null,
};

interface Asked {
  readonly command: string;
  readonly request: Record<string, number>;
}

function scene(isReverse: boolean, offsetNs = 0, roundTripNs = 1e6, answers = ANSWERS) {
  const [near, there]: [Asked[], Asked[]] = [[], []];
  const answering = (asked: Asked[]) => async (command: string, request: Record<string, number>) => {
    asked.push({ command, request });
    return answers[command];
  };
  const load = { call: answering(near), close: async () => {} } as unknown as Load;
  const far = {
    address: ADDRESS,
    welcome: { trafficPort: 9463 },
    call: answering(there),
    readClock: async () => ({ offsetNs, roundTripNs }),
  } as unknown as FarEnd;
  let run = 1;
  return { near, there, ends: new RemoteEnds(load, far, isReverse, () => run++) };
}

test('both ends measure the same time, each on its own clock, the receiver later by half a round trip', async () => {
  const offset = fc.integer({ min: -1e12, max: 1e12 });
  const roundTrip = fc.integer({ min: 1000, max: 1e9 });
  await fc.assert(
    fc.asyncProperty(fc.boolean(), offset, roundTrip, async (isReverse, offsetNs, roundTripNs) => {
      const { near, there, ends } = scene(isReverse, offsetNs, roundTripNs);
      await ends.tcp(4, 2);
      const [out, into] = isReverse ? [there, near] : [near, there];
      const sent = out.find(({ command }) => command === 'streamOut')!.request;
      const taken = into.find(({ command }) => command === 'streamIn')!.request;
      const [outOffset, inOffset] = isReverse ? [offsetNs, 0] : [0, offsetNs];
      const later = taken.startAtNs! - inOffset - (sent.startAtNs! - outOffset);
      assert.equal(later, Math.round(roundTripNs / 2));
      assert.equal(taken.endAtNs! - taken.startAtNs!, 2e9);
      assert.equal(sent.endAtNs! - sent.startAtNs!, 2e9);
      assert.ok(Number.isInteger(taken.endAtNs) && Number.isInteger(sent.endAtNs));
    }),
    { seed: 5, numRuns: 50 },
  );
});

test('figures are of what arrives, and processor time of both machines', async () => {
  const { near, there, ends } = scene(false);
  const { gigabitsPerSecond, cpuSecondsPerGigabit } = await ends.tcp(1, 2);
  assert.equal(gigabitsPerSecond, 4000 / 1e9);
  assert.ok(cpuSecondsPerGigabit !== null && cpuSecondsPerGigabit >= 0);
  assert.equal(there.filter(({ command }) => command === 'busy').length, 2);
  assert.deepEqual(await ends.datagrams('64', 1000, 100), {
    ...{ sent: 100, arrived: 99, duplicates: 1, reordered: 2 },
    ...{ offeredPerSecond: 1000, deliveredPerSecond: 900 },
  });
  assert.equal(near.find(({ command }) => command === 'send')!.request.destination, ADDRESS);
  assert.equal(there.at(-1)!.command, 'drain');
});

test('on a long path what is still on its way counts as arrived, up to a limit', async () => {
  const graceOf = async (roundTripMs: number): Promise<number> => {
    const { there, ends } = scene(false, 0, roundTripMs * 1e6);
    await ends.datagrams('64', 1000, 100);
    return there.find(({ command }) => command === 'receive')!.request.graceMs!;
  };
  assert.deepEqual([await graceOf(1), await graceOf(200), await graceOf(5000)], [11, 210, 2000]);
});

test('in reverse the other end sends, and nothing here does', async () => {
  const { near, there, ends } = scene(true);
  await ends.datagrams('64', null, 100);
  await ends.tcpOfSize(1000, 1);
  assert.deepEqual(await ends.roundTrips(1, 1), [12]);
  assert.deepEqual(
    [near.map(({ command }) => command), there.map(({ command }) => command)],
    [
      ['receive', 'drain', 'streamIn', 'echo'],
      ['send', 'streamOut', 'trips'],
    ],
  );
});

test('a path that nothing comes through says so', async () => {
  const nothing = { ...ANSWERS, streamIn: { bytes: 0 }, trips: { sent: 1, microseconds: [] } };
  const { ends } = scene(false, 0, 1e6, nothing);
  await assert.rejects(ends.tcp(1, 1), /no byte of the stream arrived/);
  await assert.rejects(ends.roundTrips(1, 1), /no UDP probe was answered; is port 9463 open\?/);
});
