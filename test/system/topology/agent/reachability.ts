import { Buffer } from 'node:buffer';
import { loadNative } from '../../../../src/io/load.ts';
import type { Native } from '../../../../src/io/native.ts';
import { monotonicMs } from '../../../../src/measure/load/monotonic.ts';
import type { ReachabilityRequest } from '../agent-commands.ts';
import { addressNumber, IP_HEADER_BYTES, icmpEcho, ipv4, PROTOCOL } from '../packet-builder.ts';

const ROOM_BYTES = 2048;
const BUFFER_BYTES = 1 << 20;

/** Echo requests from a thread that blocks in poll(2) until the reply is there: exact to a few microseconds, where an event loop is not. */
class EchoPort {
  readonly #native: Native = loadNative();
  readonly #fd: number;
  readonly #descriptors: Int32Array;
  readonly #in = Buffer.alloc(ROOM_BYTES);
  readonly #out: Buffer;
  readonly #at = new Int32Array(1);
  readonly #length = new Int32Array(1);
  readonly #layout = Int32Array.of(0, ROOM_BYTES, ROOM_BYTES, 0, 0, 0);
  readonly #pieces = new Int32Array(1);
  readonly #outLength: Int32Array;
  readonly #address: Uint32Array;
  readonly #request: { readonly destination: string; readonly sizeBytes: number };
  readonly #id = process.pid & 0xffff;

  constructor(request: { readonly destination: string; readonly sizeBytes: number }) {
    this.#request = request;
    this.#fd = this.#native.rawOpen(PROTOCOL.ICMP, BUFFER_BYTES, BUFFER_BYTES);
    if (this.#fd < 0) throw new Error(`raw socket: errno ${-this.#fd}`);
    this.#descriptors = Int32Array.of(this.#fd);
    this.#out = Buffer.alloc(request.sizeBytes);
    this.#outLength = Int32Array.of(request.sizeBytes);
    this.#address = Uint32Array.of(addressNumber(request.destination));
  }

  send(sequence: number): void {
    const { destination, sizeBytes } = this.#request;
    const payload = icmpEcho(8, this.#id, sequence & 0xffff, Buffer.alloc(sizeBytes - IP_HEADER_BYTES - 8));
    ipv4({ source: '0.0.0.0', destination, protocol: PROTOCOL.ICMP, payload }).copy(this.#out);
    const [at, length, pieces] = [this.#at, this.#outLength, this.#pieces];
    this.#native.rawSend(this.#fd, this.#out, at, length, pieces, this.#address, 0, 1);
  }

  /** Waits for a reply at most until `deadline`; returns its sequence number, or -1. */
  receive(deadline: number): number {
    for (;;) {
      const count = this.#native.rawReceive(this.#fd, this.#in, this.#at, this.#length, this.#layout, 1);
      if (count > 0) {
        const header = (this.#in[0]! & 15) * 4;
        const isOurs = this.#in[header] === 0 && this.#in.readUInt16BE(header + 4) === this.#id;
        if (isOurs) return this.#in.readUInt16BE(header + 6);
        continue;
      }
      const ms = deadline - monotonicMs();
      if (ms <= 0) return -1;
      // poll(2) counts whole milliseconds; the last one may overshoot, which only a missing reply sees.
      this.#native.poll(this.#descriptors, 1, Math.ceil(ms));
    }
  }

  close(): void {
    this.#native.close(this.#fd);
  }
}

/** A probe that has no reply after this long counts as lost: longer than a busy machine holds up a gateway. */
const LOST_MS = 150;

/**
 * Probes at a pace until the destination answers (or, with `until` false, answers no more). Returns the moment at which the first
 * probe that shows it left, on the monotonic clock: the packet path had changed by then.
 */
export function reachability(request: ReachabilityRequest): { at: number } {
  const { destination, until, intervalMs, timeoutMs } = request;
  const port = new EchoPort({ destination, sizeBytes: 64 });
  const deadline = monotonicMs() + timeoutMs;
  const sentAt: number[] = [];
  let oldest = 0;
  try {
    while (monotonicMs() < deadline) {
      const due = monotonicMs() + intervalMs;
      sentAt.push(monotonicMs());
      port.send(sentAt.length - 1);
      for (let answered = port.receive(due); answered !== -1; answered = port.receive(due)) {
        if (until) return { at: sentAt[answered]! };
        oldest = Math.max(oldest, answered + 1);
      }
      if (!until && oldest < sentAt.length && monotonicMs() - sentAt[oldest]! > LOST_MS) {
        return { at: sentAt[oldest]! };
      }
    }
  } finally {
    port.close();
  }
  throw new Error(`${destination} is not ${until ? 'reachable' : 'unreachable'} after ${timeoutMs} ms`);
}
