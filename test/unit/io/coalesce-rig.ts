import assert from 'node:assert/strict';
import { loadNative } from '../../../src/io/load.ts';
import { COALESCE, type Native } from '../../../src/io/native.ts';
import { VNET } from '../../../src/packet/vnet.ts';
import type { Vnet } from './kernel-cut.ts';

export interface Entry {
  readonly vnet: Vnet;
  /** Gathered. */
  readonly packet: Uint8Array;
  readonly peer: number;
  readonly packets: number;
  readonly innerBytes: number;
}

export interface Dropped {
  readonly peer: number;
  readonly innerBytes: number;
}

export interface Outcome {
  readonly entries: readonly Entry[];
  readonly dropped: readonly Dropped[];
}

export interface CoalesceOptions {
  readonly mtu?: number;
  readonly features?: number;
  readonly peers?: readonly number[];
  /** Room for (at, length) pairs. */
  readonly pairs?: number;
}

const HEADROOM = 64;
const CANARY = 0xa5;
const PAIRS = 256;
export const MTU = 1480;

const native: Native = loadNative();
const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** One call over copies of `packets`, each behind its headroom; fails when anything outside them and their vnet headers was written. */
export function coalesce(packets: readonly Uint8Array[], options: CoalesceOptions = {}): Outcome {
  const capacity = packets.length + 2;
  const bytes = new Uint8Array(packets.reduce((sum, packet) => sum + HEADROOM + packet.length, HEADROOM));
  bytes.fill(CANARY);
  const column = (): Int32Array => new Int32Array(capacity).fill(-7);
  const [at, length, peer, count, innerBytes] = [column(), column(), column(), column(), column()];
  const pieces = new Int32Array(capacity + 2 * (options.pairs ?? PAIRS)).fill(-7);
  let next = HEADROOM;
  for (const [index, packet] of packets.entries()) {
    bytes.set(packet, next);
    at[index] = next;
    length[index] = packet.length;
    peer[index] = options.peers?.[index] ?? 3;
    count[index] = 1;
    innerBytes[index] = packet.length;
    next += packet.length + HEADROOM;
  }
  const slots = packets.map((packet, index) => ({ at: at[index]!, length: packet.length }));
  const result = native.coalesce(
    ...([bytes, at, length, peer, count, innerBytes, pieces] as const),
    ...([packets.length, options.mtu ?? MTU, options.features ?? 0] as const),
  );
  assertCanaries(bytes, slots);
  const kept = result % COALESCE.DROPPED;
  const drops = Math.floor(result / COALESCE.DROPPED);
  let pair = capacity;
  const entries = Array.from({ length: kept }, (_, index): Entry => {
    const pairs = pieces[index]!;
    const tail = Array.from({ length: pairs }, (_, k) =>
      slice(bytes, pieces[pair + 2 * k]!, pieces[pair + 2 * k + 1]!),
    );
    pair += 2 * pairs;
    const first = length[index]! - tail.reduce((sum, piece) => sum + piece.length, 0);
    return {
      vnet: vnetOf(bytes, at[index]! - VNET.BYTES),
      packet: new Uint8Array(Buffer.concat([slice(bytes, at[index]!, first), ...tail])),
      ...{ peer: peer[index]!, packets: count[index]!, innerBytes: innerBytes[index]! },
    };
  });
  const dropped = Array.from({ length: drops }, (_, index) => ({
    ...{ peer: peer[kept + index]!, innerBytes: innerBytes[kept + index]! },
  }));
  return { entries, dropped };
}

function slice(bytes: Uint8Array, at: number, length: number): Uint8Array {
  assert.ok(at >= 0 && length >= 0 && at + length <= bytes.length);
  return bytes.slice(at, at + length);
}

function assertCanaries(bytes: Uint8Array, slots: readonly { at: number; length: number }[]): void {
  let from = 0;
  for (const slot of [...slots, { at: bytes.length + VNET.BYTES, length: 0 }]) {
    const gap = bytes.subarray(from, slot.at - VNET.BYTES);
    assert.ok(
      gap.every((byte) => byte === CANARY),
      'only packets and their vnet headers are written',
    );
    from = slot.at + slot.length;
  }
}

function vnetOf(bytes: Uint8Array, at: number): Vnet {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, VNET.BYTES);
  return {
    flags: view.getUint8(0),
    gsoType: view.getUint8(1),
    headerLength: view.getUint16(2, LITTLE_ENDIAN),
    gsoSize: view.getUint16(4, LITTLE_ENDIAN),
    checksumStart: view.getUint16(6, LITTLE_ENDIAN),
    checksumOffset: view.getUint16(8, LITTLE_ENDIAN),
  };
}
