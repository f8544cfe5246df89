import { parentPort, workerData } from 'node:worker_threads';
import { receiveBatch, slotBytes } from '../../../src/io/batch.ts';
import { loadNative } from '../../../src/io/load.ts';
import { RawIp } from '../../../src/io/raw-ip.ts';

/** A worker that counts packets on a socket and tells their number whenever it is woken. */
export interface EchoSetup {
  readonly underlay: number;
  readonly wake: number;
  /** One Int32: not 0 ends the worker when it is woken next. */
  readonly control: SharedArrayBuffer;
  /** Only watch the wake descriptor on the event loop, until told to end or terminated. */
  readonly hold: boolean;
}

function run(setup: EchoSetup): void {
  const port = parentPort!;
  const native = loadNative();
  if (setup.hold) {
    native.watch(setup.wake, () => {});
    port.on('message', () => process.exit(0));
    port.postMessage(0);
    return;
  }
  const batch = receiveBatch(new Uint8Array(new SharedArrayBuffer(slotBytes(64))), 0, 64);
  const socket = new RawIp(native, { fd: setup.underlay });
  const fds = Int32Array.of(setup.underlay, setup.wake);
  let count = 0;
  port.postMessage(-1);
  const control = new Int32Array(setup.control);
  while (Atomics.load(control, 0) === 0) {
    const ready = native.poll(fds, 2, -1);
    if ((ready & 1) !== 0) count += Math.max(0, socket.receive(batch));
    if ((ready & 2) !== 0) {
      native.wakeDrain(setup.wake);
      port.postMessage(count);
    }
  }
}

run(workerData as EchoSetup);
