import { Worker } from 'node:worker_threads';
import type { Address } from '../base/address.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { GatewayError, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { PEERS_MAX } from '../fib/layout.ts';
import type { Native } from '../io/native.ts';
import type { NextHopTable } from '../io/next-hop-table.ts';
import { counterBytes, PEER_CELLS, peerCell } from './counters.ts';
import { ICMP_QUEUE_BYTES, IcmpQueue, type SendIcmp, type SendIcmp6, type TakeProbe } from './icmp-queue.ts';
import { type Encapsulation, SENT_HEADERS_BYTES, SentHeaders } from './sent-headers.ts';
import { CONTROL, CONTROL_BYTES, CONTROL_CELL, type WorkerSetup } from './worker-setup.ts';

/** A packet engine and the means to stop it: worker threads, or the portable engine on the main thread. */
export interface Dataplane {
  /** One counter block for each engine. */
  readonly counterBlocks: readonly Float64Array[];
  readonly restarts: number;
  readonly running: number;
  readonly configured: number;
  /** Which peers packets leave straight to the next hop of; undefined when all take the kernel's way. */
  readonly nextHops: NextHopTable | undefined;
  /** What of a packet that was sent lately is still known: SentHeaders.recall, of whichever engine sent it. */
  recallSent(gateway: Address, id: number, bytes: Uint8Array, at: number, out: Uint8Array): boolean;
  /** Zeroes what was counted for a peer whose index goes to another one. */
  clearPeer(peer: number): void;
  /** Resolves when no engine touches a descriptor any more. Idempotent. */
  stop(): Promise<void>;
}

/** Who takes what the engines leave to the main thread. */
export interface SlowPath {
  readonly sendIcmp: SendIcmp;
  readonly sendIcmp6: SendIcmp6;
  /** A probe came out of the tunnel, from a gateway in the FIB image. */
  readonly onProbe: TakeProbe;
}

export interface WorkersSetup {
  readonly native: Native;
  readonly deviceName: string;
  readonly encapsulation: Encapsulation;
  /** One TUN queue and one underlay socket for each worker. The caller keeps owning them and closes them after `stop`. */
  readonly descriptors: readonly {
    readonly device: number;
    readonly underlay: number;
    readonly underlaySend: number;
    readonly underlayIpv6?: number | undefined;
    /** Of `openPacketSocket`; only with `nextHops`. */
    readonly packetSocket?: number;
  }[];
  /** Longest time that a worker looks for packets without sleeping; see busy-poll.ts. */
  readonly spinMaxUs: number;
  /** COALESCE bits: what the device takes merged besides TCP. */
  readonly coalesceFeatures: number;
  /** For the packet sockets. */
  readonly nextHops?: NextHopTable | undefined;
  readonly image: SharedArrayBuffer;
  /** Says that reader `engine` of the FIB image is gone. */
  readonly forgetReader: (engine: number) => void;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly slowPath: SlowPath;
  /** The program of a worker; tests pass one that dies. */
  readonly program?: URL;
}

/** A worker that dies at once each time must not keep a core busy: the pause doubles up to the maximum, and starts over after a quiet time. */
export const RESTART_DELAY_MS_MIN = 10;
export const RESTART_DELAY_MS_MAX = 5000;
export const RESTART_QUIET_MS = 30_000;

interface Slot {
  readonly setup: WorkerSetup;
  readonly icmp: IcmpQueue;
  readonly sent: SentHeaders;
  readonly counters: Float64Array;
  worker: Worker | undefined;
  startedMs: number;
  delayMs: number;
  timer: Timer | undefined;
  exited: Promise<void>;
}

/**
 * Worker threads, each with a TUN queue and an underlay socket of its own. The descriptors belong to the main thread: when a worker
 * dies its queue stays attached, packets wait in it, and the worker's successor takes them up. The other workers notice nothing.
 */
export class WorkerPlane implements Dataplane {
  readonly #options: WorkersSetup;
  readonly #slots: Slot[] = [];
  readonly #icmpWatcher: object;
  readonly #icmpDescriptor: number;
  #stopping = false;
  #restarts = 0;

