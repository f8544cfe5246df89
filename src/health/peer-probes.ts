import type { IpAddress } from '../base/address.ts';
import { PROBE_BYTES_MIN, PROBE_KIND } from '../packet/probe.ts';
import { Liveness, type LivenessState, type LivenessTimes } from './liveness.ts';
import { pathMtuMin } from './path-mtu.ts';
import { PathSearch } from './path-search.ts';
import type { Probe } from './probe-packet.ts';
import { RoundTrips } from './round-trips.ts';

export interface ProbeTimes extends LivenessTimes {
  /** Whether the path MTU is probed too. */
  readonly searchesPath: boolean;
}

/** How a peer answers: `isthmus` by itself, `reflected` by forwarding what is addressed to us. */
export type ProbeAnswer = 'isthmus' | 'reflected';

export interface PeerHealthState {
  readonly state: LivenessState;
  /** Undefined while nothing was answered. */
  readonly answers: ProbeAnswer | undefined;
  readonly roundTripMs: number | undefined;
  readonly jitterMs: number | undefined;
  /** Share of the last small probes that were lost, 0 to 1. */
  readonly loss: number | undefined;
  readonly sent: number;
  readonly answered: number;
  /** It answers plain UDP and nothing that is in the tunnel: protocol 4 does not get through. */
  readonly answersPlainOnly: boolean;
}

interface Outstanding {
  readonly sentMs: number;
  readonly bytes: number;
  readonly kind: number;
  /** In loss and round-trip time: one small probe an interval. */
  readonly isCounted: boolean;
  /** Counted as lost already. */
  isSettled: boolean;
}

/** Probes whose answers are waited for. A path with a long delay has few sizes a round; what is older is lost. */
const OUTSTANDING_MAX = 256;

/** Requests that may go unanswered before it is tried whether the peer at least reflects. */
const REQUESTS_ALONE = 3;

/** A plain answer says something for this long. */
const PLAIN_KNOWN_MS = 10_000;

/** A peer that has not answered any of so many probes is asked less often: most likely it cannot answer. */
const PATIENCE = 40;
const SELDOM = 4;

/** An answer that takes longer belongs to another time. */
const LATE_MS = 5000;

export interface PeerProbesSetup {
  readonly address: IpAddress;
  readonly linkMtuBytes: number;
  /** Random. */
  readonly keyHigh: number;
  readonly keyLow: number;
  /** Whether what comes back reflected would be heard; asked only where a peer does not answer by itself. */
  readonly canReflect: () => boolean;
  readonly send: (peer: IpAddress, probe: Probe, bytes: number) => void;
  /** Sends a probe without the tunnel around it. */
  readonly sendPlain: (peer: IpAddress, probe: Probe) => void;
}

/** Everything that probes say of one peer: whether it answers, how fast, and what its path carries. Pure: time is a parameter, in milliseconds. */
export class PeerProbes {
  readonly #setup: PeerProbesSetup;
  readonly #liveness: Liveness;
  readonly #trips = new RoundTrips();
  readonly #search: PathSearch;
  readonly #outstanding = new Map<number, Outstanding>();
  #kind: number | undefined;
  #sequence = 0;
  #smallDueMs: number;
  #requests = 0;
  #answeredPlain = false;
  #plainAnsweredMs = Number.NEGATIVE_INFINITY;

  constructor(setup: PeerProbesSetup, nowMs: number) {
    this.#setup = setup;
    this.#liveness = new Liveness(nowMs);
    this.#search = new PathSearch(setup.linkMtuBytes, pathMtuMin(setup.address), nowMs);
    this.#smallDueMs = nowMs;
  }

  get address(): IpAddress {
    return this.#setup.address;
  }

  get state(): LivenessState {
    return this.#liveness.state;
  }

  /** What the path carries; 0 while that is not known. */
  get pathMtuBytes(): number {
    return this.#search.pathMtuBytes;
  }

