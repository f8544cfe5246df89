import { parseAddress } from '../../base/address.ts';
import { LOAD, type Native } from '../../io/native.ts';
import type { StreamInRequest, StreamOutRequest } from './commands.ts';
import { check, inSlices, waitUntil } from './slices.ts';

/** The default of a machine may be BBR, whose pacing measures the timer and not the path. Reno is in every kernel and allowed to all. */
export const CONGESTION = 'reno';

/** What the senders have under way at the end is read, not answered with a reset that they would take for a failure. */
const LINGER_MS = 1000;

/** Opens the connections of one request at once, and writes to them from its start to its end. */
export async function sendStreams(native: Native, request: StreamOutRequest): Promise<{ bytes: number }> {
  const fds = new Int32Array(request.connections).fill(-1);
  const bytes = new Float64Array(1);
  const subject = `TCP to ${request.destination}:${request.port}`;
  try {
    const destination = parseAddress(request.destination);
    for (let index = 0; index < fds.length; index++) {
      const fd = native.tcpConnect(destination, request.port, request.mss ?? 0, CONGESTION);
      fds[index] = check(fd, 'connect', subject);
    }
    await waitUntil(request.startAtNs);
    await inSlices(request.endAtNs, 'send', subject, (end) => native.streamSend(fds, bytes, end));
    return { bytes: bytes[0]! };
  } finally {
    for (const fd of fds) if (fd >= 0) native.close(fd);
  }
}

/** The receiving end of connections: a listening socket. */
export class StreamSink {
  readonly #native: Native;
  readonly #listener: number;

  constructor(native: Native, port: number) {
    this.#native = native;
    this.#listener = check(native.tcpListen(0, port), 'bind', `TCP port ${port}`);
  }

  async receive(request: StreamInRequest): Promise<{ bytes: number }> {
    const fds = new Int32Array(LOAD.FLOWS_MAX).fill(-1);
    const bytes = new Float64Array(1);
    const slice = (end: number): number => this.#native.streamReceive(this.#listener, fds, bytes, end);
    try {
      await inSlices(request.startAtNs, 'recv', 'TCP', slice);
      const before = bytes[0]!;
      await inSlices(request.endAtNs, 'recv', 'TCP', slice);
      const counted = bytes[0]! - before;
      const areOver = (): boolean => fds.every((fd) => fd < 0);
      await inSlices(request.endAtNs + LINGER_MS * 1e6, 'recv', 'TCP', slice, areOver);
      return { bytes: counted };
    } finally {
      for (const fd of fds) if (fd >= 0) this.#native.close(fd);
    }
  }

  close(): void {
    this.#native.close(this.#listener);
  }
}
