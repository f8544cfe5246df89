import type { Buffer } from 'node:buffer';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { UdpFlowAnswer, UdpFlowRequest } from '../agent-commands.ts';
import { pattern } from '../packet-builder.ts';
import { nap } from './pace.ts';

export async function udpEcho(port: number): Promise<Socket> {
  const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 });
  socket.on('message', (message, from) => socket.send(message, from.port, from.address));
  socket.bind(port);
  await once(socket, 'listening');
  return socket;
}

/** Datagrams at a fixed pace to an echo, every byte of the answers compared. */
export class UdpFlow {
  readonly #request: UdpFlowRequest;
  readonly #replies: Uint8Array;
  #sent = 0;
  #received = 0;
  #duplicated = 0;
  #corrupted = 0;
  #stopped = false;

  constructor(request: UdpFlowRequest) {
    this.#request = request;
    this.#replies = new Uint8Array(request.count);
  }

  stop(): void {
    this.#stopped = true;
  }

  async run(): Promise<UdpFlowAnswer> {
    const { count, intervalMs, destination, port, timeoutMs } = this.#request;
    const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 });
    socket.on('message', (message) => this.#reply(message));
    socket.connect(port, destination);
    await once(socket, 'connect');
    const start = performance.now();
    while (this.#sent < count && !this.#stopped) {
      const due = start + this.#sent * intervalMs;
      if (performance.now() >= due) socket.send(this.#payload(this.#sent++));
      await nap(due);
    }
    const deadline = performance.now() + timeoutMs;
    while (this.#received < this.#sent && performance.now() < deadline) await nap(deadline);
    socket.close();
    const lost: number[] = [];
    for (let number = 0; number < this.#sent; number++) if (this.#replies[number] === 0) lost.push(number);
    return {
      sent: this.#sent,
      received: this.#received,
      duplicated: this.#duplicated,
      corrupted: this.#corrupted,
      lost,
    };
  }

  #payload(number: number): Buffer {
    const payload = pattern(this.#request.seed, number, this.#request.payloadBytes);
    payload.writeUInt32BE(number, 0);
    return payload;
  }

  #reply(message: Buffer): void {
    const number = message.length >= 4 ? message.readUInt32BE(0) : -1;
    if (number < 0 || number >= this.#sent || !message.equals(this.#payload(number))) this.#corrupted++;
    else if (this.#replies[number] !== 0) this.#duplicated++;
    else {
      this.#replies[number] = 1;
      this.#received++;
    }
  }
}
