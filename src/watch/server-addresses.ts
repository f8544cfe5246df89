import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { isIP, type Socket } from 'node:net';
import {
  type Address,
  addressBits,
  type Cidr,
  formatAddress,
  type IpAddress,
  networkOf,
  parseIpAddress,
  sortCidrs,
} from '../base/address.ts';
import type { ProtectedCidr } from '../table/refusal.ts';

/** Servers whose addresses are kept; the one that was connected to longest ago makes room. */
const SERVERS_MAX = 256;

/** Node's channel for each TCP connection that this process begins (diagnostics_channel, "net.client.socket"). */
const CHANNEL = 'net.client.socket';

/** First byte of 127.0.0.0/8, and ::1: no route leads there. */
const LOOPBACK = 127;
const LOOPBACK6 = 1n;

export interface ServerAddressesSetup {
  /** Our overlay address: a server that is reached by it is reached through the tunnel, and a route that leads there is what it needs. */
  readonly tunnelAddress: () => Address | null;
  readonly onChange: () => void;
}

/**
 * The servers that this gateway lives on: API servers, etcd, and the proxies before them. A route for their addresses would put the
 * gateway's own connections into the tunnel that they are needed for. Noticed at the connection itself, so that no way of
 * naming a server, and no address that a name has only now, is left out.
 */
export class ServerAddresses {
  readonly #setup: ServerAddressesSetup;
  readonly #addresses = new Set<IpAddress>();
  readonly #onSocket = (message: unknown): void => {
    const { socket } = message as { socket: Socket };
    socket.once('connect', () => this.#connected(socket));
  };

  constructor(setup: ServerAddressesSetup) {
    this.#setup = setup;
    subscribe(CHANNEL, this.#onSocket);
  }

  /** Kept after a connection has ended: it is the next one that must be possible. */
  get list(): readonly IpAddress[] {
    const cidrs = Array.from(this.#addresses, (address) => networkOf(address, addressBits(address)));
    return sortCidrs(cidrs).map(({ address }) => address);
  }

  close(): void {
    unsubscribe(CHANNEL, this.#onSocket);
  }

  #connected(socket: Socket): void {
    const address = addressOf(socket.remoteAddress);
    if (address === undefined || isLoopback(address)) return;
    const tunnelAddress = this.#setup.tunnelAddress();
    if (tunnelAddress !== null && socket.localAddress === formatAddress(tunnelAddress)) return;
    const isNew = !this.#addresses.delete(address);
    this.#addresses.add(address);
    const oldest = this.#addresses.values().next().value;
    if (this.#addresses.size > SERVERS_MAX && oldest !== undefined) this.#addresses.delete(oldest);
    if (isNew) this.#setup.onChange();
  }
}

/** Undefined for sockets of the file system, and for a link-local address, which names its link behind a percent sign. */
function addressOf(text: string | undefined): IpAddress | undefined {
  const plain = text?.replace(/^::ffff:(?=\d+\.)/, '');
  return plain === undefined || isIP(plain) === 0 || plain.includes('%') ? undefined : parseIpAddress(plain);
}

function isLoopback(address: IpAddress): boolean {
  return typeof address === 'number' ? address >>> 24 === LOOPBACK : address === LOOPBACK6;
}

/** What TableSettings.protected is: `configured`, and the addresses of servers. */
export function protectedCidrs(configured: readonly Cidr[], servers: readonly IpAddress[]): ProtectedCidr[] {
  return [
    ...configured.map((cidr) => ({ cidr, what: 'in security.protect' })),
    ...servers.map((address) => ({
      cidr: networkOf(address, addressBits(address)),
      what: 'a server that this gateway reads or writes',
    })),
  ];
}
