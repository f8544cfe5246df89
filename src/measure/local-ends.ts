import { busySeconds } from './busy.ts';
import type { DatagramTrial, Ends, TcpFigure } from './ends.ts';
import { runIperf, startIperf } from './iperf.ts';
import { LOAD_AGENT, type LoadAgent } from './load/commands.ts';
import { monotonicNs } from './load/monotonic.ts';
import { payloadsOf } from './load/sizes.ts';
import type { TwoClusters } from './two-clusters.ts';

const PORT = 5300;
/** Source ports of datagrams: enough to spread over queues and workers. */
const FLOWS = 16;
/** From the command to the first packet: longer than a command takes to get to an agent. */
const LEAD_MS = 20;
/**
 * What has not arrived this long after the last packet was sent counts as lost: else a rate above the capacity would pass for as long
 * as the queues take the surplus.
 */
const GRACE_MS = 10;
/** What still waits in queues would weigh on the next trial. */
const QUIET_MS = 15;
const DRAIN_MS = 500;
/** ICMP echo of 64 bytes: 20 of IPv4, 8 of ICMP, this. */
const PROBE_PAYLOAD_BYTES = 36;
const PROBE_TIMEOUT_MS = 300;

/** The pods of two clusters on this machine: both ends share its clock and its processors. */
export class LocalEnds implements Ends {
  readonly #scene: TwoClusters;
  readonly #sender: LoadAgent;
  readonly #receiver: LoadAgent;
  readonly #iperf: boolean;
  #run = 1;

  private constructor(scene: TwoClusters, sender: LoadAgent, receiver: LoadAgent, iperf: boolean) {
    this.#scene = scene;
    this.#sender = sender;
    this.#receiver = receiver;
    this.#iperf = iperf;
  }

  /** With `iperf` TCP is measured by iperf3, which then has to be installed. */
  static async open(scene: TwoClusters, iperf: boolean): Promise<LocalEnds> {
    const [a, b] = [scene.a.pods[0]!.machine, scene.b.pods[0]!.machine];
    const [sender, receiver] = await Promise.all([a.agent(LOAD_AGENT), b.agent(LOAD_AGENT)]);
    await receiver.call('listen', { port: PORT });
    if (iperf) await startIperf(b);
    return new LocalEnds(scene, sender, receiver, iperf);
  }

  get #destination(): string {
    return this.#scene.b.pods[0]!.address;
  }

  async tcp(connections: number, seconds: number): Promise<TcpFigure> {
    const before = busySeconds();
    const { bits, bitsPerSecond } = this.#iperf
      ? await runIperf(this.#scene.a.pods[0]!.machine, this.#destination, connections, seconds)
      : await this.#streams(connections, null, seconds);
    const cpuSecondsPerGigabit = (busySeconds() - before) / (bits / 1e9);
    return { gigabitsPerSecond: bitsPerSecond / 1e9, cpuSecondsPerGigabit };
  }

  async tcpOfSize(mss: number, seconds: number): Promise<number> {
    return (await this.#streams(1, mss, seconds)).bitsPerSecond / 1e9;
  }

  async #streams(
    connections: number,
    mss: number | null,
    seconds: number,
  ): Promise<{ bits: number; bitsPerSecond: number }> {
    const startAtNs = monotonicNs() + LEAD_MS * 1e6;
    const endAtNs = startAtNs + seconds * 1e9;
    const request = { destination: this.#destination, port: PORT, connections, mss, startAtNs, endAtNs };
    const [, { bytes }] = await Promise.all([
      this.#sender.call('streamOut', request),
      this.#receiver.call('streamIn', { startAtNs, endAtNs }),
    ]);
    if (bytes === 0) throw new Error('no byte of the stream arrived');
    return { bits: bytes * 8, bitsPerSecond: (bytes * 8) / seconds };
  }

  async datagrams(size: string, perSecond: number | null, durationMs: number): Promise<DatagramTrial> {
    const run = this.#run++;
    const startAtNs = monotonicNs() + LEAD_MS * 1e6;
    const endAtNs = startAtNs + durationMs * 1e6;
    const to = { destination: this.#destination, port: PORT, flows: FLOWS, payloadBytes: payloadsOf(size) };
    const [{ sent }, received] = await Promise.all([
      this.#sender.call('send', { ...to, run, perSecond, startAtNs, durationMs }),
      this.#receiver.call('receive', { run, endAtNs, graceMs: GRACE_MS }),
    ]);
    await this.#receiver.call('drain', { quietMs: QUIET_MS, atMostMs: DRAIN_MS });
    const { inTime, arrived, duplicates, reordered } = received;
    return {
      ...{ sent, arrived, duplicates, reordered },
      offeredPerSecond: (sent * 1000) / durationMs,
      deliveredPerSecond: (inTime * 1000) / durationMs,
    };
  }

  async roundTrips(count: number, intervalMs: number): Promise<readonly number[]> {
    const request = { destination: this.#destination, port: null, payloadBytes: PROBE_PAYLOAD_BYTES };
    const timing = { count, intervalMs, timeoutMs: PROBE_TIMEOUT_MS };
    const { microseconds } = await this.#sender.call('trips', { ...request, ...timing, run: this.#run++ });
    if (microseconds.length === 0) throw new Error('no echo request was answered');
    return microseconds;
  }
}
