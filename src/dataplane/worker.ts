import { workerData } from 'node:worker_threads';
import { assert } from '../base/assert.ts';
import { systemClock } from '../base/clock.ts';
import { enterEpoch, leaveEpoch } from '../fib/lookup.ts';
import { loadNative } from '../io/load.ts';
import { type Native, WAIT_CELL } from '../io/native.ts';
import type { PacketIo } from '../io/packet-io.ts';
import { PacketSender, SENT } from '../io/packet-sender.ts';
import { RawIp } from '../io/raw-ip.ts';
import { Tun } from '../io/tun.ts';
import { SpinWindow } from './busy-poll.ts';
import { TOTAL } from './counters.ts';
import { Engine, READY } from './engine.ts';
import { IcmpQueue } from './icmp-queue.ts';
import { SentHeaders } from './sent-headers.ts';
import { CONTROL, CONTROL_CELL, type WorkerSetup } from './worker-setup.ts';

/** How long a parked worker sleeps at most; it wakes for a packet at once, and this only bounds how old its overflow count gets. */
const PARK_MS = 1000;

/** When the kernel takes no more packets there is no descriptor to wait for: try again after this. */
const BLOCKED_PARK_MS = 1;

/** Told to stop: what already waits is still carried, but no endless stream holds up the exit. */
const TURNS_AT_STOP = 64;

/** A mask: asking for the overflow count is a system call, which few turns should pay for. */
const TURNS_PER_OVERFLOW_CHECK = 255;

/** Wake-ups in a row without a packet that are taken for chance; then the worker pauses after each. */
const FRUITLESS_MAX = 16;
const FRUITLESS_PAUSE_MS = 20;

const READY_BITS = READY.DEVICE | READY.UNDERLAY | READY.UNDERLAY_IPV6;

/** Descriptors of a wait: the sides in the order of their READY bits, and what wakes us. */
const DESCRIPTORS = 4;

function run(setup: WorkerSetup, native: Native): void {
  const words = new Uint32Array(setup.image);
  const counters = new Float64Array(setup.counters);
  const control = new Int32Array(setup.control);
  const icmp = new IcmpQueue(setup.icmpQueue, systemClock);
  const family = setup.encapsulation === 'ipip6' ? 6 : 4;
  const underlay = new RawIp(native, {
    fd: setup.underlayDescriptor,
    sendFd: setup.underlaySendDescriptor,
    family,
  });
  const { underlayIpv6Descriptor: fd } = setup;
  const underlayIpv6 = fd === undefined ? undefined : new RawIp(native, { fd, protocol: 'ipv6', family });
  const device = new Tun(native, setup.deviceName, setup.deviceDescriptor, true);
  const engine = new Engine({
    device,
    underlay: sender(setup, native, underlay, counters),
    underlayIpv6,
    offload: native,
    coalesceFeatures: setup.coalesceFeatures,
    words,
    counters,
    icmp,
    sent: new SentHeaders(setup.sentHeaders, setup.encapsulation),
    engine: setup.engine,
    engines: setup.engines,
  });
  const waiting = new Waiting(setup, native, engine);

  // What an earlier worker of this number counted stays counted.
  const callsBefore = counters[TOTAL.SYSTEM_CALLS]!;
  let turns = 0;
  let fruitless = 0;
  while (Atomics.load(control, CONTROL_CELL) === CONTROL.RUN) {
    // Waiting, this reader holds nothing of the FIB image, so an idle worker never delays the reuse of its memory.
    // Packets that wait for a full send queue name their peers by index: until they are gone, the epoch of those indexes is not left.
    if (!engine.isBlocked) leaveEpoch(words, setup.engine);
    const ready = waiting.wait();
    if ((ready & READY_BITS) !== 0 || engine.isBlocked) {
      if (!engine.isBlocked) enterEpoch(words, setup.engine);
      // One turn for one look: only the side that has packets is read, and the next look costs less than a read that finds nothing.
      const moved = engine.turn(ready);
      // A descriptor that is ready for ever and gives nothing, as that of a device that was removed, must not burn a processor.
      fruitless = moved === 0 ? fruitless + 1 : 0;
      if (fruitless > FRUITLESS_MAX) Atomics.wait(control, CONTROL_CELL, CONTROL.RUN, FRUITLESS_PAUSE_MS);
    }
    if (!icmp.isEmpty) {
      native.wakeSignal(setup.icmpDescriptor);
      waiting.calls[0]! += 1;
    }
    turns = (turns + 1) & TURNS_PER_OVERFLOW_CHECK;
    if (ready === 0 || turns === 0) {
      counters[TOTAL.OVERFLOWED]! += underlay.takeOverflow();
      waiting.calls[0]! += 1;
      if (underlayIpv6 !== undefined) {
        counters[TOTAL.OVERFLOWED]! += underlayIpv6.takeOverflow();
        waiting.calls[0]! += 1;
      }
    }
    counters[TOTAL.SYSTEM_CALLS] =
      callsBefore +
      waiting.calls[0]! +
      device.calls[0]! +
      underlay.calls[0]! +
      (underlayIpv6 === undefined ? 0 : underlayIpv6.calls[0]!);
  }
  for (let turn = 0; turn < TURNS_AT_STOP; turn++) {
    if (!engine.isBlocked) enterEpoch(words, setup.engine);
    if (engine.turn() === 0) break;
  }
  leaveEpoch(words, setup.engine);
}

