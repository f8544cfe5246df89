import { Buffer } from 'node:buffer';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import type { FlowSeen, FlowSendRequest } from '../agent-commands.ts';
import { nap } from './pace.ts';

interface Flow {
  received: number;
  missing: number;
  longestGap: number;
  last: number;
}

/** What came of each of many flows. The rounds are numbered from 0, and a flow's datagrams come in order. */
export class FlowSink {
  readonly #flows = new Map<number, Flow>();

  static async open(port: number): Promise<FlowSink> {
    const sink = new FlowSink();
    const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 });
    socket.on('message', (message, from) => sink.#take(from.port, message.readUInt32BE(0)));
    socket.bind(port);
    await once(socket, 'listening');
    return sink;
  }

  seen(): FlowSeen[] {
    return Array.from(this.#flows, ([port, flow]) => ({ port, ...flow }));
  }

  #take(port: number, round: number): void {
    const flow = this.#flows.get(port) ?? { received: 0, missing: 0, longestGap: 0, last: -1 };
    this.#flows.set(port, flow);
    const gap = round - flow.last - 1;
    flow.received += 1;
    flow.missing += gap;
    flow.longestGap = Math.max(flow.longestGap, gap);
    flow.last = round;
  }
}

/** One datagram of each flow in every round, spread over the time of the round. */
export class FlowSend {
  readonly #request: FlowSendRequest;
  #stopped = false;

  constructor(request: FlowSendRequest) {
    this.#request = request;
  }

  stop(): void {
    this.#stopped = true;
  }

  async run(): Promise<{ rounds: number }> {
    const { destination, port, flows, rounds, intervalMs } = this.#request;
    const sockets = await Promise.all(
      Array.from({ length: flows }, async () => {
        const socket = createSocket('udp4');
        socket.connect(port, destination);
        await once(socket, 'connect');
        return socket;
      }),
    );
    const start = performance.now();
    let round = 0;
    for (; round < rounds && !this.#stopped; round++) {
      const payload = Buffer.alloc(32);
      payload.writeUInt32BE(round, 0);
      for (const [flow, socket] of sockets.entries()) {
        const due = start + (round + flow / flows) * intervalMs;
        // Some at a time, because a nap for each would take longer than the round.
        if (flow % 20 === 0) while (performance.now() < due) await nap(due);
        socket.send(payload);
      }
    }
    for (const socket of sockets) socket.close();
    return { rounds: round };
  }
}
