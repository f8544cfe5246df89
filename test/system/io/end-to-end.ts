import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { formatAddress, parseAddress } from '../../../src/base/address.ts';
import { type Batch, PACKET_BYTES_MAX, receiveBatch, slotBytes } from '../../../src/io/batch.ts';
import { loadNative } from '../../../src/io/load.ts';
import { Netlink } from '../../../src/io/netlink.ts';
import type { PacketIo } from '../../../src/io/packet-io.ts';
import { openTun, type Tun, type TunOptions } from '../../../src/io/tun.ts';
import { VNET } from '../../../src/packet/vnet.ts';
import { ipv4, PROTOCOL, pattern } from '../topology/packet-builder.ts';

export const native = loadNative();

/** This host on the device's subnet, and a neighbour that exists only as what the test writes into the device. */
export const HERE = parseAddress('10.77.0.1');
export const THERE = parseAddress('10.77.0.2');

/** The largest MTU that a TUN device takes: whole IPv4 packets of any size. */
const MTU_BYTES = 65_535;

let devices = 0;

/** A TUN device of its own with address HERE/24, up. Closing it removes it. */
export function openDevice(options: Partial<TunOptions> = {}): Tun {
  const tun = openTun(native, { name: `io${devices++}`, ...options });
  // The kernel would send IPv6 router solicitations and multicast reports into the device.
  writeFileSync(`/proc/sys/net/ipv6/conf/${tun.name}/disable_ipv6`, '1');
  const netlink = new Netlink(native);
  const index = native.deviceIndex(tun.name);
  netlink.setLink(index, { mtuBytes: MTU_BYTES, txQueueLength: 5000, up: true });
  netlink.addAddress(index, { address: HERE, prefixLength: 24 });
  netlink.close();
  return tun;
}

export function batchOf(capacity: number): Batch {
  return receiveBatch(new Uint8Array(new SharedArrayBuffer(slotBytes(capacity))), 0, capacity);
}

/** Outer packet number `number` of `length` bytes; the identification is set, since the kernel would choose one instead of 0. */
export function outer(number: number, length: number, source = THERE, destination = HERE): Buffer {
  return ipv4({
    source: formatAddress(source),
    destination: formatAddress(destination),
    protocol: PROTOCOL.IPIP,
    payload: pattern(7, number, length - 20),
    id: (number % 65_000) + 1,
    dontFragment: true,
  });
}

export function put(batch: Batch, slot: number, packet: Uint8Array, address = 0): void {
  // A large slot, which holds any packet.
  batch.at[slot] = batch.roomFor(slot, PACKET_BYTES_MAX);
  batch.pieces[slot] = 0;
  // A device with vnet headers reads one that says nothing.
  batch.bytes.fill(0, batch.at[slot]! - VNET.BYTES, batch.at[slot]!);
  batch.bytes.set(packet, batch.at[slot]!);
  batch.length[slot] = packet.length;
  batch.address[slot] = address;
}

export function get(batch: Batch, slot: number): Buffer {
  const at = batch.at[slot]!;
  return Buffer.from(batch.bytes.slice(at, at + batch.length[slot]!));
}

/** Sends `packets` in calls of at most a batch; fails when the kernel stops taking them. */
export function sendAll(io: PacketIo, batch: Batch, packets: readonly Uint8Array[], address = 0): void {
  for (let done = 0; done < packets.length; ) {
    const count = Math.min(batch.capacity, packets.length - done);
    for (let slot = 0; slot < count; slot++) put(batch, slot, packets[done + slot]!, address);
    const sent = io.send(batch, 0, count);
    assert.ok(sent > 0, `packet ${done} of ${packets[done]!.length} bytes is taken: ${sent}`);
    done += sent;
  }
}

/** Receives until `count` packets are there or the deadline has passed. */
export function receiveAll(io: PacketIo & { readonly fd: number }, batch: Batch, count: number): Buffer[] {
  const packets: Buffer[] = [];
  const deadline = performance.now() + 5000;
  while (packets.length < count && performance.now() < deadline) {
    native.poll(Int32Array.of(io.fd), 1, 100);
    const received = io.receive(batch);
    assert.ok(received >= 0, `receive: ${received}`);
    for (let slot = 0; slot < received; slot++) packets.push(get(batch, slot));
  }
  return packets;
}
