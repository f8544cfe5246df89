import type { Cidr } from '../base/address.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Doubt } from './segment.ts';

/** A change of addresses comes as several notices in a row; a packet in between has waited longer for its wire. */
export const DOUBT_DELAY_MS = 20;

/** A router that learns thousands of routes gives as many notices: the time between looks is at least this many times a look's own. */
const REST_FACTOR = 10;

/** More prefixes than this are taken for all there are: comparing each gateway with each of them would cost more than asking. */
export const DOUBTS_MAX = 64;

const ALL: readonly Cidr[] = [{ address: 0, prefixLength: 0 }];

/** Gathers what may have changed, until there was time to look. */
export class Doubts {
  readonly #clock: Clock;
  readonly #look: (doubt: Doubt) => void;
  #gathered: Cidr[] | 'everything' = [];
  #timer: Timer | undefined;
  #notBeforeMs = 0;

  constructor(clock: Clock, look: (doubt: Doubt) => void) {
    this.#clock = clock;
    this.#look = look;
  }

  add(doubt: Doubt): void {
    if (doubt === 'everything') this.#gathered = doubt;
    else if (this.#gathered !== 'everything' && this.#gathered.length < DOUBTS_MAX)
      this.#gathered.push(...doubt);
    const waitMs = Math.max(DOUBT_DELAY_MS, this.#notBeforeMs - this.#clock.nowMs());
    this.#timer ??= this.#clock.after(waitMs, () => this.#resolve());
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#gathered = [];
  }

  #resolve(): void {
    this.#timer = undefined;
    const gathered = this.#gathered;
    this.#gathered = [];
    const startedMs = this.#clock.nowMs();
    this.#look(gathered === 'everything' || gathered.length < DOUBTS_MAX ? gathered : ALL);
    const endedMs = this.#clock.nowMs();
    this.#notBeforeMs = endedMs + (endedMs - startedMs) * REST_FACTOR;
  }
}