  constructor(options: WorkersSetup) {
    this.#options = options;
    const { native } = options;
    this.#icmpDescriptor = openWake(native);
    this.#icmpWatcher = native.watch(this.#icmpDescriptor, () => this.#drainIcmp());
    for (let engine = 0; engine < options.descriptors.length; engine++) this.#slots.push(this.#slot(engine));
    for (const slot of this.#slots) this.#start(slot);
  }

  get counterBlocks(): readonly Float64Array[] {
    return this.#slots.map((slot) => slot.counters);
  }

  get restarts(): number {
    return this.#restarts;
  }

  get configured(): number {
    return this.#slots.length;
  }

  get nextHops(): NextHopTable | undefined {
    return this.#options.nextHops;
  }

  get running(): number {
    return this.#slots.filter((slot) => slot.worker !== undefined).length;
  }

  recallSent(gateway: Address, id: number, bytes: Uint8Array, at: number, out: Uint8Array): boolean {
    return this.#slots.some(({ sent }) => sent.recall(gateway, id, bytes, at, out));
  }

  clearPeer(peer: number): void {
    for (const { counters } of this.#slots) counters.fill(0, peerCell(peer), peerCell(peer) + PEER_CELLS);
  }

  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    const { native } = this.#options;
    for (const slot of this.#slots) {
      slot.timer?.cancel();
      Atomics.store(new Int32Array(slot.setup.control), CONTROL_CELL, CONTROL.STOP);
      native.wakeSignal(slot.setup.wakeDescriptor);
    }
    await Promise.all(this.#slots.map((slot) => slot.exited));
    this.#drainIcmp();
    native.unwatch(this.#icmpWatcher);
    native.close(this.#icmpDescriptor);
    for (const slot of this.#slots) native.close(slot.setup.wakeDescriptor);
  }

  #slot(engine: number): Slot {
    const { native, deviceName, encapsulation, descriptors, nextHops, image, clock } = this.#options;
    const { spinMaxUs, coalesceFeatures } = this.#options;
    const descriptor = descriptors[engine]!;
    const counters = new SharedArrayBuffer(counterBytes(PEERS_MAX));
    const icmpQueue = new SharedArrayBuffer(ICMP_QUEUE_BYTES);
    const sentHeaders = new SharedArrayBuffer(SENT_HEADERS_BYTES);
    return {
      setup: {
        engine,
        engines: descriptors.length,
        deviceName,
        encapsulation,
        deviceDescriptor: descriptor.device,
        underlayDescriptor: descriptor.underlay,
        underlaySendDescriptor: descriptor.underlaySend,
        underlayIpv6Descriptor: descriptor.underlayIpv6,
        packetSocket:
          nextHops === undefined || descriptor.packetSocket === undefined
            ? undefined
            : { descriptor: descriptor.packetSocket, nextHops: nextHops.buffer },
        wakeDescriptor: openWake(native),
        icmpDescriptor: this.#icmpDescriptor,
        spinMaxUs,
        coalesceFeatures,
        image,
        counters,
        icmpQueue,
        sentHeaders,
        control: new SharedArrayBuffer(CONTROL_BYTES),
      },
      icmp: new IcmpQueue(icmpQueue, clock),
      sent: new SentHeaders(sentHeaders, encapsulation),
      counters: new Float64Array(counters),
      worker: undefined,
      startedMs: 0,
      delayMs: RESTART_DELAY_MS_MIN,
      timer: undefined,
      exited: Promise.resolve(),
    };
  }

  #start(slot: Slot): void {
    const { clock, logger, program } = this.#options;
    const worker = new Worker(program ?? new URL('./worker.js', import.meta.url), {
      workerData: slot.setup,
      name: `isthmus-${slot.setup.engine}`,
      // A packet loop makes no garbage; a small young generation keeps a fleet of workers cheap.
      resourceLimits: { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64 },
    });
    slot.worker = worker;
    slot.startedMs = clock.nowMs();
    let failure: unknown;
    worker.on('error', (error) => {
      failure = error;
    });
    slot.exited = new Promise((resolve) => {
      worker.on('exit', (code) => {
        slot.worker = undefined;
        // The dead reader would hold every retired block of the FIB image for ever.
        this.#options.forgetReader(slot.setup.engine);
        resolve();
        if (!this.#stopping) this.#restartLater(slot, failure, code);
      });
    });
    logger.debug({ worker: slot.setup.engine }, 'packet worker started');
  }

  #restartLater(slot: Slot, failure: unknown, exitCode: number): void {
    const { clock, logger } = this.#options;
    this.#restarts += 1;
    const quiet = clock.nowMs() - slot.startedMs >= RESTART_QUIET_MS;
    const delayMs = quiet ? RESTART_DELAY_MS_MIN : slot.delayMs;
    slot.delayMs = Math.min(RESTART_DELAY_MS_MAX, delayMs * 2);
    const reason = failure === undefined ? `exit code ${exitCode}` : messageOf(failure);
    logger.error(
      { code: 'ISTHMUS_ERR_WORKER', worker: slot.setup.engine, reason, restartInMs: delayMs },
      'packet worker died; its queue waits for the next one, the other workers go on',
    );
    slot.timer = clock.after(delayMs, () => {
      if (!this.#stopping) this.#start(slot);
    });
  }

  #drainIcmp(): void {
    const { native, slowPath } = this.#options;
    native.wakeDrain(this.#icmpDescriptor);
    for (const slot of this.#slots) slot.icmp.drain(slowPath.sendIcmp, slowPath.onProbe, slowPath.sendIcmp6);
  }
}

function openWake(native: Native): number {
  const descriptor = native.wakeOpen();
  if (descriptor < 0) {
    throw new GatewayError(
      'ISTHMUS_ERR_IO',
      `eventfd: error ${-descriptor}; is the limit of open files (ulimit -n) reached?`,
    );
  }
  return descriptor;
}