  get health(): PeerHealthState {
    const { roundTripMs, jitterMs, loss, sent, answered } = this.#trips;
    const answersPlainOnly = this.#answeredPlain && (this.state === 'unknown' || this.state === 'dead');
    const { state } = this;
    return { state, answers: this.#answers(), roundTripMs, jitterMs, loss, sent, answered, answersPlainOnly };
  }

  /** Sends what is due, and returns in how many milliseconds to call again. */
  tick(nowMs: number, times: ProbeTimes): number {
    this.#liveness.look(nowMs, times);
    const timeoutMs = this.#trips.timeoutMs(times.intervalMs);
    this.#settleOverdue(nowMs, timeoutMs);
    const isSmallDue = nowMs >= this.#smallDueMs;
    if (isSmallDue) {
      this.#sendSmall(nowMs);
      this.#smallDueMs = nowMs + this.#smallIntervalMs(nowMs, times, timeoutMs);
    }
    let nextMs = this.#smallDueMs;
    if (times.searchesPath && this.#kind !== undefined && this.state !== 'dead') {
      const sizes = this.#search.due(nowMs, timeoutMs, isSmallDue);
      for (const bytes of sizes) this.#send(this.#kind, bytes, nowMs);
      if (sizes.length > 0) this.#send(this.#kind, PROBE_BYTES_MIN, nowMs);
      nextMs = Math.min(nextMs, this.#search.nextMs(timeoutMs));
    }
    return Math.max(1, nextMs - nowMs);
  }

  /** Whether an answer has the key that our probes of this peer have. */
  hasKey({ keyHigh, keyLow }: Probe): boolean {
    return keyHigh === this.#setup.keyHigh && keyLow === this.#setup.keyLow;
  }

  /** An answer with our key came. Returns whether it answers a probe that was waited for. */
  answered(probe: Probe, nowMs: number): boolean {
    const outstanding = this.#outstanding.get(probe.sequence);
    const expected = probe.kind === PROBE_KIND.REPLY ? PROBE_KIND.REQUEST : PROBE_KIND.REFLECTED;
    if (outstanding === undefined || outstanding.kind !== expected || outstanding.bytes !== probe.outerBytes)
      return false;
    this.#outstanding.delete(probe.sequence);
    // What answers by itself proves more than what only forwards.
    if (this.#kind !== PROBE_KIND.REQUEST) this.#kind = outstanding.kind;
    this.#liveness.answered(nowMs);
    this.#search.answered(probe.outerBytes, outstanding.sentMs, nowMs);
    if (outstanding.isCounted) {
      if (!outstanding.isSettled) this.#trips.settle(true);
      this.#trips.countAnswered(nowMs - outstanding.sentMs);
    }
    return true;
  }

  /** An answer with our key came to a probe without the tunnel. */
  answeredPlain(nowMs: number): void {
    this.#answeredPlain = true;
    this.#plainAnsweredMs = nowMs;
  }

  distrustsReports(nowMs: number): boolean {
    return this.#kind !== undefined && this.#search.distrusts(nowMs);
  }

  /** A router said that the path carries no more than this. */
  pathReported(pathMtuBytes: number, nowMs: number): void {
    if (this.#kind !== undefined) this.#search.reported(pathMtuBytes, nowMs);
  }

  setLinkMtu(linkMtuBytes: number, nowMs: number): void {
    this.#search.setLinkMtu(linkMtuBytes, nowMs);
  }

  #answers(): ProbeAnswer | undefined {
    if (this.#kind === undefined) return undefined;
    return this.#kind === PROBE_KIND.REQUEST ? 'isthmus' : 'reflected';
  }

  #smallIntervalMs(nowMs: number, times: ProbeTimes, timeoutMs: number): number {
    if (this.state === 'unknown' && this.#requests > PATIENCE) return times.intervalMs * SELDOM;
    return this.#liveness.nextInMs(nowMs, times, timeoutMs);
  }

  #sendSmall(nowMs: number): void {
    this.#liveness.sent(nowMs);
    this.#trips.countSent();
    // A dead peer may come back as something else at the same address.
    const kind = this.state === 'dead' ? undefined : this.#kind;
    if (kind !== undefined) {
      this.#send(kind, PROBE_BYTES_MIN, nowMs, true);
      return;
    }
    this.#requests += 1;
    this.#send(PROBE_KIND.REQUEST, PROBE_BYTES_MIN, nowMs, true);
    if (this.#requests > REQUESTS_ALONE && this.#setup.canReflect())
      this.#send(PROBE_KIND.REFLECTED, PROBE_BYTES_MIN, nowMs);
    if (this.#requests > REQUESTS_ALONE) this.#sendPlain(nowMs);
  }

  #send(kind: number, bytes: number, nowMs: number, isCounted = false): void {
    const { address, keyHigh, keyLow, send } = this.#setup;
    this.#sequence = (this.#sequence + 1) >>> 0;
    const sequence = this.#sequence;
    if (this.#outstanding.size >= OUTSTANDING_MAX) this.#forgetOldest();
    this.#outstanding.set(sequence, { sentMs: nowMs, bytes, kind, isCounted, isSettled: false });
    send(address, { kind, outerBytes: bytes, keyHigh, keyLow, sequence }, bytes);
  }

  /** What it says is only whether one of the last few was answered. */
  #sendPlain(nowMs: number): void {
    const { address, keyHigh, keyLow, sendPlain } = this.#setup;
    if (nowMs - this.#plainAnsweredMs > PLAIN_KNOWN_MS) this.#answeredPlain = false;
    const fields = { kind: PROBE_KIND.PLAIN_REQUEST, outerBytes: 0, sequence: this.#sequence };
    sendPlain(address, { ...fields, keyHigh, keyLow });
  }

  #forgetOldest(): void {
    const oldest = this.#outstanding.keys().next().value;
    if (oldest !== undefined) this.#outstanding.delete(oldest);
  }

  #settleOverdue(nowMs: number, timeoutMs: number): void {
    for (const [sequence, outstanding] of this.#outstanding) {
      const ageMs = nowMs - outstanding.sentMs;
      if (ageMs < timeoutMs) break;
      if (outstanding.isCounted && !outstanding.isSettled) {
        outstanding.isSettled = true;
        this.#trips.settle(false);
      }
      // A late answer still shows that the peer lives.
      if (ageMs > LATE_MS) this.#outstanding.delete(sequence);
    }
  }
}
