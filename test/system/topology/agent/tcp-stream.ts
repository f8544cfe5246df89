import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { TcpSendAnswer, TcpSendRequest } from '../agent-commands.ts';
import { firstDifference, pattern } from '../packet-builder.ts';

/**
 * The stream of a seed is one block repeated. Its length is prime, so a segment that is lost, doubled or out of place by any amount
 * shifts the rest against it and shows. A connection begins with seed and length, and the sink answers with what it saw.
 */
const BLOCK_BYTES = 262_139;
const HEAD_BYTES = 12;
const ANSWER_BYTES = 16;

function blockOf(seed: number): Buffer {
  return pattern(seed, 0, BLOCK_BYTES);
}

export async function tcpSink(port: number): Promise<Server> {
  const server = createServer((socket) => new Sink(socket));
  server.listen(port);
  await once(server, 'listening');
  return server;
}

class Sink {
  readonly #socket: Socket;
  readonly #head = Buffer.alloc(HEAD_BYTES);
  #headBytes = 0;
  #block: Buffer = Buffer.alloc(0);
  #expected = 0;
  #bytes = 0;
  #difference = -1;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk) => this.#take(chunk));
    // The sender sees a broken connection by the missing answer.
    socket.on('error', () => socket.destroy());
  }

  #take(chunk: Buffer): void {
    const taken = chunk.copy(
      this.#head,
      this.#headBytes,
      0,
      Math.min(chunk.length, HEAD_BYTES - this.#headBytes),
    );
    this.#headBytes += taken;
    if (this.#headBytes < HEAD_BYTES) return;
    if (this.#block.length === 0) {
      this.#block = blockOf(this.#head.readUInt32BE(0));
      this.#expected = this.#head.readDoubleBE(4);
    }
    this.#compare(chunk.subarray(taken));
    if (this.#bytes < this.#expected) return;
    const answer = Buffer.alloc(ANSWER_BYTES);
    answer.writeDoubleBE(this.#bytes, 0);
    answer.writeDoubleBE(this.#difference, 8);
    this.#socket.end(answer);
  }

  #compare(data: Buffer): void {
    for (let at = 0; at < data.length; ) {
      const inBlock = this.#bytes % BLOCK_BYTES;
      const length = Math.min(data.length - at, BLOCK_BYTES - inBlock);
      const part = data.subarray(at, at + length);
      const expected = this.#block.subarray(inBlock, inBlock + length);
      if (this.#difference === -1 && !part.equals(expected)) {
        this.#difference = this.#bytes + firstDifference(part, expected);
      }
      at += length;
      this.#bytes += length;
    }
  }
}

async function sendStream(
  request: TcpSendRequest,
  index: number,
): Promise<{ bytes: number; firstDifference: number }> {
  const socket = connect({ host: request.destination, port: request.port });
  await once(socket, 'connect');
  const seed = request.seed + index;
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32BE(seed, 0);
  head.writeDoubleBE(request.bytes, 4);
  socket.write(head);
  const answered = readAnswer(socket);
  const block = blockOf(seed);
  for (let sent = 0; sent < request.bytes; ) {
    const length = Math.min(BLOCK_BYTES, request.bytes - sent);
    sent += length;
    // A connection that breaks is told by `answered`; waiting for it to drain would hide that.
    if (!socket.write(block.subarray(0, length))) await Promise.race([once(socket, 'drain'), answered]);
  }
  const answer = await answered;
  return { bytes: answer.readDoubleBE(0), firstDifference: answer.readDoubleBE(8) };
}

async function readAnswer(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  const answer = Buffer.concat(chunks);
  if (answer.length !== ANSWER_BYTES)
    throw new Error(`the sink closed after ${answer.length} bytes of its answer`);
  return answer;
}

export async function tcpSend(request: TcpSendRequest): Promise<TcpSendAnswer> {
  const start = performance.now();
  const streams = Array.from({ length: request.connections }, (_, index) => sendStream(request, index));
  const received = await Promise.all(streams);
  const seconds = (performance.now() - start) / 1000;
  return { seconds, megabitsPerSecond: (request.bytes * request.connections * 8) / seconds / 1e6, received };
}
