import { randomBytes, randomInt } from 'node:crypto';
import { readVersion } from '../../observe/version.ts';
import { describeMachine, loadNow } from '../describe.ts';
import { CONGESTION } from '../load/streams.ts';
import type { BenchResult, Progress } from '../model.ts';
import { type Measurable, REFERENCE, type Variant } from '../paths.ts';
import { type MeasureOptions, type Plan, planOf } from '../plan.ts';
import { measureRounds, type ReadyPath, warmUp } from '../rounds.ts';
import { BenchClient } from './client.ts';
import { type Load, startLoad } from './load-process.ts';
import { SESSION_BYTES } from './protocol.ts';
import { RemoteEnds } from './remote-ends.ts';

export interface RemoteOptions extends MeasureOptions {
  /** An IPv4 address behind the tunnel, or a name that has one. */
  readonly peer: string;
  /** An address of the same host that is reached without the tunnel; null: there is none to compare with. */
  readonly direct: string | null;
  readonly port: number;
  readonly token: string | null;
  /** The other end sends. */
  readonly reverse: boolean;
}

interface RemotePath extends Measurable {
  readonly far: BenchClient;
}

/** What the run number of a first measurement is below; those after it count up. */
const FIRST_RUN_MAX = 2 ** 31;

/**
 * Measures between this host and one that runs `isthmus bench serve`. Throws ISTHMUS_ERR_BENCH when that cannot be reached or refuses;
 * when the connection is lost later, or `signal` aborts, the result is of what there is, and `left` says why.
 */
export async function measureRemote(
  options: RemoteOptions,
  progress: Progress,
  signal: AbortSignal,
): Promise<{ readonly result: BenchResult; readonly isLost: boolean }> {
  const loadBefore = loadNow();
  const at = new Date().toISOString();
  const plan = { ...planOf(options), iperf: false };
  const clients: BenchClient[] = [];
  let load: Load | undefined;
  try {
    const variants = await connectAll(options, clients);
    load = await startLoad();
    const { address, welcome } = clients[0]!;
    if (options.reverse) await load.call('listen', { port: welcome.trafficPort });
    const stopping = AbortSignal.any([signal, ...clients.map(({ lost }) => lost)]);
    const open = openerOf(load, plan, options.reverse);
    const { paths, left } = await measureRounds(variants, options, plan, progress, stopping, open);
    const lost = new Set(clients.flatMap(({ failure }) => (failure === undefined ? [] : [failure.message])));
    const result: BenchResult = {
      ...{ schema: 1, program: readVersion(), mode: 'run', machine: describeMachine() },
      far: { address, program: welcome.program, machine: welcome.machine },
      run: {
        ...{ at, loadBefore, seed: options.seed, rounds: options.rounds, command: options.command },
        ...{ seconds: plan.tcpSeconds, streams: plan.streams, tcpProgram: `isthmus's own, ${CONGESTION}` },
      },
      paths,
      left: [...lost, ...left],
    };
    return { result, isLost: lost.size > 0 };
  } finally {
    await Promise.all([load?.close(), ...clients.map((client) => client.close())]);
  }
}

function openerOf(load: Load, plan: Plan, isReverse: boolean): (path: RemotePath) => Promise<ReadyPath> {
  let run = randomInt(FIRST_RUN_MAX);
  return async ({ far }) => {
    const ends = new RemoteEnds(load, far, isReverse, () => run++);
    await warmUp(ends, plan);
    return { ends, setOffloads: async () => {}, close: async () => {} };
  };
}

/** A connection for each address: the far end sends test traffic nowhere else. Those that were made are in `clients`, also on failure. */
async function connectAll(
  { peer, direct, port, token }: RemoteOptions,
  clients: BenchClient[],
): Promise<Variant<RemotePath>[]> {
  const session = randomBytes(SESSION_BYTES).toString('hex');
  const reference = REFERENCE;
  const variants: Variant<RemotePath>[] = [];
  const add = async (name: string, kind: Measurable['kind'], host: string): Promise<void> => {
    const client = await BenchClient.connect({ host, port, token, session });
    clients.push(client);
    const spec = { name, kind, far: client, lacks: () => undefined };
    // Whatever offloads the two hosts have, they keep.
    variants.push({ name, spec, offloads: true, reference });
  };
  if (direct !== null) await add(reference, 'reference', direct);
  await add('Isthmus', 'isthmus', peer);
  return variants;
}
