import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Ends } from '../../../src/measure/ends.ts';
import type { ProgressEvent } from '../../../src/measure/model.ts';
import { type PathSpec, variantsOf } from '../../../src/measure/paths.ts';
import { type MeasureOptions, planOf } from '../../../src/measure/plan.ts';
import { type Measured, measureRounds } from '../../../src/measure/rounds.ts';
import { lacking } from '../../../src/measure/sandbox.ts';

/** Variants without offloads need ethtool: where it is missing, these tests have no paths to measure. */
const skip = lacking('ethtool', 'ethtool') ?? false;

const OPTIONS: MeasureOptions = {
  ...{
    rounds: 3,
    seed: 5,
    seconds: 1,
    quick: true,
    only: [],
    peers: false,
    sizes: ['64', '512'],
    command: '',
  },
};

function spec(name: string, change: Partial<PathSpec> = {}): PathSpec {
  return {
    ...{ name, kind: 'isthmus', withOffloads: false, lacks: () => undefined },
    open: () => assert.fail('opened by the test'),
    ...change,
  };
}

const REFERENCE = spec('plain forwarding', { kind: 'reference', withOffloads: true });
const ENDS: Ends = {
  tcp: async () => ({ gigabitsPerSecond: 1, cpuSecondsPerGigabit: null }),
  tcpOfSize: async () => 1,
  datagrams: async (_size, rate, durationMs) => {
    const offeredPerSecond = Math.min(rate ?? 1000, 1000);
    const sent = (offeredPerSecond * durationMs) / 1000;
    return {
      ...{ sent, arrived: sent, duplicates: 0, reordered: 0 },
      offeredPerSecond,
      deliveredPerSecond: 1000,
    };
  },
  roundTrips: async () => [10],
};

interface Run {
  readonly specs: readonly PathSpec[];
  readonly options?: Partial<MeasureOptions>;
  readonly ends?: (spec: PathSpec) => Ends;
  readonly onProgress?: (event: ProgressEvent, stopping: AbortController) => void;
}

async function run({ specs, options = {}, ends = () => ENDS, onProgress }: Run): Promise<{
  measured: Measured;
  events: ProgressEvent[];
  closed: string[];
}> {
  const asked = { ...OPTIONS, ...options };
  const stopping = new AbortController();
  const events: ProgressEvent[] = [];
  const closed: string[] = [];
  const measured = await measureRounds(
    variantsOf(specs),
    asked,
    planOf(asked),
    (event) => {
      events.push(event);
      onProgress?.(event, stopping);
    },
    stopping.signal,
    async (opened) => ({
      ends: ends(opened),
      setOffloads: async () => {},
      close: async () => void closed.push(opened.name),
    }),
  );
  return { measured, events, closed };
}

/** The paths of each round in their order. */
function orders(events: readonly ProgressEvent[]): string[][] {
  const rounds: string[][] = [];
  for (const { round, path } of events.filter((event) => event.round > 0)) {
    rounds[round - 1] ??= [];
    const order = rounds[round - 1]!;
    if (order.at(-1) !== path) order.push(path);
  }
  return rounds;
}

test('each round has every path once, in an order that the seed decides', { skip }, async () => {
  const specs = [REFERENCE, spec('Isthmus'), spec('a'), spec('b'), spec('c')];
  const options = { rounds: 6 };
  const [first, same, other] = [
    await run({ specs, options }),
    await run({ specs, options }),
    await run({ specs, options: { ...options, seed: 6 } }),
  ];
  const names = first.measured.paths.map(({ name }) => name).toSorted();
  for (const order of orders(first.events)) assert.deepEqual(order.toSorted(), names);
  assert.deepEqual(orders(same.events), orders(first.events));
  assert.notDeepEqual(orders(other.events), orders(first.events));
  assert.ok(new Set(orders(first.events).map(String)).size > 1);
});

