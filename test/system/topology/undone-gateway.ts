import { parseAddress } from '../../../src/base/address.ts';
import { type Batch, receiveBatch, slotBytes } from '../../../src/io/batch.ts';
import { loadNative } from '../../../src/io/load.ts';
import { openTun, type Tun } from '../../../src/io/tun.ts';

/**
 * The other end of a tunnel on the same host: it leaves the inner checksums to a network card, as the kernel does behind a container's
 * veth (CHECKSUM_PARTIAL), and since no card is on the way, nobody fills them in. Packets go out through a TUN device whose vnet
 * header says so, from which the kernel forwards them to the underlay; what the tunnel brings is written to the device it came from.
 *
 *   node undone-gateway.js OWN_ADDRESS PEER_ADDRESS
 */
export const DEVICES = { FROM_PODS: 'undone0', TO_UNDERLAY: 'undone1' } as const;

const BATCH = 64;
const OUTER_BYTES = 20;
const VNET_BYTES = 10;
const NEEDS_CHECKSUM = 1;
const BUFFER_BYTES = 8 << 20;
const IPIP = 4;
const EAGAIN_MS = 1;

const native = loadNative();
const littleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

function batchOf(): Batch {
  return receiveBatch(new Uint8Array(new SharedArrayBuffer(slotBytes(BATCH))), 0, BATCH);
}

/** Sum of 16-bit words, folded. */
function sum(view: DataView, at: number, length: number, first = 0): number {
  let total = first;
  for (let i = 0; i < length; i += 2) total += view.getUint16(at + i);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

/** Puts the outer header and a vnet header before the packet at `at`; its TCP or UDP checksum becomes the pseudo-header's sum. */
function encapsulate(view: DataView, at: number, length: number, own: number, peer: number): void {
  const outer = at - OUTER_BYTES;
  for (let i = outer - VNET_BYTES; i < at; i++) view.setUint8(i, 0);
  view.setUint8(outer, 0x45);
  view.setUint16(outer + 2, OUTER_BYTES + length);
  view.setUint16(outer + 6, 0x4000);
  view.setUint8(outer + 8, 64);
  view.setUint8(outer + 9, IPIP);
  view.setUint32(outer + 12, own);
  view.setUint32(outer + 16, peer);
  view.setUint16(outer + 10, 0xffff - sum(view, outer, OUTER_BYTES));
  const header = (view.getUint8(at) & 15) * 4;
  const protocol = view.getUint8(at + 9);
  const isFragment = (view.getUint16(at + 6) & 0x3fff) !== 0;
  if (isFragment || (protocol !== 6 && protocol !== 17)) return;
  const field = protocol === 6 ? 16 : 6;
  view.setUint16(at + header + field, sum(view, at + 12, 8, protocol + length - header));
  const vnet = outer - VNET_BYTES;
  view.setUint8(vnet, NEEDS_CHECKSUM);
  view.setUint16(vnet + 6, OUTER_BYTES + header, littleEndian);
  view.setUint16(vnet + 8, field, littleEndian);
}

/** Sends all, however often the other side has no room. */
function sendAll(tun: Tun, batch: Batch, count: number): void {
  for (let sent = 0; sent < count; ) {
    const taken = tun.send(batch, sent, count);
    if (taken < 0) throw new Error(`${tun.name}: errno ${-taken}`);
    if (taken === 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, EAGAIN_MS);
    sent += taken;
  }
}

function run(own: number, peer: number): void {
  const fromPods = openTun(native, { name: DEVICES.FROM_PODS, vnetHeader: true });
  const toUnderlay = openTun(native, { name: DEVICES.TO_UNDERLAY, vnetHeader: true });
  const underlay = native.rawOpen(IPIP, BUFFER_BYTES, BUFFER_BYTES);
  if (underlay < 0) throw new Error(`raw socket: errno ${-underlay}`);
  const [out, back] = [batchOf(), batchOf()];
  const [outView, backView] = [out, back].map((batch) => new DataView(batch.bytes.buffer)) as [
    DataView,
    DataView,
  ];
  const waited = Int32Array.of(fromPods.fd, underlay);
  for (;;) {
    native.poll(waited, 2, -1);
    const read = fromPods.receive(out);
    for (let i = 0; i < read; i++) {
      encapsulate(outView, out.at[i]!, out.length[i]!, own, peer);
      out.at[i]! -= OUTER_BYTES;
      out.length[i]! += OUTER_BYTES;
    }
    sendAll(toUnderlay, out, Math.max(0, read));
    const received = native.rawReceive(underlay, back.bytes, back.at, back.length, back.layout, BATCH);
    for (let i = 0; i < received; i++) {
      const at = back.at[i]! + (backView.getUint8(back.at[i]!) & 15) * 4;
      back.length[i]! -= at - back.at[i]!;
      back.at[i] = at;
      for (let vnet = at - VNET_BYTES; vnet < at; vnet++) backView.setUint8(vnet, 0);
    }
    sendAll(fromPods, back, Math.max(0, received));
  }
}

if (process.argv[1]?.endsWith('undone-gateway.js')) {
  run(parseAddress(process.argv[2]!), parseAddress(process.argv[3]!));
}
