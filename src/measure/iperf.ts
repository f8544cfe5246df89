import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { CONGESTION } from './load/streams.ts';
import { findProgram } from './sandbox.ts';
import { type Machine, poll } from './topology.ts';

const PORT = 5201;
const AGAIN_MS = 500;

export function hasIperf(): boolean {
  return findProgram('iperf3') !== undefined;
}

/** Unpinned, the two ends move between cores and every second figure is of something else. */
export const IPERF_WORDS: readonly string[] = [
  ...['-C', CONGESTION],
  ...(cpus().length > 1 ? ['-A', '0,1'] : []),
];

/** Starts the receiving end; it ends with the topology. */
export async function startIperf(machine: Machine): Promise<void> {
  const server = machine.start('iperf3', ['iperf3', '-s', '-p', String(PORT)]);
  await poll('iperf3 listens', 5000, async () => {
    if (!server.isRunning) throw new Error(`iperf3 ended: ${server.log()}`);
    return (await machine.exec('ss', '-Hltn')).includes(`:${PORT}`);
  });
}

interface IperfReport {
  readonly error?: string;
  readonly end?: { readonly sum_received?: { readonly bits_per_second: number; readonly bytes: number } };
}

/** Bits that arrived and their rate over `connections` connections. */
export async function runIperf(
  machine: Machine,
  destination: string,
  connections: number,
  seconds: number,
): Promise<{ bits: number; bitsPerSecond: number }> {
  const words = [
    ...['iperf3', '-c', destination, '-p', String(PORT), ...IPERF_WORDS],
    ...['-t', String(seconds), '-P', String(connections), '-J', '--connect-timeout', '2000'],
  ];
  const once = async (): Promise<{ bits: number; bitsPerSecond: number }> => {
    const report = JSON.parse(await machine.exec(...words)) as IperfReport;
    const sum = report.end?.sum_received;
    if (sum === undefined) throw new Error(`iperf3: ${report.error ?? 'no sum'}`);
    return { bits: sum.bytes * 8, bitsPerSecond: sum.bits_per_second };
  };
  try {
    return await once();
  } catch {
    // A server that is still busy with the connection before refuses the next one; once more is enough, or it is a failure.
    await sleep(AGAIN_MS);
    return once();
  }
}
