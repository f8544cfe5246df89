import { type Address, formatAddress } from '../base/address.ts';
import { GatewayError, messageOf } from '../base/errors.ts';
import type { Native } from '../io/native.ts';
import type { Netlink } from '../io/netlink.ts';
import { openTun, type Tun } from '../io/tun.ts';
import { type HostProblem, prepareDeviceSysctls } from './sysctl.ts';

export interface DeviceSetup {
  readonly name: string;
  readonly mtuBytes: number;
  /** Packets that the kernel queues for us before it drops. */
  readonly queueLength: number;
  /** An overlay address of ours on the device, or null. */
  readonly address: Address | null;
  readonly queues: number;
}

export interface TunnelDevice {
  readonly name: string;
  readonly index: number;
  readonly mtuBytes: number;
  readonly queues: readonly Tun[];
  /** A predecessor left it: its routes may be there too. */
  readonly isAdopted: boolean;
  /** Settings of the device that could not be made as they should be. */
  readonly problems: readonly HostProblem[];
}

/**
 * Makes the TUN device, or adopts the one that a predecessor left, and brings it to the wanted state. The device is persistent while we
 * run: when this process is killed, device and routes stay, packets for remote clusters wait in it or are dropped there, and never leave
 * unencapsulated by the default route.
 */
export function openDevice(native: Native, netlink: Netlink, setup: DeviceSetup): TunnelDevice {
  const isAdopted = netlink.links().some((link) => link.name === setup.name);
  const queues: Tun[] = [];
  try {
    for (let queue = 0; queue < setup.queues; queue++) {
      queues.push(openTun(native, { name: setup.name, multiQueue: true }));
    }
    queues[0]!.keep(true);
    // Before the device is up: the kernel sends the first IPv6 packets into it at that moment.
    const problems = prepareDeviceSysctls(setup.name);
    const link = netlink.links().find((candidate) => candidate.name === setup.name);
    if (link === undefined)
      throw new GatewayError('ISTHMUS_ERR_KERNEL', `device ${setup.name} vanished while it was set up`);
    if (link.mtuBytes !== setup.mtuBytes || link.txQueueLength !== setup.queueLength || !link.isUp) {
      netlink.setLink(link.index, { mtuBytes: setup.mtuBytes, txQueueLength: setup.queueLength, up: true });
    }
    setAddress(netlink, link.index, setup.address);
    return { name: setup.name, index: link.index, mtuBytes: setup.mtuBytes, queues, isAdopted, problems };
  } catch (cause) {
    if (!isAdopted) queues[0]?.keep(false);
    for (const queue of queues) queue.close();
    if (cause instanceof GatewayError) throw cause;
    throw new GatewayError('ISTHMUS_ERR_IO', `device ${setup.name}: ${messageOf(cause)}`, { cause });
  }
}

/** Leaves exactly the wanted address on the device; a predecessor may have had another. */
function setAddress(netlink: Netlink, deviceIndex: number, wanted: Address | null): void {
  for (const entry of netlink.addresses()) {
    if (entry.deviceIndex !== deviceIndex || entry.address === wanted) continue;
    netlink.removeAddress(deviceIndex, { address: entry.address, prefixLength: entry.prefixLength });
  }
  if (wanted === null) return;
  const isThere = netlink
    .addresses()
    .some((entry) => entry.deviceIndex === deviceIndex && entry.address === wanted);
  if (!isThere) netlink.addAddress(deviceIndex, { address: wanted, prefixLength: 32 });
}

/** Closes our queues; with `keep` the device stays with all that belongs to it, else the kernel removes it and its routes. */
export function closeDevice(device: TunnelDevice, keep: boolean): void {
  device.queues[0]?.keep(keep);
  for (const queue of device.queues) queue.close();
}

/** One line for the log. */
export function describeDevice(device: TunnelDevice, address: Address | null): string {
  const what = device.isAdopted ? 'adopted' : 'made';
  return `${what} device ${device.name}, MTU ${device.mtuBytes}${address === null ? '' : `, address ${formatAddress(address)}`}`;
}
