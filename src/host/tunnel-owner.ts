import { formatAddress, type IpAddress } from '../base/address.ts';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Config } from '../config/schema.ts';
import { underlayFamily } from '../config/underlay-family.ts';
import type { SlowPath } from '../dataplane/plane.ts';
import type { HostRoutes } from '../dataplane/publisher.ts';
import { fibSettings } from '../dataplane/settings.ts';
import type { Fib } from '../fib/fib.ts';
import type { Native } from '../io/native.ts';
import type { Netlink } from '../io/netlink.ts';
import type { Link } from '../io/netlink-link.ts';
import type { RowWay } from '../io/netlink-route.ts';
import type { Table } from '../table/table.ts';
import { restoreDevice } from './device.ts';
import { Doubts } from './doubts.ts';
import type { RouteInstaller } from './route-installer.ts';
import type { Doubt } from './segment.ts';
import type { HostProblem } from './sysctl.ts';
import { closeTunnel, openTunnel, type Tunnel, tunnelMtu } from './tunnel.ts';
import { findUnderlay, type Underlay, type UnderlayWish } from './underlay.ts';
import {
  ADDRESS_GRACE_MS,
  describeChange,
  type UnderlayChange,
  UnderlayFollower,
} from './underlay-follower.ts';
import { waitForUnderlay } from './underlay-wait.ts';

export interface TunnelOwnerSetup {
  readonly native: Native;
  readonly netlink: Netlink;
  readonly table: Table;
  readonly fib: Fib;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The configuration in force. */
  readonly config: () => Config;
  readonly slowPath: SlowPath;
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
  /** How long packets to a former underlay address of ours are taken; ADDRESS_GRACE_MS when absent. */
  readonly addressGraceMs?: number;
}

/** Gateways about which the kernel is asked at each look whether they are still where they were: at about 15 µs each. */
const GATEWAYS_ASKED = 256;

/** Less than the 90 s after which systemd takes a start for failed. */
export const UNDERLAY_WAIT_MS = 60_000;

/** Gateways that are asked for in turn for the way to the underlay. */
const TOWARDS_MAX = 4;

const NONE: ReadonlyMap<number, readonly RowWay[]> = new Map();

