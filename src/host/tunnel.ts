import { type Address, formatAddress } from '../base/address.ts';
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Config } from '../config/schema.ts';
import { spinMaxUs } from '../dataplane/busy-poll.ts';
import { type Dataplane, type SlowPath, WorkerPlane } from '../dataplane/plane.ts';
import { PortablePlane } from '../dataplane/portable-plane.ts';
import type { Encapsulation } from '../dataplane/sent-headers.ts';
import { encapsulationBytes, underlayProtocol } from '../dataplane/settings.ts';
import { workerCount } from '../dataplane/worker-count.ts';
import type { Fib } from '../fib/fib.ts';
import type { Native } from '../io/native.ts';
import type { Netlink } from '../io/netlink.ts';
import type { UnderlaySocket } from '../io/packet-io.ts';
import { openRawIp } from '../io/raw-ip.ts';
import { RawSocketIo } from '../io/raw-socket.ts';
import { type HeldPort, holdPort } from '../io/underlay-protocol.ts';
import { closeDevice, describeDevice, openDevice, type TunnelDevice } from './device.ts';
import { HostKeeper, type HostKeeperSetup } from './host-keeper.ts';
import { PacketTransmit } from './packet-transmit.ts';
import { RouteInstaller } from './route-installer.ts';
import { Segment } from './segment.ts';
import { admitIpv6 } from './sysctl.ts';
import type { UnderlayFollower } from './underlay-follower.ts';

/** RT_TABLE_MAIN of linux/rtnetlink.h. */
const MAIN_TABLE = 254;

/** Engines that still move packets after this are left to the end of the process: SIGTERM is answered within 2 s. */
const STOP_LIMIT_MS = 1500;

export interface TunnelParts {
  readonly native: Native;
  readonly netlink: Netlink;
  readonly config: Config;
  readonly follower: UnderlayFollower;
  readonly fib: Fib;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly slowPath: SlowPath;
  readonly onProblems: HostKeeperSetup['onProblems'];
  readonly onAddressChange: HostKeeperSetup['onAddressChange'];
  readonly onDoubt: HostKeeperSetup['onDoubt'];
  readonly onLook: HostKeeperSetup['onLook'];
  readonly onLink: HostKeeperSetup['onLink'];
  readonly onDeviceLost: HostKeeperSetup['onDeviceLost'];
}

/** Everything that exists only while packets can flow: the device, the sockets, the engines between them, and our routes. */
export interface Tunnel {
  readonly device: TunnelDevice;
  readonly sockets: readonly UnderlaySocket[];
  readonly plane: Dataplane;
  readonly segment: Segment;
  readonly routes: RouteInstaller;
  readonly keeper: HostKeeper;
  /** With `tunnel.transmit: packet`. */
  readonly transmit: PacketTransmit | undefined;
  /** Held while packets come by UDP. */
  readonly port: HeldPort | undefined;
}

/** Opens all of it, or throws and leaves nothing open. */
export function openTunnel(parts: TunnelParts): Tunnel {
  const { native, netlink, config, follower, logger } = parts;
  const { tunnel, routes: routing } = config;
  const underlay = follower.current;
  const isPortable = tunnel.underlaySocket === 'raw-socket';
  const device = openDevice(native, netlink, {
    name: tunnel.device,
    mtuBytes: tunnelMtu(config, underlay.mtuBytes),
    queueLength: tunnel.queueLength,
    address: tunnel.address,
    queues: isPortable ? 1 : workerCount(tunnel.workers),
  });
  logger.info(
    { device: device.name, underlay: formatAddress(underlay.address), underlayDevice: underlay.deviceName },
    describeDevice(device, tunnel.address),
  );
  const sockets: UnderlaySocket[] = [];
  let keeper: HostKeeper | undefined;
  let transmit: PacketTransmit | undefined;
  let port: HeldPort | undefined;
  try {
    port = holdPort(native, underlayProtocol(config));
    const segment = new Segment(netlink, underlay);
    const routes = new RouteInstaller({
      netlink,
      deviceIndex: device.index,
      table: routing.table,
      metric: routing.metric,
      protocol: routing.protocol,
      source: tunnel.address ?? 0,
      mode: tunnel.mode,
      segment,
      onIpv6: () => admitIpv6(device.name),
    });
    keeper = new HostKeeper({
      native,
      netlink,
      routes,
      device,
      underlay: () => follower.current,
      underlayProblem: () => follower.problem,
      protocol: routing.protocol,
      isMainTable: routing.table === MAIN_TABLE,
      clock: parts.clock,
      logger,
      onProblems: parts.onProblems,
      onAddressChange: parts.onAddressChange,
      onDoubt: parts.onDoubt,
      onLook: parts.onLook,
      onLink: parts.onLink,
      onDeviceLost: parts.onDeviceLost,
    });
    if (tunnel.transmit === 'packet' && !isPortable) transmit = packetTransmit(parts);
    // Last, because running engines cannot be taken back without waiting for them.
    const plane = isPortable
      ? portablePlane(parts, device, sockets)
      : workerPlane(parts, device, sockets, transmit);
    return { device, sockets, plane, segment, routes, keeper, transmit, port };
  } catch (cause) {
    keeper?.stop();
    transmit?.close();
    for (const socket of sockets) socket.close();
    port?.close();
    closeDevice(device, device.isAdopted);
    throw cause;
  }
}

