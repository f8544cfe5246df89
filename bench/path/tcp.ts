import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { findProgram } from '../../src/measure/sandbox.ts';
import { poll } from '../../src/measure/topology.ts';
import type { Path } from './paths.ts';

const IPERF_PORT = 5201;
const AGENT_PORT = 5202;
/** The agents' own stream compares every byte; it is sized by its bytes, so that a slow path takes no minute. */
const AGENT_BYTES = 48 << 20;

/** What moves the stream: iperf3 where it is installed, else the agents. */
export const TCP_PROGRAM = findProgram('iperf3') === undefined ? 'agent' : 'iperf3 -C reno';

/** Starts the receiving end. */
export async function openTcp(path: Path): Promise<void> {
  const pod = path.scene.b.pods[0]!.machine;
  if (TCP_PROGRAM === 'agent') {
    await path.receiver.call('tcpSink', { port: AGENT_PORT });
    return;
  }
  pod.start('iperf3', ['iperf3', '-s', '-p', String(IPERF_PORT)]);
  await poll('iperf3 listens', 5000, async () => (await pod.exec('ss', '-Hltn')).includes(`:${IPERF_PORT}`));
}

/** Gbit/s of payload over `connections` connections at once. */
export async function tcp(path: Path, connections: number, seconds: number): Promise<number> {
  if (TCP_PROGRAM === 'agent') return agentTcp(path, connections);
  try {
    return await iperf(path, connections, seconds);
  } catch {
    // A server that is still busy with the connection before refuses the next one; once more is enough, or it is a failure.
    await sleep(1000);
    return iperf(path, connections, seconds);
  }
}

async function agentTcp(path: Path, connections: number): Promise<number> {
  const destination = path.scene.b.pods[0]!.address;
  const bytes = AGENT_BYTES / connections;
  const answer = await path.sender.call('tcpSend', {
    ...{ destination, port: AGENT_PORT, bytes, connections, seed: 1 },
  });
  return answer.megabitsPerSecond / 1000;
}

interface IperfReport {
  readonly error?: string;
  readonly end: { readonly sum_received?: { readonly bits_per_second: number } };
}

async function iperf(path: Path, connections: number, seconds: number): Promise<number> {
  // The default congestion control may be BBR, whose pacing over veth measures the timer; unpinned, the ends move between cores.
  const pinning = cpus().length > 1 ? ['-A', '0,1'] : [];
  const text = await path.scene.a.pods[0]!.machine.exec(
    ...['iperf3', '-c', path.scene.b.pods[0]!.address, '-p', String(IPERF_PORT), '-C', 'reno', ...pinning],
    ...['-t', String(seconds), '-P', String(connections), '-J', '--connect-timeout', '2000'],
  );
  const report = JSON.parse(text) as IperfReport;
  if (report.end.sum_received === undefined) throw new Error(`iperf3: ${report.error ?? 'no sum'}`);
  return report.end.sum_received.bits_per_second / 1e9;
}
