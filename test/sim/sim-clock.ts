import type { Clock, Timer } from '../../src/base/clock.ts';

interface Pending {
  readonly dueMs: number;
  readonly action: () => void;
}

/** Time that only moves when the simulation says so. Timers fire in the order in which they are due; of equal ones the older first. */
export class SimClock implements Clock {
  readonly #pending = new Set<Pending>();
  #nowMs = 1000;

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs + 1_700_000_000_000;
  }

  after(delayMs: number, action: () => void): Timer {
    const pending = { dueMs: this.#nowMs + Math.max(0, delayMs), action };
    this.#pending.add(pending);
    return { cancel: () => this.#pending.delete(pending) };
  }

  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs;
    for (let next = this.#first(endMs); next !== undefined; next = this.#first(endMs)) {
      this.#pending.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.action();
    }
    this.#nowMs = endMs;
  }

  #first(untilMs: number): Pending | undefined {
    let first: Pending | undefined;
    for (const pending of this.#pending) {
      if (pending.dueMs <= untilMs && (first === undefined || pending.dueMs < first.dueMs)) first = pending;
    }
    return first;
  }
}
