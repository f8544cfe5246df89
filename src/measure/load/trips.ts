import { parseAddress } from '../../base/address.ts';
import { type Native, TRIP } from '../../io/native.ts';
import type { TripsAnswer, TripsRequest } from './commands.ts';
import { monotonicNs } from './monotonic.ts';
import { check, inSlices } from './slices.ts';

const UNANSWERED = -1;

/** Sends the probes of one request at their pace and waits for the answers. */
export async function measureTrips(native: Native, request: TripsRequest): Promise<TripsAnswer> {
  const destination = parseAddress(request.destination);
  const subject = `to ${request.destination}`;
  const fd =
    request.port === null
      ? check(native.icmpOpen(destination), 'socket', `ICMP ${subject}`)
      : check(native.udpOpen(0, 0, destination, request.port, 0), 'socket', `UDP ${subject}`);
  const kind = request.port === null ? TRIP.ICMP : TRIP.UDP;
  const microseconds = new Float64Array(request.count).fill(UNANSWERED);
  const progress = new Float64Array(TRIP.CELLS);
  const start = monotonicNs();
  progress[TRIP.START_NS] = start;
  progress[TRIP.INTERVAL_NS] = request.intervalMs * 1e6;
  const end = start + (request.count * request.intervalMs + request.timeoutMs) * 1e6;
  try {
    await inSlices(
      end,
      'send',
      `probes ${subject}`,
      (until) =>
        native.roundTrips(fd, kind, request.payloadBytes, request.run, progress, microseconds, until),
      () => progress[TRIP.RECEIVED] === request.count,
    );
  } finally {
    native.close(fd);
  }
  return { sent: progress[TRIP.SENT]!, microseconds: [...microseconds.filter((trip) => trip >= 0)] };
}

/** Answers the probes of a run until a moment. */
export async function echoProbes(
  native: Native,
  fd: number,
  run: number,
  endAtNs: number,
): Promise<{ echoed: number }> {
  let echoed = 0;
  await inSlices(endAtNs, 'recvfrom', 'probes', (until) => {
    const count = native.echoServe(fd, run, until);
    echoed += Math.max(0, count);
    return count;
  });
  return { echoed };
}
