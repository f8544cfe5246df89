import { Buffer } from 'node:buffer';
import { type Machine, poll } from '../../../src/measure/topology.ts';
import { TRAFFIC_AGENT, type TrafficAgent } from './agent-commands.ts';

const FIRST_MS = 3000;

/** What arrives at a machine of one IP protocol, header included: a copy, as every raw socket gets one. */
export class Tap {
  readonly #agent: TrafficAgent;
  readonly #protocol: number;

  private constructor(agent: TrafficAgent, protocol: number) {
    this.#agent = agent;
    this.#protocol = protocol;
  }

  /** Resolves when nothing that arrives from now on is missed. */
  static async open(machine: Machine, protocol: number): Promise<Tap> {
    const agent = await machine.agent(TRAFFIC_AGENT);
    await agent.call('capture', { protocol });
    return new Tap(agent, protocol);
  }

  /** All that arrived so far. */
  async packets(): Promise<Buffer[]> {
    const packets = await this.#agent.call('captured', { protocol: this.#protocol });
    return packets.map((hex) => Buffer.from(hex, 'hex'));
  }

  /** The first that arrives and is wanted; `what` names it in the error when none does. */
  async first(what: string, isWanted: (packet: Buffer) => boolean = () => true): Promise<Buffer> {
    return poll(what, FIRST_MS, async () => (await this.packets()).find(isWanted));
  }

  async close(): Promise<void> {
    await this.#agent.close();
  }
}
