import { parseAddress } from '../../base/address.ts';
import { COUNT, LOAD, type Native, SEND } from '../../io/native.ts';
import type { ReceiveAnswer, ReceiveRequest, SendAnswer, SendRequest } from './commands.ts';
import { monotonicNs } from './monotonic.ts';
import { check, inSlices, waitUntil } from './slices.ts';

/** Half a second of small packets at 300,000 a second, as the kernel counts them. Without CAP_NET_ADMIN the kernel grants less. */
const BUFFER_BYTES = 64 << 20;

/** Sends the datagrams of one request. */
export async function sendDatagrams(native: Native, request: SendRequest): Promise<SendAnswer> {
  const fds = new Int32Array(request.flows).fill(-1);
  try {
    const destination = parseAddress(request.destination);
    for (let flow = 0; flow < fds.length; flow++) {
      const fd = native.udpOpen(0, 0, destination, request.port, BUFFER_BYTES);
      fds[flow] = check(fd, 'socket', `UDP to ${request.destination}`);
    }
    const sequence = new Uint32Array(fds.length);
    const progress = new Float64Array(SEND.CELLS);
    progress[SEND.START_NS] = request.startAtNs;
    progress[SEND.PER_SECOND] = request.perSecond ?? 0;
    const payload = Int32Array.from(request.payloadBytes);
    await waitUntil(request.startAtNs);
    await inSlices(
      request.startAtNs + request.durationMs * 1e6,
      'sendmmsg',
      `UDP to ${request.destination}`,
      (end) => native.loadSend(fds, payload, sequence, progress, request.run, end),
    );
    return { sent: progress[SEND.SENT]!, refused: progress[SEND.REFUSED]! };
  } finally {
    for (const fd of fds) if (fd >= 0) native.close(fd);
  }
}

/** The receiving end of datagrams: a socket on a port. */
export class DatagramSink {
  readonly fd: number;
  readonly #native: Native;

  constructor(native: Native, port: number) {
    this.#native = native;
    this.fd = check(native.udpOpen(0, port, 0, 0, BUFFER_BYTES), 'bind', `UDP port ${port}`);
  }

  async receive(request: ReceiveRequest): Promise<ReceiveAnswer> {
    const counts = new Float64Array(COUNT.CELLS);
    const flows = new Uint32Array(LOAD.FLOWS_MAX * LOAD.FLOW_WORDS);
    const before = this.#overflow();
    const slice = (end: number): number => this.#native.loadReceive(this.fd, flows, counts, request.run, end);
    const overflowed = (): number => (this.#overflow() - before) >>> 0;
    await inSlices(request.endAtNs, 'recvmmsg', 'UDP', slice);
    const inTime = counts[COUNT.PACKETS]! + overflowed();
    await inSlices(request.endAtNs + request.graceMs * 1e6, 'recvmmsg', 'UDP', slice);
    return {
      inTime,
      arrived: counts[COUNT.PACKETS]! + overflowed(),
      duplicates: counts[COUNT.DUPLICATES]!,
      reordered: counts[COUNT.REORDERED]!,
      overflowed: overflowed(),
    };
  }

  async drain(quietMs: number, atMostMs: number): Promise<void> {
    const flows = new Uint32Array(LOAD.FLOW_WORDS);
    const deadline = monotonicNs() + atMostMs * 1e6;
    while (monotonicNs() < deadline) {
      const counts = new Float64Array(COUNT.CELLS);
      await inSlices(monotonicNs() + quietMs * 1e6, 'recvmmsg', 'UDP', (end) =>
        this.#native.loadReceive(this.fd, flows, counts, 0, end),
      );
      if (counts.every((count) => count === 0)) return;
    }
  }

  #overflow(): number {
    return check(this.#native.rawOverflow(this.fd), 'getsockopt', 'SO_MEMINFO');
  }
}