/** Stops taking packets in, lets those that wait leave, and removes device and routes, or with `keep` leaves them as they are. */
export async function closeTunnel(tunnel: Tunnel, keep: boolean, clock: Clock): Promise<void> {
  tunnel.keeper.stop();
  try {
    if (!keep) tunnel.routes.clear();
  } finally {
    const limit = new Promise<void>((resolve) => clock.after(STOP_LIMIT_MS, resolve));
    await Promise.race([tunnel.plane.stop(), limit]);
    tunnel.transmit?.close();
    for (const socket of tunnel.sockets) socket.close();
    tunnel.port?.close();
    closeDevice(tunnel.device, keep);
  }
}

/** The MTU of the device on an underlay of this MTU. */
export function tunnelMtu(config: Config, underlayMtuBytes: number): number {
  const { mtu } = config.tunnel;
  return mtu === 'auto' ? underlayMtuBytes - encapsulationBytes(config) : mtu;
}

/** For what an IPv6 underlay is refused by the configuration (config/underlay-family.ts). */
function ipv4Of(follower: UnderlayFollower): Address {
  const { address } = follower.current;
  assert(typeof address === 'number', 'the underlay is of IPv4');
  return address;
}

function encapsulationOf({ config, follower }: TunnelParts): Encapsulation {
  return typeof follower.current.address === 'bigint' ? 'ipip6' : config.tunnel.encapsulation;
}

function packetTransmit({
  native,
  netlink,
  config,
  follower,
  fib,
  clock,
  logger,
}: TunnelParts): PacketTransmit {
  return new PacketTransmit({
    native,
    netlink,
    fib,
    clock,
    logger,
    source: () => ipv4Of(follower),
    sendBufferBytes: config.tunnel.sendBuffer,
    protocol: config.routes.protocol,
  });
}

function workerPlane(
  parts: TunnelParts,
  device: TunnelDevice,
  sockets: UnderlaySocket[],
  transmit: PacketTransmit | undefined,
): Dataplane {
  const { native, config, follower, fib, clock, logger, slowPath } = parts;
  // With fou IPv6 comes to the same port.
  const isFou = config.tunnel.encapsulation === 'fou';
  const descriptors = device.queues.map((queue, index) => {
    const options = {
      address: follower.current.address,
      receiveBufferBytes: config.tunnel.receiveBuffer,
      sendBufferBytes: config.tunnel.sendBuffer,
      worker: { index, count: device.queues.length },
    };
    const socket = openRawIp(native, { ...options, protocol: underlayProtocol(config) });
    sockets.push(socket);
    const ipv6 = isFou ? undefined : openRawIp(native, { ...options, protocol: 'ipv6' });
    if (ipv6 !== undefined) sockets.push(ipv6);
    const own = {
      ...{ device: queue.fd, underlay: socket.fd, underlaySend: socket.sendFd },
      underlayIpv6: ipv6?.fd,
    };
    return transmit === undefined ? own : { ...own, packetSocket: transmit.openSocket() };
  });
  return new WorkerPlane({
    native,
    deviceName: device.name,
    encapsulation: encapsulationOf(parts),
    descriptors,
    nextHops: transmit?.table,
    spinMaxUs: spinMaxUs(config.tunnel.busyPoll),
    coalesceFeatures: device.coalesceFeatures,
    image: fib.buffer,
    forgetReader: (engine) => fib.forgetReader(engine),
    clock,
    logger,
    slowPath,
  });
}

function portablePlane(parts: TunnelParts, device: TunnelDevice, sockets: UnderlaySocket[]): Dataplane {
  const { native, config, follower, fib, clock, slowPath } = parts;
  const options = {
    address: ipv4Of(follower),
    receiveBufferBytes: config.tunnel.receiveBuffer,
    sendBufferBytes: config.tunnel.sendBuffer,
  };
  const socket = RawSocketIo.open({ ...options, protocol: underlayProtocol(config) });
  sockets.push(socket);
  const isFou = config.tunnel.encapsulation === 'fou';
  const ipv6 = isFou ? undefined : RawSocketIo.open({ ...options, protocol: 'ipv6' });
  if (ipv6 !== undefined) sockets.push(ipv6);
  const queue = device.queues[0]!;
  return new PortablePlane({
    native,
    device: queue,
    deviceDescriptor: queue.fd,
    encapsulation: config.tunnel.encapsulation,
    underlay: socket,
    underlayIpv6: ipv6,
    coalesceFeatures: device.coalesceFeatures,
    image: fib.buffer,
    clock,
    slowPath,
  });
}
