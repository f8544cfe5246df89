import { FlowSend, FlowSink } from './agent/flows.ts';
import { PingSeries } from './agent/ping.ts';
import { Capture, decapsulate, SizeExpectation, sendPackets, sendSizes } from './agent/raw-packets.ts';
import { reachability } from './agent/reachability.ts';
import { tcpSend, tcpSink } from './agent/tcp-stream.ts';
import { UdpFlow, udpEcho } from './agent/udp-flow.ts';
import type { AgentCommands, PingRequest, UdpFlowRequest } from './agent-commands.ts';

/** The program that Agent (agent-client.ts) starts in a machine: takes commands over the IPC channel, ends with it. */
type Handlers = {
  [C in keyof AgentCommands]: (request: AgentCommands[C]['request']) => Promise<AgentCommands[C]['answer']>;
};

const captures = new Map<number, Capture>();
let pinging: PingSeries | undefined;
let flowing: UdpFlow | FlowSend | undefined;
const sinks = new Map<number, FlowSink>();

const handlers: Handlers = {
  async ping(request: PingRequest) {
    pinging = new PingSeries(request);
    return pinging.run();
  },
  async pingProgress() {
    return { sent: pinging?.sent ?? 0, received: pinging?.received ?? 0 };
  },
  async stop() {
    pinging?.stop();
    flowing?.stop();
    return null;
  },
  async udpEcho({ port }) {
    await udpEcho(port);
    return null;
  },
  async udpFlow(request: UdpFlowRequest) {
    flowing = new UdpFlow(request);
    return flowing.run();
  },
  async flowSink({ port }) {
    sinks.set(port, await FlowSink.open(port));
    return null;
  },
  async flowsSeen({ port }) {
    return sinks.get(port)?.seen() ?? [];
  },
  async flowSend(request) {
    const send = new FlowSend(request);
    flowing = send;
    return send.run();
  },
  async tcpSink({ port }) {
    await tcpSink(port);
    return null;
  },
  tcpSend,
  sendPackets,
  async capture({ protocol }) {
    if (!captures.has(protocol)) captures.set(protocol, new Capture(protocol));
    return null;
  },
  async captured({ protocol }) {
    const capture = captures.get(protocol);
    if (capture === undefined) throw new Error(`no capture of protocol ${protocol} runs`);
    return capture.packets();
  },
  async decapsulate() {
    decapsulate();
    return null;
  },
  sendSizes,
  async begun() {
    return null;
  },
  expectSizes(request) {
    return new SizeExpectation(request).run();
  },
  async reachability(request) {
    return reachability(request);
  },
};

async function answer(id: number, command: keyof AgentCommands, request: never): Promise<void> {
  try {
    process.send!({ id, answer: await handlers[command](request) });
  } catch (error) {
    process.send!({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
}

process.on('message', (message: { id: number; command: keyof AgentCommands; request: never }) => {
  void answer(message.id, message.command, message.request);
});
process.on('disconnect', () => process.exit(0));
process.send!({ id: 0, answer: null });
