/** Sizes of a round: with eight the range of an Ethernet MTU is searched to the byte in four rounds, that of jumbo frames in five. */
const SIZES = 8;

/** Times that a size is tried in a round before it counts as too large (RFC 8899 §5.1.2 has 3 as MAX_PROBES, of one size at a time). */
const TRIES = 4;

/** Probes of the size in force lost one after another, while small ones arrive, that make a black hole (RFC 8899 §4.3). */
const BLACK_HOLE = 5;

/** Least time between two tries of one size, so that one burst of loss does not hit them all; of the size in force, whose loss costs more. */
const TRY_GAP_MS = 30;
const CONFIRM_GAP_MS = 100;

/** A path that became wider is noticed by a probe this much larger than the size in force; links differ by no less. */
const RAISE_BYTES = 4;

/** How often that is tried. RFC 8899 §5.1.1 recommends 10 minutes for a protocol that cannot wait for a probe; ours costs a packet. */
export const RAISE_INTERVAL_MS = 2000;

/** A search in which nothing at all was answered starts again after this. */
const RETRY_MS = 1000;

/**
 * After a report that probing proved wrong, none is believed for this long: anybody can forge them, and while they are checked the path is
 * narrower than need be. A path that really became narrower is then found by its black hole.
 */
export const DISTRUST_MS = 60_000;

interface Round {
  readonly sizes: readonly number[];
  readonly answered: Set<number>;
  tries: number;
  triedMs: number;
  /** What was sent behind the last try has arrived: so would have what is still missing of it. */
  isOver: boolean;
}

/** Of the probe of the size in force that is under way, or was last. */
interface Confirmation {
  readonly sentMs: number;
  isAnswered: boolean;
  isOver: boolean;
}

/**
 * Finds the largest outer packet that a path carries, by padded probes alone, in the manner of RFC 8899 (DPLPMTUD): it needs no ICMP, and what
 * it is told of some is checked. Pure: time is a parameter, in milliseconds; sizes are of outer packets, in bytes.
 *
 * A round sends several sizes at once, spread over what is unknown; a size that arrives moves the lower bound up, one that does not arrive
 * in any of its tries moves the upper bound down. Between searches the size in force is confirmed all the time, and now and then a
 * larger one is tried.
 */
export class PathSearch {
  readonly #bytesMin: number;
  #linkMtuBytes: number;
  /** The largest size known to arrive, 0 = none yet; and one known, or taken, not to. */
  #low = 0;
  #high: number;
  #round: Round | undefined;
  #startsMs: number;
  #found = 0;
  #confirmation: Confirmation | undefined;
  #missed = 0;
  #smallSinceMiss = 0;
  #raisedMs = 0;
  /** What a router said and this search has to show, 0 = nothing. */
  #reported = 0;
  #distrustUntilMs = 0;

  /** `bytesMin`: every path carries as much. */
  constructor(linkMtuBytes: number, bytesMin: number, nowMs: number) {
    this.#bytesMin = bytesMin;
    this.#linkMtuBytes = linkMtuBytes;
    this.#high = linkMtuBytes + 1;
    this.#startsMs = nowMs;
  }

  /** What the path carries; 0 while that is not known. */
  get pathMtuBytes(): number {
    return this.#found;
  }

