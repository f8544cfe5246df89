import { fileURLToPath } from 'node:url';
import type { Agent, AgentProgram } from '../agent-client.ts';

/**
 * What an agent that makes load can be asked. Moments are nanoseconds of the monotonic clock of the agent's machine (load/monotonic.ts);
 * addresses are text. `run` tells the packets of one measurement from those of another: any u32. One command at a time.
 */
export interface LoadCommands {
  /** Opens a UDP and a TCP socket on a port; what arrives waits there until a command takes it. Once. */
  listen: { request: { readonly port: number }; answer: null };
  /** Counts the datagrams of a run. */
  receive: { request: ReceiveRequest; answer: ReceiveAnswer };
  /** Sends datagrams at a rate, or all that the kernel takes. */
  send: { request: SendRequest; answer: SendAnswer };
  /** Throws away what arrives until nothing has for `quietMs`, at most `atMostMs`. */
  drain: { request: { readonly quietMs: number; readonly atMostMs: number }; answer: null };
  /** Answers the UDP probes of a run. */
  echo: { request: { readonly run: number; readonly endAtNs: number }; answer: { readonly echoed: number } };
  /** Round-trip times. */
  trips: { request: TripsRequest; answer: TripsAnswer };
  /** Reads from all TCP connections that come, and counts the bytes between two moments. */
  streamIn: { request: StreamInRequest; answer: { readonly bytes: number } };
  /** Opens TCP connections and writes to them between two moments. */
  streamOut: { request: StreamOutRequest; answer: { readonly bytes: number } };
}

export type LoadAgent = Agent<LoadCommands>;

/** Needs the addon, and CAP_NET_RAW for ICMP; otherwise no right. */
export const LOAD_AGENT: AgentProgram<LoadCommands> = {
  file: fileURLToPath(new URL('./agent.js', import.meta.url)),
};

export interface ReceiveRequest {
  readonly run: number;
  readonly endAtNs: number;
  /** What arrives this long after `endAtNs` still counts as arrived. */
  readonly graceMs: number;
}

export interface ReceiveAnswer {
  /** Until `endAtNs`, and until the end of the grace. Without duplicates; with those that found the reader's buffer full. */
  readonly inTime: number;
  readonly arrived: number;
  readonly duplicates: number;
  /** Behind a later one of their flow. */
  readonly reordered: number;
  /** Of those counted, the ones that the reader was too slow for: the path delivered them. */
  readonly overflowed: number;
}

export interface SendRequest {
  readonly destination: string;
  readonly port: number;
  readonly run: number;
  /** Source ports, 1 to 64: what spreads over queues and workers. */
  readonly flows: number;
  /** UDP payload of the packets in turn, 24 to 8,972 bytes each. */
  readonly payloadBytes: readonly number[];
  /** Null: all that the kernel takes. */
  readonly perSecond: number | null;
  readonly startAtNs: number;
  readonly durationMs: number;
}

export interface SendAnswer {
  readonly sent: number;
  /** Calls that the kernel took nothing of. */
  readonly refused: number;
}

export interface TripsRequest {
  readonly destination: string;
  /** Of a UDP echo; null: ICMP, which the destination's kernel answers. */
  readonly port: number | null;
  /** Behind the UDP or ICMP header, 24 bytes or more. */
  readonly payloadBytes: number;
  readonly run: number;
  readonly count: number;
  readonly intervalMs: number;
  /** After the last probe. */
  readonly timeoutMs: number;
}

export interface TripsAnswer {
  readonly sent: number;
  /** Of the probes that were answered, in their order. */
  readonly microseconds: readonly number[];
}

export interface StreamInRequest {
  readonly startAtNs: number;
  readonly endAtNs: number;
}

export interface StreamOutRequest {
  readonly destination: string;
  readonly port: number;
  /** 1 to 64. */
  readonly connections: number;
  /** Null: of the path. */
  readonly mss: number | null;
  readonly startAtNs: number;
  readonly endAtNs: number;
}
