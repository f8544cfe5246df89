import assert from 'node:assert/strict';
import { loadNative } from '../../../src/io/load.ts';
import { NextHopTable } from '../../../src/io/next-hop-table.ts';
import type { Burst } from './agent-commands.ts';
import { marker, packetOn, type World } from './traffic.ts';

const SLOT_BYTES = 1536;
const BATCH = 256;
const ANYWHERE = 1;

/** Puts packets on a device as they are, whatever their headers say. */
export class Sender {
  readonly #world: World;
  readonly #native = loadNative();
  readonly #fd: number;
  readonly #hops: Uint32Array;
  readonly #bytes = new Uint8Array(BATCH * SLOT_BYTES);
  readonly #at = Int32Array.from({ length: BATCH }, (_, i) => i * SLOT_BYTES);
  readonly #length = new Int32Array(BATCH);
  readonly #pieces = new Int32Array(BATCH);
  readonly #address = new Uint32Array(BATCH).fill(ANYWHERE);
  readonly #peer = new Int32Array(BATCH);

  constructor(world: World, device: string, mac: string) {
    this.#world = world;
    const table = new NextHopTable(1);
    const address = Uint8Array.from(mac.split(':').map((byte) => Number.parseInt(byte, 16)));
    table.set(0, ANYWHERE, this.#native.deviceIndex(device), address);
    this.#hops = new Uint32Array(table.buffer);
    this.#fd = this.#native.linkOpen(4 << 20);
    assert.ok(this.#fd >= 0, `packet socket: errno ${-this.#fd}`);
  }

  /** Returns what the kernel refused. */
  send({ way, seed, from, count, marker: number }: Burst): string[] {
    assert.ok(count < BATCH, 'a burst and its marker fit a batch');
    const packets = Array.from({ length: count }, (_, i) => packetOn(this.#world, way, seed, from + i));
    packets.push(marker(this.#world, way, number));
    packets.forEach((packet, i) => {
      this.#bytes.set(packet, i * SLOT_BYTES);
      this.#length[i] = packet.length;
    });
    const refused: string[] = [];
    for (let next = 0; next < packets.length; ) {
      const columns = [this.#at, this.#length, this.#pieces, this.#address, this.#peer, this.#hops] as const;
      const sent = this.#native.linkSend(this.#fd, this.#bytes, ...columns, next, packets.length);
      if (sent < 0) refused.push(`packet ${from + next}: errno ${-sent}`);
      next += Math.max(sent, sent < 0 ? 1 : 0);
    }
    return refused;
  }
}
