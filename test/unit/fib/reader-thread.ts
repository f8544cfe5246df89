import { parentPort, workerData } from 'node:worker_threads';
import { PEER } from '../../../src/fib/layout.ts';
import { enterEpoch, leaveEpoch, lookup, peerWord, pickPeer } from '../../../src/fib/lookup.ts';

export interface ReaderTask {
  readonly reader: number;
  readonly image: SharedArrayBuffer;
  /** Word 0: set to end. Word 1: how many readers have begun. */
  readonly control: SharedArrayBuffer;
  /** Addresses that must always have a gateway. */
  readonly addresses: Uint32Array;
  /** The gateways that each of them may have, as bits: bit b stands for `gatewayBase + b`. */
  readonly allowed: Uint32Array;
  readonly gatewayBase: number;
}

export interface ReaderReport {
  readonly lookups: number;
  /** The first wrong answers, in words. */
  readonly wrong: readonly string[];
}

const WRONG_MAX = 5;
const BATCH = 64;

function read(task: ReaderTask): ReaderReport {
  const { reader, addresses, allowed, gatewayBase } = task;
  const words = new Uint32Array(task.image);
  const control = new Int32Array(task.control);
  const wrong: string[] = [];
  let lookups = 0;
  let at = reader * 31;
  Atomics.add(control, 1, 1);
  while (Atomics.load(control, 0) === 0 && wrong.length < WRONG_MAX) {
    enterEpoch(words, reader);
    for (let i = 0; i < BATCH; i++) {
      at = (at + 1) % addresses.length;
      const group = lookup(words, addresses[at]!);
      const peer = pickPeer(words, group, Math.imul(lookups + i, 0x9e37_79b1));
      const gateway = peer < 0 ? -1 : peerWord(words, peer, PEER.ADDRESS) - gatewayBase;
      if (gateway < 0 || gateway > 31 || ((allowed[at]! >>> gateway) & 1) === 0) {
        wrong.push(`address ${addresses[at]} group ${group} peer ${peer} gateway ${gateway}`);
      }
    }
    lookups += BATCH;
    if ((lookups & 1023) === 0) leaveEpoch(words, reader);
  }
  leaveEpoch(words, reader);
  return { lookups, wrong };
}

parentPort?.postMessage(read(workerData as ReaderTask));
