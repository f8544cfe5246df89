import { GatewayError } from '../base/errors.ts';
import { readVersion } from '../observe/version.ts';
import { describeMachine, loadNow } from './describe.ts';
import { IPERF_WORDS } from './iperf.ts';
import { CONGESTION } from './load/streams.ts';
import { LocalEnds } from './local-ends.ts';
import type { BenchResult, Progress } from './model.ts';
import { PATHS, type PathSpec, setOffloads, variantsOf } from './paths.ts';
import { PEER_PATHS } from './peers/peer-paths.ts';
import { type MeasureOptions, type Plan, planOf } from './plan.ts';
import { measureRounds, type ReadyPath, warmUp } from './rounds.ts';
import { isInsideSandbox, probeSandbox } from './sandbox.ts';
import { runInSandbox } from './sandboxed.ts';

/** The program that runs in the sandbox. */
const INSIDE = new URL('./inside.js', import.meta.url);

/**
 * Measures paths between namespaces of this machine, in a sandbox that takes everything along when it ends. As root or as a user who
 * may make user namespaces; throws ISTHMUS_ERR_PRIVILEGE with what is missing. When `signal` aborts, the measurement that runs is finished
 * and the result is of what there is.
 */
export async function measurePaths(
  options: MeasureOptions,
  progress: Progress,
  signal: AbortSignal = new AbortController().signal,
): Promise<BenchResult> {
  if (isInsideSandbox()) return measureHere(options, progress, signal);
  const sandbox = probeSandbox();
  if (!sandbox.possible) throw new GatewayError('ISTHMUS_ERR_PRIVILEGE', sandbox.reason);
  return runInSandbox<BenchResult>(sandbox.command, INSIDE, options, progress, signal);
}

/** Inside the sandbox. */
async function measureHere(
  options: MeasureOptions,
  progress: Progress,
  signal: AbortSignal,
): Promise<BenchResult> {
  const plan = planOf(options);
  const loadBefore = loadNow();
  const at = new Date().toISOString();
  const specs = options.peers ? [...PATHS, ...PEER_PATHS] : PATHS;
  const { paths, left } = await measureRounds(variantsOf(specs), options, plan, progress, signal, (spec) =>
    openReady(spec, plan),
  );
  return {
    schema: 1,
    program: readVersion(),
    mode: 'local',
    machine: describeMachine(),
    run: {
      ...{ at, loadBefore, seed: options.seed, rounds: options.rounds, command: options.command },
      ...{ seconds: plan.tcpSeconds, streams: plan.streams, tcpProgram: tcpProgram(plan.iperf) },
    },
    paths,
    left,
  };
}

async function openReady(spec: PathSpec, plan: Plan): Promise<ReadyPath> {
  const path = await spec.open();
  try {
    const ends = await LocalEnds.open(path.scene, plan.iperf);
    await warmUp(ends, plan);
    return { ends, setOffloads: (on) => setOffloads(path.scene, on), close: () => path.close() };
  } catch (error) {
    await path.close();
    throw error;
  }
}

function tcpProgram(iperf: boolean): string {
  return iperf ? ['iperf3', ...IPERF_WORDS].join(' ') : `isthmus's own, ${CONGESTION}`;
}
