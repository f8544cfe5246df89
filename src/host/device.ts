import { type Address, formatAddress } from '../base/address.ts';
import { GatewayError, IoError, messageOf } from '../base/errors.ts';
import { COALESCE, type Native } from '../io/native.ts';
import type { Netlink } from '../io/netlink.ts';
import { ADDRESS_SCOPE, type AddressRow, type DeviceAddress } from '../io/netlink-link.ts';
import { openTun, TUN_OFFLOAD, type Tun } from '../io/tun.ts';
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
  /** As it should be; changes with the underlay's. */
  mtuBytes: number;
  readonly queueLength: number;
  readonly address: Address | null;
  readonly queues: readonly Tun[];
  /** COALESCE bits: what this kernel takes merged besides TCP. */
  readonly coalesceFeatures: number;
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
      queues.push(openTun(native, { name: setup.name, multiQueue: true, vnetHeader: true }));
    }
    const coalesceFeatures = leaveWorkToUs(queues[0]!);
    queues[0]!.keep(true);
    // Before the device is up: the kernel sends the first IPv6 packets into it at that moment.
    const problems = prepareDeviceSysctls(setup.name);
    const link = netlink.links().find((candidate) => candidate.name === setup.name);
    if (link === undefined)
      throw new GatewayError('ISTHMUS_ERR_KERNEL', `device ${setup.name} vanished while it was set up`);
    const { name, mtuBytes, queueLength, address } = setup;
    const device: TunnelDevice = {
      name,
      index: link.index,
      mtuBytes,
      queueLength,
      address,
      queues,
      coalesceFeatures,
      isAdopted,
      problems,
    };
    restoreDevice(netlink, device);
    return device;
  } catch (cause) {
    if (!isAdopted) queues[0]?.keep(false);
    for (const queue of queues) queue.close();
    if (cause instanceof GatewayError) throw cause;
    throw new GatewayError('ISTHMUS_ERR_IO', `device ${setup.name}: ${messageOf(cause)}`, { cause });
  }
}

/**
 * TCP and UDP come over uncut, up to 64 KiB in a packet, which `dataplane/outbound.ts` cuts: the way through the kernel up to here, and the
 * look-up, are paid once for all of them. TCP over IPv6 is not carried, so the kernel may as well cut it. UDP since Linux 6.2, which takes
 * USO4 only together with USO6 (set_offload in drivers/net/tun.c); without them the kernel cuts it before. What another program had left
 * on an adopted device is replaced. Returns COALESCE bits: datagrams are taken merged by the kernels that can hand them over merged, and
 * only that can be asked.
 */
function leaveWorkToUs(queue: Tun): number {
  const tcp = TUN_OFFLOAD.CHECKSUM | TUN_OFFLOAD.TSO4 | TUN_OFFLOAD.TSO_ECN;
  try {
    queue.setOffload(tcp | TUN_OFFLOAD.USO4 | TUN_OFFLOAD.USO6);
    return COALESCE.UDP;
  } catch (error) {
    if (!(error instanceof IoError && error.errno === 'EINVAL')) throw error;
    queue.setOffload(tcp);
    return 0;
  }
}

/** Brings the device to its wanted state: up, with its MTU, queue and address. Returns whether anything had to be changed. */
export function restoreDevice(netlink: Netlink, device: TunnelDevice): boolean {
  const link = netlink.links().find((candidate) => candidate.index === device.index);
  if (link === undefined) throw new GatewayError('ISTHMUS_ERR_KERNEL', `device ${device.name} is gone`);
  const isAsWanted =
    link.isUp && link.mtuBytes === device.mtuBytes && link.txQueueLength === device.queueLength;
  if (!isAsWanted) {
    netlink.setLink(link.index, { mtuBytes: device.mtuBytes, txQueueLength: device.queueLength, up: true });
  }
  return setAddress(netlink, device) || !isAsWanted;
}

/**
 * The IPv4 dummy address of RFC 7600, for a device that has no address of its own, because the kernel treats a device without any
 * differently (net/ipv4/fib_frontend.c): a loose rp_filter is strict there (`no_addr` in __fib_validate_source) and would drop what a peer
 * sends through the tunnel while our way back to it is past the tunnel; and when the last address goes, all routes to the device go with it
 * (fib_inetaddr_event). Its scope keeps the kernel from ever sending with it.
 */
const PLACEHOLDER: AddressRow = { address: 0xc000_0008, prefixLength: 32, scope: ADDRESS_SCOPE.HOST };

/**
 * Leaves exactly the wanted address on the device; a predecessor may have had another, which goes after the wanted one is there. Returns
 * whether it was not so.
 */
function setAddress(netlink: Netlink, device: TunnelDevice): boolean {
  const { index, address: own } = device;
  const wanted: AddressRow = own === null ? PLACEHOLDER : { address: own, prefixLength: 32 };
  const present = netlink.addresses().filter(isOn(index));
  const unwanted = present.filter((entry) => entry.address !== wanted.address);
  const isMissing = present.length === unwanted.length;
  if (isMissing) netlink.addAddress(index, wanted);
  for (const { address, prefixLength } of unwanted) netlink.removeAddress(index, { address, prefixLength });
  return isMissing || unwanted.length > 0;
}

/** IPv4 only: of IPv6 we set none, and take none away. */
function isOn(deviceIndex: number) {
  return (entry: DeviceAddress): entry is DeviceAddress & AddressRow =>
    entry.deviceIndex === deviceIndex && typeof entry.address === 'number';
}

/** Closes our queues; with `keep` the device stays with all that belongs to it, else the kernel removes it and its routes. */
export function closeDevice(device: TunnelDevice, keep: boolean): void {
  try {
    device.queues[0]?.keep(keep);
  } catch {
    // Somebody removed the device already: there is nothing to keep, and the queues must be closed all the same.
  }
  for (const queue of device.queues) queue.close();
}

/** One line for the log. */
export function describeDevice(device: TunnelDevice, address: Address | null): string {
  const what = device.isAdopted ? 'adopted' : 'made';
  return `${what} device ${device.name}, MTU ${device.mtuBytes}${address === null ? '' : `, address ${formatAddress(address)}`}`;
}
