import type { Address } from '../base/address.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { PEERS_MAX } from '../fib/layout.ts';
import { enterEpoch, leaveEpoch } from '../fib/lookup.ts';
import type { Native } from '../io/native.ts';
import type { PacketIo } from '../io/packet-io.ts';
import { counterBytes, PEER_CELLS, peerCell, TOTAL } from './counters.ts';
import { Engine } from './engine.ts';
import { ICMP_QUEUE_BYTES, IcmpQueue } from './icmp-queue.ts';
import type { Dataplane, SlowPath } from './plane.ts';
import { SENT_HEADERS_BYTES, SentHeaders } from './sent-headers.ts';

interface PortableUnderlay extends PacketIo {
  /** Calls `wake` when packets wait. */
  onReady(wake: () => void): void;
  /** Those for which the kernel had no room. */
  readonly dropped: number;
}

export interface PortableSetup {
  readonly native: Native;
  readonly device: PacketIo;
  readonly deviceDescriptor: number;
  readonly encapsulation: 'ipip' | 'fou';
  readonly underlay: PortableUnderlay;
  /** Of protocol 41; undefined where IPv6 comes in by the one above. */
  readonly underlayIpv6: PortableUnderlay | undefined;
  /** COALESCE bits: what the device takes merged besides TCP. */
  readonly coalesceFeatures: number;
  readonly image: SharedArrayBuffer;
  readonly clock: Clock;
  readonly slowPath: SlowPath;
}

/** Turns in a row before the event loop gets its turn: timers, the admin API and the watchers live on the same thread. */
const TURNS_IN_A_ROW = 8;

/** When the underlay takes no more packets: look again after this. */
const BLOCKED_RETRY_MS = 1;

/** What already waits is still carried when the engine stops, but no endless stream holds up the exit. */
const TURNS_AT_STOP = 64;

const READER = 0;

/**
 * The same engine on the main thread, for the npm package `raw-socket`, which works nowhere else: it binds to the main event loop. It
 * is driven by readiness events instead of a blocking poll.
 */
export class PortablePlane implements Dataplane {
  readonly nextHops = undefined;
  readonly #setup: PortableSetup;
  readonly #engine: Engine;
  readonly #words: Uint32Array;
  readonly #counters: Float64Array;
  readonly #icmp: IcmpQueue;
  readonly #sent: SentHeaders;
  #watcher: object | undefined;
  #scheduled: NodeJS.Immediate | undefined;
  #retry: Timer | undefined;
  #stopped = false;

  constructor(setup: PortableSetup) {
    this.#setup = setup;
    this.#sent = new SentHeaders(new SharedArrayBuffer(SENT_HEADERS_BYTES), setup.encapsulation);
    this.#words = new Uint32Array(setup.image);
    this.#counters = new Float64Array(new SharedArrayBuffer(counterBytes(PEERS_MAX)));
    this.#icmp = new IcmpQueue(new SharedArrayBuffer(ICMP_QUEUE_BYTES), setup.clock);
    this.#engine = new Engine({
      device: setup.device,
      underlay: setup.underlay,
      underlayIpv6: setup.underlayIpv6,
      offload: setup.native,
      coalesceFeatures: setup.coalesceFeatures,
      words: this.#words,
      counters: this.#counters,
      icmp: this.#icmp,
      sent: this.#sent,
      engine: READER,
      engines: 1,
    });
    setup.underlay.onReady(() => this.#run());
    setup.underlayIpv6?.onReady(() => this.#run());
    this.#watcher = setup.native.watch(setup.deviceDescriptor, () => this.#run());
  }

  get counterBlocks(): readonly Float64Array[] {
    // Asked for when somebody looks: it is a system call.
    const { underlay, underlayIpv6 } = this.#setup;
    if (!this.#stopped) this.#counters[TOTAL.OVERFLOWED] = underlay.dropped + (underlayIpv6?.dropped ?? 0);
    return [this.#counters];
  }

  get restarts(): number {
    return 0;
  }

  get configured(): number {
    return 1;
  }

  get running(): number {
    return this.#stopped ? 0 : 1;
  }

  recallSent(gateway: Address, id: number, bytes: Uint8Array, at: number, out: Uint8Array): boolean {
    return this.#sent.recall(gateway, id, bytes, at, out);
  }

  clearPeer(peer: number): void {
    this.#counters.fill(0, peerCell(peer), peerCell(peer) + PEER_CELLS);
  }

  stop(): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    this.#turns(TURNS_AT_STOP);
    this.#stopped = true;
    this.#retry?.cancel();
    if (this.#watcher !== undefined) this.#setup.native.unwatch(this.#watcher);
    this.#watcher = undefined;
    clearImmediate(this.#scheduled);
    return Promise.resolve();
  }

  #run(): void {
    if (this.#stopped) return;
    const moved = this.#turns(TURNS_IN_A_ROW);
    if (moved > 0) this.#again();
    else if (this.#engine.isBlocked) this.#retryLater();
  }

  /** Turns until nothing moves, `most` at most. Returns what the last one moved. */
  #turns(most: number): number {
    // Packets that wait for a full send queue name their peers by index: until they are gone, the epoch of those indexes is not left.
    if (!this.#engine.isBlocked) enterEpoch(this.#words, READER);
    let moved = 0;
    for (let turn = 0; turn < most; turn++) {
      moved = this.#engine.turn();
      if (moved === 0) break;
    }
    if (!this.#engine.isBlocked) leaveEpoch(this.#words, READER);
    const { device, underlay, underlayIpv6, slowPath } = this.#setup;
    if (!this.#icmp.isEmpty) this.#icmp.drain(slowPath.sendIcmp, slowPath.onProbe, slowPath.sendIcmp6);
    this.#counters[TOTAL.SYSTEM_CALLS] =
      device.calls[0]! + underlay.calls[0]! + (underlayIpv6?.calls[0] ?? 0);
    return moved;
  }

  #retryLater(): void {
    this.#retry ??= this.#setup.clock.after(BLOCKED_RETRY_MS, () => {
      this.#retry = undefined;
      this.#run();
    });
  }

  #again(): void {
    if (this.#scheduled !== undefined) return;
    this.#scheduled = setImmediate(() => {
      this.#scheduled = undefined;
      this.#run();
    });
  }
}
