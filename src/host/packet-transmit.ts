import type { Address } from '../base/address.ts';
import type { Fib } from '../fib/fib.ts';
import { PEERS_MAX } from '../fib/layout.ts';
import type { Native } from '../io/native.ts';
import { NetlinkSubscription } from '../io/netlink-subscription.ts';
import { NextHopTable } from '../io/next-hop-table.ts';
import { openPacketSocket } from '../io/packet-sender.ts';
import { NextHops, type NextHopsSetup } from './next-hops.ts';

export interface PacketTransmitSetup extends Pick<NextHopsSetup, 'netlink' | 'clock' | 'logger' | 'source'> {
  readonly native: Native;
  readonly fib: Fib;
  readonly sendBufferBytes: number;
  /** Of our routes: that they come is no news. */
  readonly protocol: number;
}

/** What `tunnel.transmit: packet` takes: the table of next hops, who keeps it true, and a packet socket for each worker. */
export class PacketTransmit {
  readonly table = new NextHopTable(PEERS_MAX);
  readonly nextHops: NextHops;
  readonly #native: Native;
  readonly #sendBufferBytes: number;
  readonly #descriptors: number[] = [];

  /** Throws IoError, with nothing left open. */
  constructor(setup: PacketTransmitSetup) {
    const { native, fib, protocol } = setup;
    this.#native = native;
    this.#sendBufferBytes = setup.sendBufferBytes;
    this.nextHops = new NextHops({
      netlink: setup.netlink,
      clock: setup.clock,
      logger: setup.logger,
      table: this.table,
      source: setup.source,
      peers: () => ipv4Peers(fib),
      subscribe: (groups, listener) => new NetlinkSubscription(native, groups, listener, protocol),
    });
  }

  /** Throws ISTHMUS_ERR_PRIVILEGE or an IoError. */
  openSocket(): number {
    const descriptor = openPacketSocket(this.#native, this.#sendBufferBytes);
    this.#descriptors.push(descriptor);
    return descriptor;
  }

  /** When no worker sends any more. Idempotent. */
  close(): void {
    this.nextHops.close();
    for (const descriptor of this.#descriptors.splice(0)) this.#native.close(descriptor);
  }
}

/** All there are: with `tunnel.transmit: packet` the underlay is of IPv4. */
function* ipv4Peers(fib: Fib): Generator<{ index: number; address: Address }> {
  for (const { index, address } of fib.peerAddresses())
    if (typeof address === 'number') yield { index, address };
}
