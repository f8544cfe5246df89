import type { IpAddress } from '../base/address.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { KeyedBuckets, TokenBucket } from '../base/token-bucket.ts';
import { PROBE_BYTES_MIN, PROBE_KIND } from '../packet/probe.ts';
import { type PeerHealthState, PeerProbes, type ProbeTimes } from './peer-probes.ts';
import { type Probe, readProbe, readProbePayload } from './probe-packet.ts';

/** `required`: a peer that has not answered yet is not used. `off`: nobody is probed, but probes of others are answered. */
export type ProbeMode = 'auto' | 'required' | 'off';

export interface ProbeSettings extends ProbeTimes {
  readonly mode: ProbeMode;
}

export interface ProberSetup {
  readonly clock: Clock;
  /** A random u32 that nobody can guess. */
  readonly random: () => number;
  readonly settings: () => ProbeSettings;
  /** MTU of the underlay device, bytes. */
  readonly linkMtuBytes: () => number;
  /** Whether what comes back reflected would be heard; asked only where a peer does not answer by itself. */
  readonly canReflect: () => boolean;
  /** Sends a probe in an outer packet of `bytes`; what cannot be sent is lost. */
  readonly send: (peer: IpAddress, probe: Probe, bytes: number) => void;
  /** Sends a probe without the tunnel around it. */
  readonly sendPlain: (peer: IpAddress, probe: Probe) => void;
  /** Whether some route has no other gateway alive than this one. */
  readonly isNeeded: (peer: IpAddress) => boolean;
  /** Whether packets go to the peer changed. */
  readonly onUse: (peer: IpAddress, isUsed: boolean, health: PeerHealthState) => void;
  readonly onPathMtu: (peer: IpAddress, pathMtuBytes: number) => void;
  /** The peer is no gateway any more. */
  readonly onGone: (peer: IpAddress) => void;
}

/** Requests answered in a second, of one peer and of all: a search of a path sends 24 at once, and 300 ms of failover take 100 a second. */
export const PEER_ANSWERS_PER_SECOND = 500;
export const PEER_ANSWERS_BURST = 100;
export const ANSWERS_PER_SECOND = 10_000;
export const ANSWERS_BURST = 1000;

/** With more peers than this each is probed less often, so that probing never takes more than a small part of a processor. */
const PEERS_PER_SECOND = 500;

/** How often a prober that is off looks whether it still is; a reload says so at once. */
const OFF_MS = 60_000;

interface Probed {
  readonly keyLow: number;
  readonly probes: PeerProbes;
  timer: Timer;
  isUsed: boolean;
  pathMtuBytes: number;
}

/** Probes the peers of the packet path, answers their probes, and says what came of it. */
export class Prober {
  readonly #setup: ProberSetup;
  readonly #peers = new Map<IpAddress, Probed>();
  readonly #byKey = new Map<number, Probed>();
  readonly #answersOfPeer = new KeyedBuckets(PEER_ANSWERS_PER_SECOND, PEER_ANSWERS_BURST);
  readonly #answersOfAll: TokenBucket;
  #answeredRequests = 0;
  #refusedRequests = 0;
  #unexpected = 0;
  #stopped = false;

  constructor(setup: ProberSetup) {
    this.#setup = setup;
    this.#answersOfAll = new TokenBucket(ANSWERS_PER_SECOND, ANSWERS_BURST, setup.clock.nowMs());
  }

  get counts(): ProbeCounts {
    return {
      answeredRequests: this.#answeredRequests,
      refusedRequests: this.#refusedRequests,
      unexpected: this.#unexpected,
    };
  }

  health(peer: IpAddress): PeerHealthState | undefined {
    return this.#peers.get(peer)?.probes.health;
  }

