import { Buffer } from 'node:buffer';
import type { AgentCommands, SizesAnswer, SizesRequest } from '../agent-commands.ts';
import { addressText, firstDifference, IP_HEADER_BYTES, ipv4, PROTOCOL, pattern } from '../packet-builder.ts';
import { nap } from './pace.ts';
import { RawPort } from './raw-port.ts';

const CAPTURED_MAX = 20_000;
const CAPTURE_POLL_MS = 2;

export async function sendPackets(
  request: AgentCommands['sendPackets']['request'],
): Promise<AgentCommands['sendPackets']['answer']> {
  const refused: { index: number; errno: number }[] = [];
  const packets = request.packets.map((hex) => Buffer.from(hex, 'hex'));
  const port = new RawPort(packets[0]?.[9] || 1);
  try {
    for (const [index, packet] of packets.entries()) {
      const errno = port.send(packet);
      if (errno !== 0) refused.push({ index, errno });
      await nap(performance.now() + request.gapMs);
    }
  } finally {
    port.close();
  }
  return { refused };
}

/** Keeps what one raw socket receives. */
export class Capture {
  readonly #port: RawPort;
  readonly #packets: string[] = [];

  constructor(protocol: number) {
    this.#port = new RawPort(protocol);
    setInterval(() => this.#drain(), CAPTURE_POLL_MS);
  }

  packets(): readonly string[] {
    this.#drain();
    return this.#packets;
  }

  #drain(): void {
    this.#port.drain((packet) => {
      if (this.#packets.length < CAPTURED_MAX) this.#packets.push(packet.toString('hex'));
    });
  }
}

/** The packet of one size; the size is its ID too, by which the receiver knows it. */
function sized(request: SizesRequest, size: number): Buffer {
  const { source, destination, protocol, seed, dontFragment } = request;
  const payload = pattern(seed, size, size - IP_HEADER_BYTES);
  return ipv4({ source, destination, protocol, payload, id: size, dontFragment, tos: 0x28 });
}

export async function sendSizes(request: SizesRequest): Promise<null> {
  const port = new RawPort(request.protocol);
  try {
    for (const size of request.sizes) {
      const errno = port.send(sized(request, size));
      if (errno !== 0) throw new Error(`packet of ${size} bytes: errno ${errno}`);
      await nap(performance.now() + 0.5);
    }
  } finally {
    port.close();
  }
  return null;
}

/** Opened before the sender begins, so that nothing arrives unseen. */
export class SizeExpectation {
  readonly #request: SizesRequest & { timeoutMs: number };
  readonly #port: RawPort;
  readonly #missing: Set<number>;
  readonly #duplicated: number[] = [];
  readonly #differences: string[] = [];

  constructor(request: SizesRequest & { timeoutMs: number }) {
    this.#request = request;
    this.#port = new RawPort(request.protocol);
    this.#missing = new Set(request.sizes);
  }

  async run(): Promise<SizesAnswer> {
    const deadline = performance.now() + this.#request.timeoutMs;
    while (this.#missing.size > 0 && performance.now() < deadline) {
      this.#port.drain((packet) => this.#take(packet));
      await nap(deadline);
    }
    this.#port.close();
    return {
      received: this.#request.sizes.length - this.#missing.size,
      missing: [...this.#missing],
      duplicated: this.#duplicated,
      differences: this.#differences,
    };
  }

  #take(packet: Buffer): void {
    if (addressText(packet, 12) !== this.#request.source) return;
    const size = packet.readUInt16BE(4);
    const expected = sized(this.#request, size);
    // Every router on the way lowers the TTL and with it changes the checksum; all else must be as it was sent.
    packet.copy(expected, 8, 8, 9);
    packet.copy(expected, 10, 10, 12);
    const difference = firstDifference(packet, expected);
    if (difference !== -1) {
      this.#differences.push(
        `packet of ${size} bytes arrived with ${packet.length}, first difference at byte ${difference}`,
      );
    } else if (!this.#missing.delete(size)) this.#duplicated.push(size);
  }
}

/** Any packet's inner one goes on as it is, whoever it is from: what an ipip device does on a host that forwards. */
export function decapsulate(): void {
  const port = new RawPort(PROTOCOL.IPIP);
  const forward = (packet: Buffer): void => {
    port.send(packet.subarray((packet[0]! & 15) * 4, packet.readUInt16BE(2)));
  };
  setInterval(() => port.drain(forward), 1);
}