test('a path has a value of each round, and is compared with plain forwarding on the same wire', {
  skip,
}, async () => {
  const { measured, closed } = await run({ specs: [REFERENCE, spec('Isthmus')] });
  assert.deepEqual(
    measured.paths.map(({ name, reference }) => [name, reference]),
    [
      ['plain forwarding', 'plain forwarding'],
      ['plain forwarding, W', 'plain forwarding, W'],
      ['Isthmus, W', 'plain forwarding, W'],
    ],
  );
  for (const { tcpSingle, tcpMany, roundTrip, failures } of measured.paths) {
    assert.deepEqual([tcpSingle.length, tcpMany.length, roundTrip.p99.length, failures], [3, 3, 3, []]);
  }
  // What offloads cannot change is measured once.
  assert.deepEqual(
    measured.paths.map(({ flood }) => flood.map(({ size }) => size)),
    [['64'], ['64', '512'], ['64', '512']],
  );
  assert.deepEqual(closed, ['plain forwarding', 'Isthmus']);
});

test('done counts up to total', { skip }, async () => {
  const { events } = await run({ specs: [REFERENCE, spec('Isthmus')] });
  const counts = events.filter(({ text }) => text !== '').map(({ done }) => done);
  assert.deepEqual(
    counts,
    counts.map((_, index) => index + 1),
  );
  assert.equal(counts.length, events.at(-1)!.total);
});

test('a path that cannot be measured is left out with the reason, and the others are not', {
  skip,
}, async () => {
  const missing = spec('OpenVPN', { lacks: () => 'openvpn is not installed (Debian package openvpn)' });
  const broken = spec('broken');
  const { measured } = await run({
    specs: [missing, broken, REFERENCE],
    ends: (opened) => {
      if (opened === broken) throw new Error('no such\n device');
      return ENDS;
    },
  });
  assert.deepEqual(measured.left, [
    'OpenVPN, W: openvpn is not installed (Debian package openvpn)',
    'broken: no such device',
  ]);
  assert.equal(measured.paths.length, 2);
});

test('a measurement that fails is told with its round, and the others of the path go on', {
  skip,
}, async () => {
  let calls = 0;
  const tcp = async (): Promise<never> => {
    throw new Error(`refused ${++calls}`);
  };
  const { measured } = await run({
    specs: [spec('Isthmus')],
    options: { rounds: 1 },
    ends: () => ({ ...ENDS, tcp: async (many) => (many === 1 ? tcp() : ENDS.tcp(many, 1)) }),
  });
  const [path] = measured.paths;
  assert.deepEqual(path!.failures, ['round 1: TCP: refused 1']);
  assert.deepEqual([path!.tcpSingle, path!.tcpMany, path!.reference], [[], [1], null]);
});

test('a dead path costs two measurements of a round, not all', { skip }, async () => {
  const dead = async (): Promise<never> => {
    throw new Error('dead');
  };
  const { measured } = await run({
    specs: [spec('Isthmus')],
    options: { rounds: 1 },
    ends: () => ({ tcp: dead, tcpOfSize: dead, datagrams: dead, roundTrips: dead }),
  });
  assert.deepEqual(measured.paths[0]!.failures, [
    'round 1: round trips: dead',
    'round 1: TCP: dead',
    'round 1: the rest: left out after 2 failures in a row',
  ]);
});

test('a run that is stopped keeps what it has and says that there would have been more', {
  skip,
}, async () => {
  const { measured, closed } = await run({
    specs: [REFERENCE],
    onProgress: ({ round, what, text }, stopping) => {
      if (round === 2 && what === 'TCP' && text !== '') stopping.abort();
    },
  });
  const counts = measured.paths.map(({ tcpSingle }) => tcpSingle.length).toSorted();
  assert.deepEqual(counts, [1, 2]);
  assert.deepEqual(measured.left, ['the rest: the run was stopped']);
  assert.deepEqual(closed, ['plain forwarding']);
});

test('a name stands for one path, a part of a name for all that have it', { skip }, async () => {
  const specs = [REFERENCE, spec('Isthmus'), spec('Isthmus on something'), spec('kernel VXLAN')];
  const names = async (...only: string[]): Promise<string[]> =>
    (await run({ specs, options: { only } })).measured.paths.map(({ name }) => name);
  assert.deepEqual(await names('isthmus'), ['Isthmus, W']);
  assert.deepEqual(await names('isth'), ['Isthmus, W', 'Isthmus on something, W']);
  assert.deepEqual(await names('vxlan', 'Isthmus'), ['Isthmus, W', 'kernel VXLAN, W']);
  await assert.rejects(names('nothing'), /no path has a name like nothing/);
});
