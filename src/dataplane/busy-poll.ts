import { availableParallelism } from 'node:os';

/**
 * Longest time that `auto` looks for a packet without sleeping: the answer of a host on the same network comes within it. Twice as long was
 * no better for requests 0.5 and 2 ms apart, half as long was worse; docs/performance.md has the numbers.
 */
export const AUTO_SPIN_MAX_US = 200;

/** The first window after packets have come closer together than the longest one, and the one below which there is none. */
const WINDOW_US_MIN = 10;

/** Longest spin that `tunnel.busyPoll` allows for, in microseconds. 0: never. */
export function spinMaxUs(wish: 'auto' | 'off' | number, processors = availableParallelism()): number {
  if (wish === 'off') return 0;
  // On one processor nothing can arrive while we look: whoever sends it waits for us.
  if (wish === 'auto') return processors > 1 ? AUTO_SPIN_MAX_US : 0;
  return wish * 1000;
}

/**
 * How long to look before sleeping, learnt from how long the last waits took: grows while packets come within the longest window,
 * shrinks to nothing while they do not. It is how KVM decides whether to poll for a halted guest (halt_poll_ns, virt/kvm/kvm_main.c).
 */
export class SpinWindow {
  readonly #maxUs: number;
  #windowUs = 0;

  constructor(maxUs: number) {
    this.#maxUs = maxUs;
  }

  /** Microseconds that the next wait may look without sleeping. */
  get us(): number {
    return this.#windowUs;
  }

  /** The last wait took `waitedUs`. */
  learn(waitedUs: number): void {
    if (waitedUs > this.#maxUs) {
      this.#windowUs = this.#windowUs >= 2 * WINDOW_US_MIN ? this.#windowUs >> 1 : 0;
    } else if (waitedUs > this.#windowUs || this.#windowUs === 0) {
      this.#windowUs = Math.min(this.#maxUs, Math.max(WINDOW_US_MIN, 2 * this.#windowUs));
    }
  }
}
