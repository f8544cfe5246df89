import { setTimeout as sleep } from 'node:timers/promises';
import { busySeconds } from '../busy.ts';
import type { DatagramTrial, Ends, TcpFigure } from '../ends.ts';
import { monotonicNs } from '../load/monotonic.ts';
import { payloadsOf } from '../load/sizes.ts';
import type { BenchClient } from './client.ts';
import type { Load } from './load-process.ts';
import type { RemoteAnswer, RemoteCommand, RemoteRequest, TrafficCommand } from './protocol.ts';

/** Source ports of datagrams: enough to spread over queues and workers. */
const FLOWS = 16;
/** From a request to its first packet, beside the round trips that it needs: both agents have to be at work by then. */
const LEAD_MS = 50;
/** Requests that the other end has to have heard, and TCP connections that have to be open, when the first packet is sent. */
const LEAD_ROUND_TRIPS = 4;
/** As on one machine: what arrives later than the path takes and this counts as lost. */
const GRACE_MS = 10;
const GRACE_MS_MAX = 2000;
const QUIET_MS = 15;
const DRAIN_MS = 500;
/** 64 bytes with the headers of IPv4 and UDP. */
const PROBE_PAYLOAD_BYTES = 36;
const PROBE_TIMEOUT_MS = 300;
const PROBE_TIMEOUT_MS_MAX = 5000;

/** A measurement's beginning and end for both ends, each on its own clock. */
interface Window {
  readonly sender: Moments;
  /** Later by what a packet is on its way. */
  readonly receiver: Moments;
  readonly roundTripMs: number;
}

interface Moments {
  readonly startAtNs: number;
  readonly endAtNs: number;
}

/** What is needed of the connection to the other end. */
export type FarEnd = Pick<BenchClient, 'address' | 'call' | 'readClock' | 'welcome'>;

/** One of the two ends, here or there. */
interface Side {
  call<C extends RemoteCommand>(command: C, request: RemoteRequest<C>): Promise<RemoteAnswer<C>>;
}

/**
 * This host and one that runs `isthmus bench serve`. Their clocks are compared before each measurement, because they drift apart by tens
 * of microseconds a second. With `isReverse` the other end sends.
 */
export class RemoteEnds implements Ends {
  readonly #far: FarEnd;
  readonly #isReverse: boolean;
  readonly #sender: Side;
  readonly #receiver: Side;
  /** Another number for each measurement: what still arrives of one must not count for the next. */
  readonly #nextRun: () => number;

  constructor(load: Load, far: FarEnd, isReverse: boolean, nextRun: () => number) {
    const near: Side = {
      call: (command, request) =>
        load.call(command as TrafficCommand, { ...request, destination: far.address } as never) as never,
    };
    this.#far = far;
    this.#isReverse = isReverse;
    [this.#sender, this.#receiver] = isReverse ? [far, near] : [near, far];
    this.#nextRun = nextRun;
  }

  async tcp(connections: number, seconds: number): Promise<TcpFigure> {
    const before = await this.#busySeconds();
    const bits = await this.#streams(connections, null, seconds);
    const cpuSecondsPerGigabit = ((await this.#busySeconds()) - before) / (bits / 1e9);
    return { gigabitsPerSecond: bits / seconds / 1e9, cpuSecondsPerGigabit };
  }

  async tcpOfSize(mss: number, seconds: number): Promise<number> {
    return (await this.#streams(1, mss, seconds)) / seconds / 1e9;
  }

  async #streams(connections: number, mss: number | null, seconds: number): Promise<number> {
    const { sender, receiver } = await this.#window(seconds * 1000);
    const [, { bytes }] = await both(
      this.#sender.call('streamOut', { port: this.#port, connections, mss, ...sender }),
      this.#receiver.call('streamIn', receiver),
    );
    if (bytes === 0) throw new Error('no byte of the stream arrived');
    return bytes * 8;
  }

  async datagrams(size: string, perSecond: number | null, durationMs: number): Promise<DatagramTrial> {
    const run = this.#nextRun();
    const { sender, receiver, roundTripMs } = await this.#window(durationMs);
    const { startAtNs } = sender;
    const payloadBytes = payloadsOf(size);
    const graceMs = Math.min(GRACE_MS + roundTripMs, GRACE_MS_MAX);
    const [{ sent }, received] = await both(
      this.#sender.call('send', {
        port: this.#port,
        flows: FLOWS,
        payloadBytes,
        run,
        perSecond,
        startAtNs,
        durationMs,
      }),
      this.#receiver.call('receive', { run, endAtNs: receiver.endAtNs, graceMs }),
    );
    await this.#receiver.call('drain', { quietMs: QUIET_MS, atMostMs: DRAIN_MS });
    const { inTime, arrived, duplicates, reordered } = received;
    return {
      ...{ sent, arrived, duplicates, reordered },
      offeredPerSecond: (sent * 1000) / durationMs,
      deliveredPerSecond: (inTime * 1000) / durationMs,
    };
  }

  /** Of UDP from program to program: no right is needed for it, and firewalls that take the load take it too. */
  async roundTrips(count: number, intervalMs: number): Promise<readonly number[]> {
    const run = this.#nextRun();
    const clock = await this.#far.readClock();
    const roundTripMs = clock.roundTripNs / 1e6;
    const timeoutMs = Math.min(PROBE_TIMEOUT_MS + 2 * roundTripMs, PROBE_TIMEOUT_MS_MAX);
    const leadMs = LEAD_MS + LEAD_ROUND_TRIPS * roundTripMs;
    const endAtNs = monotonicNs() + Math.ceil((leadMs + count * intervalMs + timeoutMs) * 1e6);
    const request = { port: this.#port, payloadBytes: PROBE_PAYLOAD_BYTES, run };
    const trips = async (): Promise<{ readonly microseconds: readonly number[] }> => {
      // A probe that waits for the echo to begin would count as a slow one.
      await sleep(leadMs);
      return this.#sender.call('trips', { ...request, count, intervalMs, timeoutMs });
    };
    const [{ microseconds }] = await both(
      trips(),
      this.#receiver.call('echo', { run, endAtNs: this.#isReverse ? endAtNs : endAtNs + clock.offsetNs }),
    );
    if (microseconds.length === 0) {
      throw new Error(`no UDP probe was answered; is port ${this.#port} open?`);
    }
    return microseconds;
  }

  get #port(): number {
    return this.#far.welcome.trafficPort;
  }

  async #window(durationMs: number): Promise<Window> {
    const { offsetNs, roundTripNs } = await this.#far.readClock();
    const startAtNs = monotonicNs() + LEAD_MS * 1e6 + LEAD_ROUND_TRIPS * roundTripNs;
    const durationNs = Math.round(durationMs * 1e6);
    const from = (startAtNs: number): Moments => ({ startAtNs, endAtNs: startAtNs + durationNs });
    const [senderOffset, receiverOffset] = this.#isReverse ? [offsetNs, 0] : [0, offsetNs];
    return {
      sender: from(startAtNs + senderOffset),
      receiver: from(startAtNs + receiverOffset + Math.round(roundTripNs / 2)),
      roundTripMs: roundTripNs / 1e6,
    };
  }

  /** Of both machines. */
  async #busySeconds(): Promise<number> {
    return busySeconds() + (await this.#far.call('busy', {})).seconds;
  }
}

/** Both, also when the first fails: the agents take one command at a time, and the next must not find one still at work. */
async function both<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([a, b]);
  return Promise.all([a, b]);
}
