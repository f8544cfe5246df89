import { workerData } from 'node:worker_threads';
import { assert } from '../base/assert.ts';
import { systemClock } from '../base/clock.ts';
import { enterEpoch, leaveEpoch } from '../fib/lookup.ts';
import { loadNative } from '../io/load.ts';
import type { Native } from '../io/native.ts';
import { RawIp } from '../io/raw-ip.ts';
import { Tun } from '../io/tun.ts';
import { TOTAL } from './counters.ts';
import { Engine } from './engine.ts';
import { IcmpQueue } from './icmp-queue.ts';
import { CONTROL, type WorkerSetup } from './worker-setup.ts';

/** How long a parked worker sleeps at most; it wakes for a packet at once, and this only bounds how old its overflow count gets. */
const PARK_MS = 1000;

/** When the kernel takes no more packets there is no descriptor to wait for: try again after this. */
const BLOCKED_PARK_MS = 1;

/** Turns between two looks at the control word and the overflow count while packets keep coming. */
const TURNS_PER_CHECK = 64;

/** A mask: asking for the overflow count is a system call, which one packet in a quiet moment should not pay for. */
const PARKS_PER_OVERFLOW_CHECK = 255;

/** Wake-ups in a row without a packet that are taken for chance; then the worker pauses after each. */
const FRUITLESS_MAX = 16;
const FRUITLESS_PAUSE_MS = 20;

const DEVICE_BIT = 1;
const UNDERLAY_BIT = 2;
const READY_BITS = DEVICE_BIT | UNDERLAY_BIT;

function run(setup: WorkerSetup, native: Native): void {
  const words = new Uint32Array(setup.image);
  const counters = new Float64Array(setup.counters);
  const control = new Int32Array(setup.control);
  const icmp = new IcmpQueue(setup.icmpQueue, systemClock);
  const underlay = new RawIp(native, setup.underlayDescriptor, setup.underlaySendDescriptor);
  const engine = new Engine({
    device: new Tun(native, setup.deviceName, setup.deviceDescriptor, true),
    underlay,
    words,
    counters,
    icmp,
    engine: setup.engine,
    engines: setup.engines,
  });
  const descriptors = Int32Array.of(setup.deviceDescriptor, setup.underlayDescriptor, setup.wakeDescriptor);

  let parks = 0;
  let fruitless = 0;
  while (Atomics.load(control, 0) === CONTROL.RUN) {
    // Parked, this reader holds nothing of the FIB image, so an idle worker never delays the reuse of its memory.
    // Packets that wait for a full send queue name their peers by index: until they are gone, the epoch of those indexes is not left.
    if (!engine.isBlocked) leaveEpoch(words, setup.engine);
    const ready = native.poll(descriptors, 3, engine.isBlocked ? BLOCKED_PARK_MS : PARK_MS);
    assert(ready >= 0, 'poll on open descriptors succeeds');
    let moved = 0;
    if ((ready & READY_BITS) !== 0 || engine.isBlocked) {
      for (let turn = 0; turn < TURNS_PER_CHECK; turn++) {
        if (!engine.isBlocked) enterEpoch(words, setup.engine);
        const turned = engine.turn();
        if (turned === 0) break;
        moved = turned;
      }
      // A descriptor that is ready for ever and gives nothing, as that of a device that was removed, must not burn a processor.
      fruitless = moved === 0 ? fruitless + 1 : 0;
      if (fruitless > FRUITLESS_MAX) Atomics.wait(control, 0, CONTROL.RUN, FRUITLESS_PAUSE_MS);
    }
    if (!icmp.isEmpty) native.wakeSignal(setup.icmpDescriptor);
    parks = (parks + 1) & PARKS_PER_OVERFLOW_CHECK;
    if (ready === 0 || parks === 0) counters[TOTAL.OVERFLOWED]! += underlay.takeOverflow();
  }
  // Told to stop: what already waits is still carried, but no endless stream holds up the exit.
  for (let turn = 0; turn < TURNS_PER_CHECK; turn++) {
    if (!engine.isBlocked) enterEpoch(words, setup.engine);
    if (engine.turn() === 0) break;
  }
  leaveEpoch(words, setup.engine);
}

run(workerData as WorkerSetup, loadNative());
