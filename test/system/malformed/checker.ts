import { VERDICT, VERDICT_COUNT } from '../../../src/packet/verdict.ts';
import type { Model } from '../../sim/oracle/model.ts';
import { hex } from '../../sim/oracle/wire.ts';
import type { Burst, CheckTotals } from './agent-commands.ts';
import { capture } from './capture.ts';
import {
  EXACT,
  fateOf,
  inboundKey,
  marker,
  modelOf,
  outboundKey,
  packetOn,
  type Way,
  type World,
} from './traffic.ts';

const EXAMPLES_MAX = 5;
const MARKER_MS = 20_000;

/** Compares what comes out of the gateway with what may, burst by burst. */
export class Checker {
  readonly #world: World;
  readonly #model: Model;
  readonly #direction: 'in' | 'out';
  readonly #certain: number[] = new Array<number>(VERDICT_COUNT).fill(0);
  readonly #possible: number[] = new Array<number>(VERDICT_COUNT).fill(0);
  readonly #examples: string[] = [];
  #waiting: string[] = [];
  #arrived = 0;
  #missing = 0;
  #unexpected = 0;
  #marker = '';
  #reached: (() => void) | undefined;

  constructor(world: World, direction: 'in' | 'out') {
    this.#world = world;
    this.#model = modelOf(world);
    this.#direction = direction;
  }

  async open(device: string, protocol: number): Promise<void> {
    await capture(device, this.#direction, protocol, (packet) => {
      const key = this.#direction === 'out' ? outboundKey(packet) : inboundKey(packet);
      this.#waiting.push(key);
      if (key === this.#marker) this.#reached?.();
    });
  }

  async check(burst: Burst): Promise<void> {
    const { way, seed, from, count } = burst;
    const certain = new Map<string, number>();
    const possible = new Map<string, number>();
    const end = fateOf(this.#model, way === 'icmp' ? 'tunnel' : way, marker(this.#world, way, burst.marker));
    this.#marker = end!.key!;
    this.#expect(marker(this.#world, way, burst.marker), way === 'icmp' ? 'tunnel' : way, certain, true);
    for (let index = from; index < from + count; index++) {
      this.#expect(
        packetOn(this.#world, way, seed, index),
        way,
        EXACT.includes(way) ? certain : possible,
        EXACT.includes(way),
      );
    }
    await this.#untilMarker(burst);
    for (const key of this.#waiting.splice(0)) {
      this.#arrived += 1;
      if (!take(certain, key) && !take(possible, key)) {
        this.#unexpected += 1;
        this.#example(`${way} ${seed}/${from}…${from + count - 1}: not to be forwarded: `, key);
      }
    }
    for (const [key, left] of certain) {
      if (left === 0) continue;
      this.#missing += left;
      this.#example(`${way} ${seed}/${from}…${from + count - 1}: never came: `, key);
    }
  }

  totals(): CheckTotals {
    return {
      ...{ certain: this.#certain, possible: this.#possible, arrived: this.#arrived, missing: this.#missing },
      ...{ unexpected: this.#unexpected, examples: this.#examples },
    };
  }

  #expect(packet: Uint8Array, way: Way, keys: Map<string, number>, isCertain: boolean): void {
    const fate = fateOf(this.#model, way, packet);
    if (fate === undefined) return;
    (isCertain ? this.#certain : this.#possible)[fate.verdict]! += 1;
    if (fate.verdict === VERDICT.FORWARD) keys.set(fate.key!, (keys.get(fate.key!) ?? 0) + 1);
  }

  async #untilMarker(burst: Burst): Promise<void> {
    if (this.#waiting.includes(this.#marker)) return;
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(
        () =>
          reject(
            new Error(`no marker ${burst.marker} in ${MARKER_MS} ms, ${this.#waiting.length} packets came`),
          ),
        MARKER_MS,
      );
      this.#reached = () => {
        clearTimeout(late);
        resolve();
      };
    });
    this.#reached = undefined;
  }

  #example(what: string, key: string): void {
    if (this.#examples.length < EXAMPLES_MAX)
      this.#examples.push(what + hex(Buffer.from(key, 'latin1'), 120));
  }
}

function take(keys: Map<string, number>, key: string): boolean {
  const left = keys.get(key) ?? 0;
  if (left > 0) keys.set(key, left - 1);
  return left > 0;
}