/** Keeps one tunnel open through whatever happens to the host: a device that is removed, an underlay with another MTU, address or device. */
export class TunnelOwner implements HostRoutes {
  readonly #setup: TunnelOwnerSetup;
  readonly #doubts: Doubts;
  #follower: UnderlayFollower | undefined;
  /** The gateway by whose route the underlay was found: asked first ever after, so that other routes alone do not move the underlay. */
  #towards: IpAddress | undefined;
  /** Of all devices that packets may leave by towards local hosts. */
  #localMtuBytes = Number.POSITIVE_INFINITY;
  #tunnel: Tunnel | undefined;
  #reopening: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(setup: TunnelOwnerSetup) {
    this.#setup = setup;
    this.#doubts = new Doubts(setup.clock, (doubt) => this.#resolve(doubt));
  }

  /** By `cidrKey`: the routes that go past the tunnel now, to gateways on our own segment. */
  directRoutes(): ReadonlyMap<number, readonly RowWay[]> {
    return this.#tunnel?.routes.direct.installed ?? NONE;
  }

  /**
   * Waits until the host has the underlay's address, UNDERLAY_WAIT_MS at most. Resolves in any case: `open` then finds the address, or says
   * what is missing. Before `open`.
   */
  untilUnderlay(signal: AbortSignal, onWaiting: (reason: string) => void): Promise<void> {
    const { native, netlink, table, clock } = this.#setup;
    const find = (): Underlay => {
      this.#towards = firstGateways(table, 1)[0];
      return findUnderlay(netlink, this.#wish());
    };
    return waitForUnderlay({ native, clock, find, limitMs: UNDERLAY_WAIT_MS, signal, onWaiting });
  }

  /** Finds the underlay and opens the tunnel; throws a GatewayError with nothing left open. Routes are led to it by `adoptRoutes`. */
  open(): void {
    const { netlink, clock, table, fib, config, onUnderlay, addressGraceMs } = this.#setup;
    this.#towards = firstGateways(table, 1)[0];
    const follower = new UnderlayFollower({
      netlink,
      clock,
      wish: () => this.#wish(),
      graceMs: addressGraceMs ?? ADDRESS_GRACE_MS,
      onAccepted: () => this.#setAddresses(),
    });
    this.#follower = follower;
    onUnderlay(follower.current);
    fib.setLocal(table.local());
    this.#localMtuBytes = smallestMtu(netlink.links(), config().tunnel.device);
    this.configure(config());
    this.#tunnel = this.#openTunnel(follower);
  }

  /** Tells the packet path and the host's routes what changed in the configuration. */
  configure(config: Config): void {
    if (this.#follower === undefined) return;
    const { address, mtuBytes } = this.#follower.current;
    this.#setup.fib.configure(fibSettings(config, address, mtuBytes, this.#localMtuBytes));
    this.#changeRoutes(({ direct }) => {
      direct.setMode(config.tunnel.mode, () => this.#setup.table.forwarded());
    });
  }

  add(added: Parameters<HostRoutes['add']>[0]): void {
    this.#changeRoutes((routes) => routes.add(added));
    this.#tunnel?.transmit?.nextHops.peersChanged();
  }

  remove(cidrs: Parameters<HostRoutes['remove']>[0]): void {
    this.#changeRoutes((routes) => routes.remove(cidrs));
  }

  /** After the first publication: takes over what a predecessor left, and installs the rest. */
  adoptRoutes(): void {
    this.#changeRoutes((routes) => routes.reconcile());
  }

  /** Tries once more to install what the kernel refused. */
  retryRoutes(): void {
    this.#changeRoutes((routes) => routes.reconcile());
  }

  /** With `keep`, device and routes stay as they are. Idempotent. */
  async close(keep: boolean): Promise<void> {
    this.#closed = true;
    this.#doubts.stop();
    this.#follower?.stop();
    await this.#reopening;
    const tunnel = this.#tunnel;
    this.#tunnel = undefined;
    if (tunnel !== undefined) await closeTunnel(tunnel, keep, this.#setup.clock);
  }

  #wish(): UnderlayWish {
    const { config, table } = this.#setup;
    const { underlay, tunnel } = config();
    // Found by the default route, it goes on being found by that.
    const towards = this.#towards === undefined ? [] : [this.#towards, ...firstGateways(table, TOWARDS_MAX)];
    return {
      address: underlay.address,
      family: underlayFamily(config()),
      device: underlay.device,
      towards,
      tunnelDevice: tunnel.device,
    };
  }

  #openTunnel(follower: UnderlayFollower): Tunnel {
    const { native, netlink, fib, clock, logger, config, slowPath, onProblems, onAddressChange, onOpened } =
      this.#setup;
    const tunnel = openTunnel({
      native,
      netlink,
      config: config(),
      follower,
      fib,
      clock,
      logger,
      slowPath,
      onProblems,
      onAddressChange,
      onDoubt: (doubt) => this.#doubts.add(doubt),
      onLook: () => this.#look(),
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
    if (lost === undefined || this.#follower === undefined || this.#closed) return;
    logger.error({ device: lost.device.name }, 'the device was removed; it is made anew');
    this.#tunnel = undefined;
    try {
      await closeTunnel(lost, true, clock);
      if (this.#closed) return;
      this.#tunnel = this.#openTunnel(this.#follower);
      this.add(table.forwarded());
      this.adoptRoutes();
      // What happened meanwhile nobody has heard.
      this.#doubts.add('everything');
    } catch (thrown) {
      onFailed(thrown);
    }
  }

  /** The host said that something about the underlay changed: finds out what, and follows. */
  #resolve(doubt: Doubt): void {
    const { logger } = this.#setup;
    const follower = this.#follower;
    if (this.#tunnel === undefined || follower === undefined || this.#closed) return;
    try {
      const change = follower.concerns(doubt) ? follower.check() : undefined;
      if (change !== undefined) this.#follow(change);
      else if (doubt === 'everything') this.#setAddresses();
      this.#changeRoutes((routes) => {
        routes.direct.review(doubt);
        if (doubt === 'everything' || change !== undefined) routes.reconcile();
      });
    } catch (thrown) {
      logger.error({ reason: messageOf(thrown) }, 'a change of the underlay cannot be followed');
    }
  }

  /** What changes without a notice, as routing rules do; the first time, before there is a tunnel, nothing has changed yet. */
  #look(): void {
    const follower = this.#follower;
    if (this.#tunnel === undefined || follower === undefined) return;
    const change = follower.check();
    if (change !== undefined) {
      this.#follow(change);
      this.#doubts.add('everything');
    }
    this.#changeRoutes(({ direct }) => direct.reviewSome(GATEWAYS_ASKED));
    this.#tunnel.transmit?.nextHops.look();
  }

  /**
   * Takes over another address, device or MTU of the underlay, without opening anything again. The sockets take packets to the new address
   * before the first packet leaves with it.
   */
  #follow(change: UnderlayChange): void {
    const { netlink, logger, config, onUnderlay } = this.#setup;
    const tunnel = this.#tunnel;
    if (tunnel === undefined) return;
    const { to } = change;
    this.#setAddresses();
    this.configure(config());
    onUnderlay(to);
    logger.warn({ underlay: formatAddress(to.address), device: to.deviceName }, describeChange(change));
    tunnel.segment.moveTo(to);
    tunnel.transmit?.nextHops.sourceChanged();
    const mtuBytes = tunnelMtu(config(), to.mtuBytes);
    if (mtuBytes === tunnel.device.mtuBytes) return;
    tunnel.device.mtuBytes = mtuBytes;
    restoreDevice(netlink, tunnel.device);
  }

  /** Which packets are ours, and from where we send; an address that is not on this host yet is tried again with the next notice or look. */
  #setAddresses(): void {
    const { logger } = this.#setup;
    const follower = this.#follower;
    if (follower === undefined) return;
    for (const socket of this.#tunnel?.sockets ?? []) {
      try {
        socket.setAddresses(follower.current.address, follower.accepted);
      } catch (thrown) {
        logger.error({ reason: messageOf(thrown) }, 'the underlay socket cannot take the address');
      }
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

/** Of the first routes, `count` at most. */
function firstGateways(table: Table, count: number): IpAddress[] {
  const found: IpAddress[] = [];
  for (const route of table.routes()) {
    const [gateway] = route.gateways;
    if (gateway !== undefined) found.push(gateway.address);
    if (found.length === count) break;
  }
  return found;
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
