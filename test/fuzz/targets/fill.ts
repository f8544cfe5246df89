import type { Batch } from '../../../src/io/batch.ts';
import { VNET } from '../../../src/packet/vnet.ts';

const HEADER_BYTES_MAX = 60;

/** Puts packets into a receive batch, as a device or a socket does; `vnets` go before them. */
export function fill(batch: Batch, packets: readonly Uint8Array[], vnets: readonly Uint8Array[] = []): void {
  packets.forEach((packet, i) => {
    const at = batch.roomFor(i, packet.length);
    // What other packets left around it must not be what this one is judged by: an input is to come to the same each time.
    batch.bytes.fill(0, at - VNET.BYTES, at);
    batch.bytes.fill(0, at + packet.length, at + packet.length + HEADER_BYTES_MAX);
    if (vnets[i] !== undefined) batch.bytes.set(vnets[i], at - VNET.BYTES);
    batch.bytes.set(packet, at);
    batch.at[i] = at;
    batch.length[i] = packet.length;
  });
  batch.count = packets.length;
}
