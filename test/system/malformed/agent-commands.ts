import { fileURLToPath } from 'node:url';
import type { Agent, AgentProgram } from '../../../src/measure/agent-client.ts';
import type { Way, World } from './traffic.ts';

export const MALFORMED_AGENT: AgentProgram<MalformedCommands> = {
  file: fileURLToPath(new URL('./agent.js', import.meta.url)),
};
export type MalformedAgent = Agent<MalformedCommands>;

/** Packets `from` … `from + count - 1` of a way, and the marker behind them. */
export interface Burst {
  readonly way: Way;
  readonly seed: number;
  readonly from: number;
  readonly count: number;
  readonly marker: number;
}

export interface CheckTotals {
  /** By verdict: what packets that must have reached the gateway were to become, and what others may have become if they did. */
  readonly certain: readonly number[];
  readonly possible: readonly number[];
  readonly arrived: number;
  /** Expected for certain, and never arrived. */
  readonly missing: number;
  readonly unexpected: number;
  /** The first of both, in words. */
  readonly examples: readonly string[];
}

export interface MalformedCommands {
  /** Sends by a packet socket on `device` to the host with this MAC address. */
  openSender: { request: { world: World; device: string; mac: string }; answer: null };
  send: { request: Burst; answer: { refused: readonly string[] } };
  /** Looks at what leaves by `device` (or comes from it), of one protocol unless that is 0. */
  openCheck: {
    request: { world: World; device: string; direction: 'in' | 'out'; protocol: number };
    answer: null;
  };
  /** Resolves when the marker of the burst has come and all that came until then is judged. */
  check: { request: Burst; answer: null };
  totals: { request: null; answer: CheckTotals };
}
