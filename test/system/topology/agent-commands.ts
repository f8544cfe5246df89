import { fileURLToPath } from 'node:url';
import type { Agent, AgentProgram } from '../../../src/measure/agent-client.ts';

/** The agent of the tests, which makes traffic and compares every byte of it. */
export const TRAFFIC_AGENT: AgentProgram<AgentCommands> = {
  file: fileURLToPath(new URL('./agent.js', import.meta.url)),
};
export type TrafficAgent = Agent<AgentCommands>;

/** What an agent can be asked, and what it answers. Packets travel as hexadecimal text; sizes are of whole IPv4 packets. */
export interface AgentCommands {
  /** Sends ICMP echo requests at a fixed pace and compares every byte of every reply. Ends early on `stop`. */
  ping: { request: PingRequest; answer: PingAnswer };
  /** Replies so far of the ping that runs. */
  pingProgress: { request: null; answer: { sent: number; received: number } };
  /** Ends the ping or the UDP flow that runs; its answer counts what was sent until then. */
  stop: { request: null; answer: null };

  /** Echoes every datagram to its sender. */
  udpEcho: { request: { port: number }; answer: null };
  /** Sends datagrams to an echo at a fixed pace and compares every byte that comes back. */
  udpFlow: { request: UdpFlowRequest; answer: UdpFlowAnswer };

  /** Counts the datagrams of each of many flows, by source port. */
  flowSink: { request: { port: number }; answer: null };
  /** What came of each so far. */
  flowsSeen: { request: { port: number }; answer: readonly FlowSeen[] };
  /** Sends one datagram of each flow in every round, `rounds` of them, or until `stop`. */
  flowSend: { request: FlowSendRequest; answer: { readonly rounds: number } };

  /** Compares what each connection sends with the stream of its seed, and answers it with what it found. */
  tcpSink: { request: { port: number }; answer: null };
  /** Sends `bytes` bytes of the stream of `seed` to a sink over each of `connections` connections at once. */
  tcpSend: { request: TcpSendRequest; answer: TcpSendAnswer };

  /** Sends packets as they are, IPv4 header included; the kernel fills in checksum, and source and ID where they are 0. */
  sendPackets: {
    request: { packets: readonly string[]; gapMs: number };
    answer: { refused: readonly { index: number; errno: number }[] };
  };
  /** Keeps what a raw socket of `protocol` receives, as long as the agent lives. */
  capture: { request: { protocol: number }; answer: null };
  /** All that was captured so far. */
  captured: { request: { protocol: number }; answer: readonly string[] };

  /** Decapsulates IPIP and sends on what comes out, as a kernel's tunnel does, as long as the agent lives. */
  decapsulate: { request: null; answer: null };

  /** Answers when every earlier command has begun: a receiver is open before the sender is asked. */
  begun: { request: null; answer: null };

  /** Sends one packet of each size, payload by (seed, size). */
  sendSizes: { request: SizesRequest; answer: null };
  /** Waits for one packet of each size from `source` and compares them with what `sendSizes` sends. */
  expectSizes: { request: SizesRequest & { timeoutMs: number }; answer: SizesAnswer };

  /** The moment (ms, monotonic clock) from which the destination answers, or from which it does not. Blocks the agent meanwhile. */
  reachability: { request: ReachabilityRequest; answer: { readonly at: number } };
}

export interface PingRequest {
  readonly destination: string;
  readonly count: number;
  readonly intervalMs: number;
  readonly sizeBytes: number;
  readonly seed: number;
  /** How long to wait for replies after the last request. */
  readonly timeoutMs: number;
}

export interface PingAnswer {
  readonly sent: number;
  readonly received: number;
  readonly duplicated: number;
  readonly corrupted: number;
  /** Sequence numbers without a reply. Request n left at `startedAt + n * intervalMs`, at most `latestMs` later. */
  readonly lost: readonly number[];
  /** Wall clock, ms. */
  readonly startedAt: number;
  readonly latestMs: number;
  readonly roundTripMs: { readonly median: number; readonly p99: number; readonly max: number };
  /** First byte that differed, in the first corrupted reply. */
  readonly firstDifference: string | null;
}

export interface UdpFlowRequest {
  readonly destination: string;
  readonly port: number;
  readonly count: number;
  readonly intervalMs: number;
  /** Datagram payload. */
  readonly payloadBytes: number;
  readonly seed: number;
  readonly timeoutMs: number;
}

export interface UdpFlowAnswer {
  readonly sent: number;
  readonly received: number;
  readonly duplicated: number;
  readonly corrupted: number;
  readonly lost: readonly number[];
}

export interface FlowSendRequest {
  readonly destination: string;
  readonly port: number;
  readonly flows: number;
  readonly rounds: number;
  readonly intervalMs: number;
}

export interface FlowSeen {
  readonly port: number;
  readonly received: number;
  /** Rounds without a datagram, those before the last one that came, and the longest row of them. */
  readonly missing: number;
  readonly longestGap: number;
  /** Number of the last round that came. */
  readonly last: number;
}

export interface TcpSendRequest {
  readonly destination: string;
  readonly port: number;
  readonly bytes: number;
  readonly connections: number;
  readonly seed: number;
}

export interface TcpSendAnswer {
  /** Over all connections, from the first connect to the last sink's answer. */
  readonly seconds: number;
  readonly megabitsPerSecond: number;
  /** What the sinks received, and where it first differed (-1: nowhere), by connection. */
  readonly received: readonly { readonly bytes: number; readonly firstDifference: number }[];
}

export interface SizesRequest {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly sizes: readonly number[];
  readonly seed: number;
  /** IPv4 flag Don't Fragment. */
  readonly dontFragment: boolean;
}

export interface SizesAnswer {
  readonly received: number;
  readonly missing: readonly number[];
  readonly duplicated: readonly number[];
  /** One line for each packet that differed. */
  readonly differences: readonly string[];
}

export interface ReachabilityRequest {
  readonly destination: string;
  readonly until: boolean;
  readonly intervalMs: number;
  readonly timeoutMs: number;
}
