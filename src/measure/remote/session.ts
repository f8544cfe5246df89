import { messageOf } from '../../base/errors.ts';
import { busySeconds } from '../busy.ts';
import { monotonicNs } from '../load/monotonic.ts';
import type { Load } from './load-process.ts';
import { type Call, checkMoments, ProtocolError, type TrafficCommand } from './protocol.ts';

/**
 * The measurements of one controller, over all of its connections: they share one load agent, which is ended with the session, and with it
 * whatever traffic it makes.
 */
export class Session {
  readonly id: string;
  readonly owner: string;
  readonly #load: Promise<Load>;
  #running: TrafficCommand | undefined;
  #measurements = 0;
  #isOver = false;

  constructor(id: string, owner: string, trafficPort: number, start: () => Promise<Load>) {
    this.id = id;
    this.owner = owner;
    this.#load = start().then(async (load) => {
      // Over before the agent was there: nobody else would end it.
      if (this.#isOver) {
        await load.close();
        throw new Error('the session is over');
      }
      await load.call('listen', { port: trafficPort });
      return load;
    });
    // Told to each connection by `ready`.
    this.#load.catch(() => {});
  }

  get measurements(): number {
    return this.#measurements;
  }

  /** Rejects when the load agent cannot be started or the port for traffic is taken. */
  async ready(): Promise<void> {
    await this.#load;
  }

  /** `address` is the other end of the connection that asks: the only one that traffic is sent to. */
  async answer(call: Call, address: string): Promise<unknown> {
    if (call.command === 'clock') return { ns: monotonicNs() };
    if (call.command === 'busy') return { seconds: busySeconds() };
    checkMoments(call, monotonicNs());
    if (this.#running !== undefined) {
      throw new ProtocolError(`${call.command}: ${this.#running} still runs; one at a time`, call.id);
    }
    this.#running = call.command;
    try {
      const load = await this.#load;
      this.#measurements++;
      return await load.call(call.command, { ...call.request, destination: address } as never);
    } catch (error) {
      throw new ProtocolError(`${call.command}: ${messageOf(error)}`, call.id);
    } finally {
      this.#running = undefined;
    }
  }

  /** Ends whatever runs. */
  async end(): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    await this.#load.then(
      (load) => load.close(),
      () => {},
    );
  }
}
