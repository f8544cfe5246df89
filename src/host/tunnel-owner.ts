import type { Address } from '../base/address.ts';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Config } from '../config/schema.ts';
import type { HostRoutes } from '../dataplane/publisher.ts';
import { fibSettings } from '../dataplane/settings.ts';
import type { Fib } from '../fib/fib.ts';
import type { Native } from '../io/native.ts';
import type { Netlink } from '../io/netlink.ts';
import type { Link } from '../io/netlink-link.ts';
import type { Table } from '../table/table.ts';
import { restoreDevice } from './device.ts';
import type { RouteInstaller } from './route-installer.ts';
import type { HostProblem } from './sysctl.ts';
import { closeTunnel, openTunnel, type Tunnel, tunnelMtu } from './tunnel.ts';
import { findUnderlay, type Underlay } from './underlay.ts';

export interface TunnelOwnerSetup {
  readonly native: Native;
  readonly netlink: Netlink;
  readonly table: Table;
  readonly fib: Fib;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The configuration in force. */
  readonly config: () => Config;
  /** Sends an ICMP message to a local host. */
  readonly sendIcmp: (destination: Address, message: Uint8Array) => void;
  /** The underlay was found, or is another one now. */
  readonly onUnderlay: (underlay: Underlay) => void;
  /** A tunnel is open: the first, or one in the place of another. */
  readonly onOpened: (tunnel: Tunnel) => void;
  readonly onProblems: (problems: readonly HostProblem[]) => void;
  readonly onAddressChange: () => void;
  /** What is wrong with our kernel routes, or undefined when nothing is any more. */
  readonly onRoutes: (problem: string | undefined) => void;
  /** The tunnel is lost and could not be made anew. */
  readonly onFailed: (reason: unknown) => void;
}