  /** The device has another MTU now: the path may be another one too. */
  setLinkMtu(linkMtuBytes: number, nowMs: number): void {
    if (linkMtuBytes === this.#linkMtuBytes) return;
    this.#linkMtuBytes = linkMtuBytes;
    this.#found = Math.min(this.#found, linkMtuBytes);
    this.#search(0, linkMtuBytes + 1, nowMs);
  }

  /** Whether reports of routers are passed over, because one of late was wrong. */
  distrusts(nowMs: number): boolean {
    return nowMs < this.#distrustUntilMs;
  }

  /** A router said that the path carries no more. It holds at once, and a search finds out whether it is true. */
  reported(pathMtuBytes: number, nowMs: number): void {
    if (this.#found !== 0 && pathMtuBytes >= this.#found) return;
    const high = this.#found === 0 ? this.#linkMtuBytes : this.#found;
    this.#found = pathMtuBytes;
    this.#reported = pathMtuBytes;
    this.#search(0, high + 1, nowMs);
  }

  /**
   * A probe of this size, which left at `sentMs`, arrived. One that every path carries says that the path lives, and that what left before it
   * and has not arrived is lost.
   */
  answered(bytes: number, sentMs: number, nowMs: number): void {
    if (bytes < this.#bytesMin) {
      this.#smallSinceMiss += 1;
      if (this.#round !== undefined && sentMs >= this.#round.triedMs) this.#round.isOver = true;
      if (this.#confirmation !== undefined && sentMs >= this.#confirmation.sentMs)
        this.#confirmation.isOver = true;
      return;
    }
    const round = this.#round;
    if (round !== undefined) {
      round.answered.add(bytes);
      if (bytes >= round.sizes.at(-1)!) this.#endRound(round, nowMs);
    } else if (bytes === this.#found) {
      if (this.#confirmation !== undefined) this.#confirmation.isAnswered = true;
      this.#forgetMisses();
    } else if (bytes > this.#found && this.#found !== 0) this.#search(bytes, this.#linkMtuBytes + 1, nowMs);
  }

  /**
   * The sizes to probe now; the caller sends a small probe behind them. `timeoutMs`: when an answer is overdue. `isConfirming`: it is time to confirm the size in force; after a miss it is
   * at every call.
   */
  due(nowMs: number, timeoutMs: number, isConfirming: boolean): readonly number[] {
    if (this.#round === undefined && nowMs >= this.#startsMs) this.#openRound(nowMs);
    if (this.#round !== undefined) return this.#dueInRound(this.#round, nowMs, timeoutMs);
    return this.#found === 0 ? [] : this.#dueBetween(nowMs, timeoutMs, isConfirming);
  }

  /** When `due` has to be called again at the latest; Infinity: when it is time to confirm. */
  nextMs(timeoutMs: number): number {
    const round = this.#round;
    if (round === undefined) {
      const last = this.#confirmation;
      if (last === undefined || last.isAnswered) return this.#startsMs;
      return last.sentMs + (last.isOver ? CONFIRM_GAP_MS : timeoutMs);
    }
    if (round.tries === 0 || (round.tries === TRIES && round.isOver)) return round.triedMs;
    return round.triedMs + (round.tries < TRIES ? TRY_GAP_MS : timeoutMs);
  }

  #dueInRound(round: Round, nowMs: number, timeoutMs: number): readonly number[] {
    if (round.tries === TRIES) {
      if (!round.isOver && nowMs - round.triedMs < timeoutMs) return [];
      this.#endRound(round, nowMs);
      return this.#round === undefined ? [] : this.#dueInRound(this.#round, nowMs, timeoutMs);
    }
    if (round.tries > 0 && nowMs - round.triedMs < TRY_GAP_MS) return [];
    round.tries += 1;
    round.triedMs = nowMs;
    round.isOver = false;
    const largest = Math.max(0, ...round.answered);
    return round.sizes.filter((size) => size > largest);
  }

  #dueBetween(nowMs: number, timeoutMs: number, isConfirming: boolean): readonly number[] {
    const due: number[] = [];
    const last = this.#confirmation;
    const isOverdue =
      last !== undefined &&
      !last.isAnswered &&
      nowMs - last.sentMs >= (last.isOver ? CONFIRM_GAP_MS : timeoutMs);
    if (isOverdue) this.#miss();
    // What small probes do not survive either is no matter of size.
    if (this.#missed >= BLACK_HOLE && this.#smallSinceMiss > 1) {
      this.#search(0, this.#found + 1, nowMs);
      this.#openRound(nowMs);
      return this.#round === undefined ? [] : this.#dueInRound(this.#round, nowMs, timeoutMs);
    }
    if (last === undefined || isOverdue || (last.isAnswered && isConfirming)) {
      this.#confirmation = { sentMs: nowMs, isAnswered: false, isOver: false };
      due.push(this.#found);
    }
    if (this.#found < this.#linkMtuBytes && nowMs - this.#raisedMs >= RAISE_INTERVAL_MS) {
      this.#raisedMs = nowMs;
      due.push(Math.min(this.#found + RAISE_BYTES, this.#linkMtuBytes));
    }
    return due;
  }

  #miss(): void {
    if (this.#missed === 0) this.#smallSinceMiss = 0;
    this.#missed += 1;
  }

  #forgetMisses(): void {
    this.#missed = 0;
    this.#confirmation = undefined;
  }

  #search(low: number, high: number, nowMs: number): void {
    this.#low = low;
    this.#high = high;
    this.#round = undefined;
    this.#startsMs = nowMs;
    this.#forgetMisses();
  }

  #openRound(nowMs: number): void {
    this.#round = {
      sizes: spread(Math.max(this.#low, this.#bytesMin - 1), this.#high),
      answered: new Set(),
      tries: 0,
      triedMs: nowMs,
      isOver: false,
    };
  }

  #endRound(round: Round, nowMs: number): void {
    this.#round = undefined;
    this.#low = Math.max(this.#low, ...round.answered);
    this.#high = round.sizes.find((size) => size > this.#low) ?? this.#high;
    if (this.#low === 0) {
      this.#startsMs = nowMs + RETRY_MS;
      return;
    }
    if (this.#high - this.#low > 1) {
      this.#openRound(nowMs);
      return;
    }
    this.#found = this.#low;
    if (this.#reported !== 0 && this.#found > this.#reported) this.#distrustUntilMs = nowMs + DISTRUST_MS;
    this.#reported = 0;
    this.#startsMs = Number.POSITIVE_INFINITY;
    this.#raisedMs = nowMs;
    this.#forgetMisses();
  }
}

/** At most SIZES whole numbers between `low` and `high`, both excluded, evenly, the largest and the smallest among them. */
function spread(low: number, high: number): number[] {
  const count = high - low - 1;
  if (count <= SIZES) return Array.from({ length: count }, (_, i) => low + 1 + i);
  return Array.from({ length: SIZES }, (_, i) => low + 1 + Math.round((i * (count - 1)) / (SIZES - 1)));
}