/** Looks for packets: first without sleeping, for as long as that has lately been worth it, then asleep. */
class Waiting {
  /** System calls made, as `PacketIo.calls`. */
  readonly calls = new Float64Array(1);
  readonly #setup: WorkerSetup;
  readonly #native: Native;
  readonly #engine: Engine;
  /**
   * One for each mask of sides that had packets last: the answer to a request comes soon, the next request after an answer may not. One
   * window for all would be grown by the first, wasted on the second, and keep a processor from whoever makes the next request.
   */
  readonly #windows: readonly SpinWindow[];
  #last = 0;
  readonly #descriptors: Int32Array;
  readonly #spent = new Int32Array(2);

  constructor(setup: WorkerSetup, native: Native, engine: Engine) {
    this.#setup = setup;
    this.#native = native;
    this.#engine = engine;
    this.#windows = Array.from({ length: READY_BITS + 1 }, () => new SpinWindow(setup.spinMaxUs));
    this.#descriptors = Int32Array.of(0, 0, -1, setup.wakeDescriptor);
  }

  /** A mask of READY bits, and of one more for the descriptor that wakes us; 0 after a while without anything. */
  wait(): number {
    const blocked = this.#engine.blocked;
    const descriptors = this.#descriptors;
    // A side whose packets cannot go on is not read; its descriptor, ready all the time, would keep us from sleeping.
    descriptors[0] = (blocked & READY.DEVICE) === 0 ? this.#setup.deviceDescriptor : -1;
    descriptors[1] = (blocked & READY.UNDERLAY) === 0 ? this.#setup.underlayDescriptor : -1;
    descriptors[2] = (blocked & READY.UNDERLAY_IPV6) === 0 ? (this.#setup.underlayIpv6Descriptor ?? -1) : -1;
    const isBlocked = blocked !== 0;
    const parkMs = isBlocked ? BLOCKED_PARK_MS : PARK_MS;
    const window = this.#windows[this.#last]!;
    const ready = this.#native.wait(descriptors, DESCRIPTORS, parkMs, isBlocked ? 0 : window.us, this.#spent);
    assert(ready >= 0, 'poll on open descriptors succeeds');
    this.calls[0]! += this.#spent[WAIT_CELL.CALLS]!;
    if (!isBlocked) window.learn(this.#spent[WAIT_CELL.MICROSECONDS]!);
    this.#last = ready & READY_BITS;
    return ready;
  }
}

/** What packets for the underlay leave by. */
function sender(setup: WorkerSetup, native: Native, raw: RawIp, counters: Float64Array): PacketIo {
  const { packetSocket } = setup;
  if (packetSocket === undefined) return raw;
  const first = TOTAL.SENT_BY_PACKET_SOCKET;
  return new PacketSender({
    native,
    fd: packetSocket.descriptor,
    raw,
    hops: new Uint32Array(packetSocket.nextHops),
    sent: counters.subarray(first, first + SENT.CELLS),
  });
}

run(workerData as WorkerSetup, loadNative());