/** Keeps one tunnel open through whatever happens to the host: a device that is removed, an underlay with another MTU. */
export class TunnelOwner implements HostRoutes {
  readonly #setup: TunnelOwnerSetup;
  #underlay: Underlay | undefined;
  /** Of all devices that packets may leave by towards local hosts. */
  #localMtuBytes = Number.POSITIVE_INFINITY;
  #tunnel: Tunnel | undefined;
  #reopening: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(setup: TunnelOwnerSetup) {
    this.#setup = setup;
  }

  /** Finds the underlay and opens the tunnel; throws a GatewayError with nothing left open. Routes are led to it by `adoptRoutes`. */
  open(): void {
    const { netlink, table, fib, config, onUnderlay } = this.#setup;
    const { underlay: wish, cluster } = config();
    const towards = firstGateway(table);
    this.#underlay = findUnderlay(netlink, { address: wish.address, device: wish.device, towards });
    onUnderlay(this.#underlay);
    fib.setLocal(cluster.cidrs);
    this.#localMtuBytes = smallestMtu(netlink.links(), config().tunnel.device);
    this.configure(config());
    this.#tunnel = this.#openTunnel(this.#underlay);
  }

  /** Tells the packet path what changed in the configuration. */
  configure(config: Config): void {
    if (this.#underlay === undefined) return;
    const { address, mtuBytes } = this.#underlay;
    this.#setup.fib.configure(fibSettings(config, address, mtuBytes, this.#localMtuBytes));
  }

  add(added: Parameters<HostRoutes['add']>[0]): void {
    this.#changeRoutes((routes) => routes.add(added.map((route) => route.cidr)));
  }

  remove(cidrs: Parameters<HostRoutes['remove']>[0]): void {
    this.#changeRoutes((routes) => routes.remove(cidrs));
  }

  /** After the first publication: takes over what a predecessor left, and installs the rest. */
  adoptRoutes(): void {
    if (this.#tunnel?.device.isAdopted === true) this.#changeRoutes((routes) => routes.reconcile());
  }

  /** Tries once more to install what the kernel refused. */
  retryRoutes(): void {
    this.#changeRoutes((routes) => routes.reconcile());
  }

  /** With `keep`, device and routes stay as they are. Idempotent. */
  async close(keep: boolean): Promise<void> {
    this.#closed = true;
    await this.#reopening;
    const tunnel = this.#tunnel;
    this.#tunnel = undefined;
    if (tunnel !== undefined) await closeTunnel(tunnel, keep, this.#setup.clock);
  }

  #openTunnel(underlay: Underlay): Tunnel {
    const { native, netlink, fib, clock, logger, config, sendIcmp, onProblems, onAddressChange, onOpened } =
      this.#setup;
    const tunnel = openTunnel({
      native,
      netlink,
      config: config(),
      underlay,
      fib,
      clock,
      logger,
      sendIcmp,
      onProblems,
      onAddressChange,
      onUnderlayMtu: (mtuBytes) => this.#underlayMtuChanged(mtuBytes),
      onLink: (link) => this.#linkSeen(link),
      onDeviceLost: () => {
        this.#reopening = this.#reopen();
      },
    });
    onOpened(tunnel);
    return tunnel;
  }

  /** Somebody removed the device: everything that hangs on it is made anew. */
  async #reopen(): Promise<void> {
    const { clock, logger, table, onFailed } = this.#setup;
    const lost = this.#tunnel;
    if (lost === undefined || this.#underlay === undefined || this.#closed) return;
    logger.error({ device: lost.device.name }, 'the device was removed; it is made anew');
    this.#tunnel = undefined;
    try {
      await closeTunnel(lost, true, clock);
      if (this.#closed) return;
      this.#tunnel = this.#openTunnel(this.#underlay);
      this.add(table.forwarded());
    } catch (thrown) {
      onFailed(thrown);
    }
  }

  /** Packets are cut to what the underlay carries now; the kernel tells local senders by the device's MTU. */
  #underlayMtuChanged(mtuBytes: number): void {
    const { netlink, logger, config, onUnderlay } = this.#setup;
    if (this.#underlay === undefined || this.#tunnel === undefined) return;
    this.#underlay = { ...this.#underlay, mtuBytes };
    onUnderlay(this.#underlay);
    this.configure(config());
    this.#tunnel.device.mtuBytes = tunnelMtu(config(), mtuBytes);
    try {
      restoreDevice(netlink, this.#tunnel.device);
      logger.info({ underlayMtuBytes: mtuBytes }, 'the underlay has another MTU; the tunnel follows');
    } catch (thrown) {
      logger.error({ reason: messageOf(thrown) }, 'the tunnel cannot follow the MTU of the underlay');
    }
  }

  /** A pod's device may come with a smaller MTU than all before. It only ever sinks: smaller segments reach everybody. */
  #linkSeen(link: Link): void {
    const mtuBytes = smallestMtu([link], this.#setup.config().tunnel.device);
    if (mtuBytes >= this.#localMtuBytes) return;
    this.#localMtuBytes = mtuBytes;
    this.configure(this.#setup.config());
  }

  /** A route that the kernel does not take is a problem to show, and to try again, but holds up no other route. */
  #changeRoutes(change: (routes: RouteInstaller) => void): void {
    const routes = this.#tunnel?.routes;
    if (routes === undefined) return;
    try {
      change(routes);
      this.#setup.onRoutes(routes.problem);
    } catch (thrown) {
      this.#setup.onRoutes(`kernel routes cannot be changed: ${messageOf(thrown)}`);
    }
  }
}

function firstGateway(table: Table): Address | undefined {
  for (const route of table.routes()) {
    const [gateway] = route.gateways;
    if (gateway !== undefined) return gateway.address;
  }
  return undefined;
}

/** Every IPv4 link carries packets of 576 bytes, with their headers (RFC 791 §3.1); a device with less carries something else. */
const LOCAL_MTU_BYTES_MIN = 576;

function smallestMtu(links: readonly Link[], tunnelDevice: string): number {
  const others = links.filter(
    ({ name, isUp, mtuBytes }) =>
      isUp && name !== tunnelDevice && name !== 'lo' && mtuBytes >= LOCAL_MTU_BYTES_MIN,
  );
  return Math.min(...others.map(({ mtuBytes }) => mtuBytes));
}
