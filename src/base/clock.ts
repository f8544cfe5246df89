export interface Timer {
  cancel(): void;
}

/** Time is a parameter: the simulator runs the shipped code on its own clock. */
export interface Clock {
  /** Monotonic milliseconds from an arbitrary start; fractions allowed. */
  nowMs(): number;
  /** Milliseconds since the epoch, for what people read. */
  wallMs(): number;
  /** Calls `action` once, `delayMs` from now. The timer alone does not keep the process alive. */
  after(delayMs: number, action: () => void): Timer;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, action) {
    const handle = setTimeout(action, delayMs);
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};

/** Resolves after `delayMs`, or at once when `signal` aborts; never rejects. */
export function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      timer.cancel();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = clock.after(delayMs, done);
    if (signal.aborted) done();
    else signal.addEventListener('abort', done, { once: true });
  });
}
