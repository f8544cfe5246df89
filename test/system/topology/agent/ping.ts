import type { Buffer } from 'node:buffer';
import type { PingAnswer, PingRequest } from '../agent-commands.ts';
import { firstDifference, IP_HEADER_BYTES, icmpEcho, ipv4, PROTOCOL, pattern } from '../packet-builder.ts';
import { nap } from './pace.ts';
import { RawPort } from './raw-port.ts';

/** ICMP header, then the number of the request, which outgrows the 16 bits of ICMP's own sequence. */
const DATA_AT = IP_HEADER_BYTES + 8;
const NUMBER_BYTES = 4;
export const PING_BYTES_MIN = DATA_AT + NUMBER_BYTES;

/** A series of ICMP echo requests at an exact pace, each reply compared byte for byte with what it must be. */
export class PingSeries {
  sent = 0;
  received = 0;
  readonly #request: PingRequest;
  readonly #port = new RawPort(PROTOCOL.ICMP);
  readonly #id = process.pid & 0xffff;
  readonly #sentAt: Float64Array;
  readonly #replies: Uint8Array;
  readonly #roundTrips: number[] = [];
  #duplicated = 0;
  #corrupted = 0;
  #firstDifference: string | null = null;
  #latestMs = 0;
  #stopped = false;

  constructor(request: PingRequest) {
    if (request.sizeBytes < PING_BYTES_MIN) throw new Error(`a ping has at least ${PING_BYTES_MIN} bytes`);
    this.#request = request;
    this.#sentAt = new Float64Array(request.count);
    this.#replies = new Uint8Array(request.count);
  }

  stop(): void {
    this.#stopped = true;
  }

  async run(): Promise<PingAnswer> {
    const { count, intervalMs, timeoutMs } = this.#request;
    const start = performance.now();
    const startedAt = Date.now();
    while (this.sent < count && !this.#stopped) {
      this.#drain();
      const due = start + this.sent * intervalMs;
      const now = performance.now();
      if (now >= due) {
        this.#latestMs = Math.max(this.#latestMs, now - due);
        this.#send();
      } else await nap(due);
    }
    const deadline = performance.now() + timeoutMs;
    while (this.received < this.sent && performance.now() < deadline) {
      await nap(deadline);
      this.#drain();
    }
    this.#port.close();
    return this.#answer(startedAt);
  }

  #data(number: number): Buffer {
    const data = pattern(this.#request.seed, number, this.#request.sizeBytes - DATA_AT);
    data.writeUInt32BE(number, 0);
    return data;
  }

  #send(): void {
    const number = this.sent++;
    const payload = icmpEcho(8, this.#id, number & 0xffff, this.#data(number));
    const { destination } = this.#request;
    const packet = ipv4({
      source: '0.0.0.0',
      destination,
      protocol: PROTOCOL.ICMP,
      payload,
      dontFragment: true,
    });
    this.#sentAt[number] = performance.now();
    // A packet that the kernel refuses counts as lost: whoever reads the answer wants to know it either way.
    this.#port.send(packet);
  }

  #drain(): void {
    const now = performance.now();
    this.#port.drain((packet) => {
      const header = (packet[0]! & 15) * 4;
      const message = packet.subarray(header);
      if (message.length < 8 + NUMBER_BYTES || message[0] !== 0 || message.readUInt16BE(4) !== this.#id)
        return;
      this.#reply(message, now);
    });
  }

  #reply(message: Buffer, now: number): void {
    const number = message.readUInt32BE(8);
    const expected = icmpEcho(0, this.#id, message.readUInt16BE(6), this.#data(number));
    const difference = firstDifference(message, expected);
    if (number >= this.sent || difference !== -1) {
      this.#corrupted++;
      this.#firstDifference ??= `reply ${number}, byte ${IP_HEADER_BYTES + difference}`;
      return;
    }
    if (this.#replies[number] !== 0) {
      this.#duplicated++;
      return;
    }
    this.#replies[number] = 1;
    this.received++;
    this.#roundTrips.push(now - this.#sentAt[number]!);
  }

  #answer(startedAt: number): PingAnswer {
    const sorted = this.#roundTrips.toSorted((a, b) => a - b);
    const share = (part: number): number =>
      sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
    const lost: number[] = [];
    for (let number = 0; number < this.sent; number++) if (this.#replies[number] === 0) lost.push(number);
    return {
      sent: this.sent,
      received: this.received,
      duplicated: this.#duplicated,
      corrupted: this.#corrupted,
      lost,
      startedAt,
      latestMs: this.#latestMs,
      roundTripMs: { median: share(0.5), p99: share(0.99), max: sorted.at(-1) ?? 0 },
      firstDifference: this.#firstDifference,
    };
  }
}
