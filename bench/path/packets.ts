import { monotonicMs } from '../../test/system/topology/agent/monotonic.ts';
import { type Path, SINK_PORT } from './paths.ts';

/** Of UDP; with the headers 92 bytes of IPv4. */
export const PAYLOAD_BYTES = 64;
/** At most this share may be missing for a rate to count as free of loss. */
export const LOSS_MAX = 0.005;
/**
 * What has not arrived this long after the last packet was sent counts as lost: else a rate above the capacity would pass for as long
 * as the queues take the surplus.
 */
const GRACE_MS = 10;
/** From the command to the first packet: longer than a command takes to get to an agent. */
const LEAD_MS = 30;
const DRAIN_MS = 120;
const TRIAL_MS = 400;
export const FLOOD_MS = 800;
const TRIALS_MAX = 7;
/** The search ends when the best rate and the lowest failed one are this close. */
const PRECISION = 1.04;

interface Trial {
  readonly sent: number;
  /** Thousands a second. */
  readonly offered: number;
  /** Arrived while the load ran and in the grace after it. */
  readonly arrived: number;
  readonly arrivedRate: number;
}

async function trial(path: Path, packetsPerSecond: number | null, durationMs: number): Promise<Trial> {
  const startAt = monotonicMs() + LEAD_MS;
  const end = startAt + durationMs;
  const destination = path.scene.b.pods[0]!.address;
  const load = { destination, port: SINK_PORT, payloadBytes: PAYLOAD_BYTES, packetsPerSecond };
  const [answer, counts] = await Promise.all([
    path.sender.call('udpLoad', { ...load, startAt, durationMs }),
    path.receiver.call('delivered', { at: [startAt, end, end + GRACE_MS] }),
  ]);
  await drained(path);
  const [before, atEnd, after] = counts as [number, number, number];
  return {
    sent: answer.sent,
    offered: answer.sent / durationMs,
    arrived: after - before,
    arrivedRate: (atEnd - before) / durationMs,
  };
}

/** Until nothing arrives any more: what still waits in queues would be counted as the next trial's. */
async function drained(path: Path): Promise<void> {
  for (let look = 0; look < 10; look++) {
    const now = monotonicMs();
    const [first, second] = (await path.receiver.call('delivered', { at: [now, now + DRAIN_MS / 4] })) as [
      number,
      number,
    ];
    if (second - first <= 1) return;
  }
}

/** Thousands of packets a second that arrive when the sender sends all it can. */
export async function flood(path: Path, durationMs: number = FLOOD_MS): Promise<number> {
  return (await trial(path, null, durationMs)).arrivedRate;
}

/**
 * The highest rate, in thousands a second, at which at most LOSS_MAX is lost: by bisection, from a first guess in packets a second. 0
 * when every trial lost more.
 */
export async function lossFree(path: Path, guess: number): Promise<number> {
  let passed = 0;
  let failed = Number.POSITIVE_INFINITY;
  let rate = guess;
  for (let number = 0; number < TRIALS_MAX && failed > passed * PRECISION; number++) {
    const result = await trial(path, rate, TRIAL_MS);
    if (result.arrived >= result.sent * (1 - LOSS_MAX)) {
      passed = Math.max(passed, result.offered * 1000);
      // The sender itself does no more: there is nothing higher to try.
      if (result.offered * 1000 < rate * 0.97) break;
    } else failed = rate;
    if (failed === Number.POSITIVE_INFINITY) rate *= 1.25;
    else rate = passed === 0 ? rate * 0.75 : (passed + failed) / 2;
  }
  return passed / 1000;
}
