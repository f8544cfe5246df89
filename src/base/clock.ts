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