  /** Peers that have come are probed from now on, those that went no more. Says anew of each that stays whether it is used. */
  setPeers(addresses: Iterable<IpAddress>): void {
    const gone = new Set(this.#peers.keys());
    for (const address of addresses) {
      gone.delete(address);
      const known = this.#peers.get(address);
      if (known === undefined) this.#add(address);
      // The packet path may have forgotten a gateway for a moment, and takes each new one for alive.
      else if (!known.isUsed) this.#setup.onUse(address, false, known.probes.health);
    }
    for (const address of gone) this.#remove(address);
  }

  /** The settings, or the MTU of the link, are others now. */
  configure(): void {
    const { clock, linkMtuBytes } = this.#setup;
    const nowMs = clock.nowMs();
    for (const [address, probed] of this.#peers) {
      probed.probes.setLinkMtu(linkMtuBytes(), nowMs);
      probed.timer.cancel();
      probed.pathMtuBytes = 0;
      this.#tick(address, probed);
    }
  }

  /** The beginning of a probe's inner packet, PROBE_INNER_BYTES, that came from `gateway` in an outer packet of `outerBytes`. */
  received(gateway: IpAddress, outerBytes: number, inner: Uint8Array): void {
    const probe = readProbe(inner, 0);
    if (probe === undefined) this.#unexpected += 1;
    else if (probe.kind === PROBE_KIND.REQUEST && probe.outerBytes === outerBytes)
      this.#answer(gateway, probe);
    else if (probe.kind === PROBE_KIND.REPLY) this.#take(gateway, probe);
    else this.#unexpected += 1;
  }

  /** The same of a probe that came back reflected, straight from the underlay. */
  reflected(inner: Uint8Array): void {
    const probe = readProbe(inner, 0);
    if (probe?.kind === PROBE_KIND.REFLECTED) this.#take(undefined, probe);
    else this.#unexpected += 1;
  }

  /** A datagram on the port of plain probes. */
  receivedPlain(source: IpAddress, payload: Uint8Array): void {
    const probe = readProbePayload(payload);
    const probed = this.#peers.get(source);
    if (probe === undefined || probed === undefined) this.#unexpected += 1;
    else if (probe.kind === PROBE_KIND.PLAIN_REQUEST) {
      if (this.#mayAnswer(source)) this.#setup.sendPlain(source, { ...probe, kind: PROBE_KIND.PLAIN_REPLY });
    } else if (probe.kind === PROBE_KIND.PLAIN_REPLY && probed.probes.hasKey(probe))
      probed.probes.answeredPlain(this.#setup.clock.nowMs());
    else this.#unexpected += 1;
  }

  distrustsReports(peer: IpAddress): boolean {
    if (!this.#searchesPaths) return false;
    return this.#peers.get(peer)?.probes.distrustsReports(this.#setup.clock.nowMs()) ?? false;
  }

  pathReported(peer: IpAddress, pathMtuBytes: number): void {
    const probed = this.#peers.get(peer);
    if (probed === undefined || !this.#searchesPaths) return;
    // Said again when the search has ended, also where the router was right.
    probed.pathMtuBytes = 0;
    probed.probes.pathReported(pathMtuBytes, this.#setup.clock.nowMs());
  }

  stop(): void {
    this.#stopped = true;
    for (const { timer } of this.#peers.values()) timer.cancel();
  }

  #add(address: IpAddress): void {
    const { clock, random, linkMtuBytes, canReflect, send, sendPlain } = this.#setup;
    const [keyHigh, keyLow] = [random(), random()];
    const setup = {
      ...{ address, keyHigh, keyLow, send, sendPlain },
      ...{ linkMtuBytes: linkMtuBytes(), canReflect },
    };
    // Each peer starts at a moment of its own, so that a thousand are not probed in one.
    const startsInMs = (random() / 0x1_0000_0000) * Math.min(100, this.#times().intervalMs);
    const probed: Probed = {
      keyLow,
      probes: new PeerProbes(setup, clock.nowMs()),
      timer: clock.after(startsInMs, () => this.#tick(address, probed)),
      isUsed: true,
      pathMtuBytes: 0,
    };
    this.#peers.set(address, probed);
    this.#byKey.set(keyLow, probed);
    this.#report(address, probed);
  }

  #remove(address: IpAddress): void {
    const probed = this.#peers.get(address);
    if (probed === undefined) return;
    probed.timer.cancel();
    this.#peers.delete(address);
    this.#byKey.delete(probed.keyLow);
    this.#setup.onGone(address);
  }

  get #searchesPaths(): boolean {
    const { mode, searchesPath } = this.#setup.settings();
    return searchesPath && mode !== 'off';
  }

  #tick(address: IpAddress, probed: Probed): void {
    if (this.#stopped) return;
    const { clock, settings } = this.#setup;
    const isOff = settings().mode === 'off';
    const nextMs = isOff ? OFF_MS : probed.probes.tick(clock.nowMs(), this.#times());
    probed.timer = clock.after(nextMs, () => this.#tick(address, probed));
    this.#report(address, probed);
  }

  #times(): ProbeTimes {
    const settings = this.#setup.settings();
    const intervalMs = Math.max(settings.intervalMs, (this.#peers.size / PEERS_PER_SECOND) * 1000);
    return { ...settings, intervalMs, deadAfterMs: Math.max(settings.deadAfterMs, 3 * intervalMs) };
  }

  #take(gateway: IpAddress | undefined, probe: Probe): void {
    const probed = gateway === undefined ? this.#byKey.get(probe.keyLow) : this.#peers.get(gateway);
    if (probed === undefined || !probed.probes.hasKey(probe)) this.#unexpected += 1;
    else if (!probed.probes.answered(probe, this.#setup.clock.nowMs())) this.#unexpected += 1;
    else this.#report(probed.probes.address, probed);
  }

  #answer(gateway: IpAddress, request: Probe): void {
    if (!this.#mayAnswer(gateway)) return;
    this.#setup.send(gateway, { ...request, kind: PROBE_KIND.REPLY }, PROBE_BYTES_MIN);
  }

  #mayAnswer(gateway: IpAddress): boolean {
    const nowMs = this.#setup.clock.nowMs();
    const isAllowed = this.#answersOfPeer.take(gateway, nowMs) && this.#answersOfAll.take(nowMs);
    if (isAllowed) this.#answeredRequests += 1;
    else this.#refusedRequests += 1;
    return isAllowed;
  }

  #report(address: IpAddress, probed: Probed): void {
    const { settings, isNeeded, onUse, onPathMtu } = this.#setup;
    const { mode } = settings();
    const { state, pathMtuBytes } = probed.probes;
    // The hold is to spare flows a second move; those that have nowhere else to go have waited long enough.
    const endsHold = state === 'recovering' && (probed.isUsed || isNeeded(address));
    const isUsed =
      mode === 'off' || state === 'alive' || (state === 'unknown' && mode === 'auto') || endsHold;
    if (isUsed !== probed.isUsed) {
      probed.isUsed = isUsed;
      onUse(address, isUsed, probed.probes.health);
    }
    if (this.#searchesPaths && pathMtuBytes !== 0 && pathMtuBytes !== probed.pathMtuBytes) {
      probed.pathMtuBytes = pathMtuBytes;
      onPathMtu(address, pathMtuBytes);
    }
  }
}

export interface ProbeCounts {
  /** Requests of other gateways that were answered, and those that were too many. */
  readonly answeredRequests: number;
  readonly refusedRequests: number;
  /** Probes that nobody waits for: late, forged, of a former run of this gateway, or of another version. */
  readonly unexpected: number;
}
