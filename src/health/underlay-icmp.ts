import { existsSync } from 'node:fs';
import type { Address, IpAddress } from '../base/address.ts';
import { addressAt6 } from '../base/address6.ts';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { IcmpSocket } from '../io/icmp-socket.ts';
import { Icmp6Socket } from '../io/icmp6-socket.ts';
import { ICMP6 } from '../packet/icmp6.ts';
import { IPV6 } from '../packet/ipv6.ts';
import { IcmpFeed } from './icmp-feed.ts';
import { IcmpRelay, type IcmpRelayCounts, type IcmpRelaySetup } from './icmp-relay.ts';
import { Icmp6Feed } from './icmp6-feed.ts';
import type { PathMtuChange, PathMtuTable } from './path-mtu.ts';

/** There where the kernel has IPv6, whatever is enabled. */
const IPV6_OF_KERNEL = '/proc/net/if_inet6';

export interface UnderlayIcmpSetup {
  readonly pathMtu: PathMtuTable;
  readonly clock: Clock;
  /** Our underlay address: only errors about what we sent count. */
  readonly source: () => IpAddress | undefined;
  readonly isPeer: (address: IpAddress) => boolean;
  /** The UDP port to which packets go to a peer; 0 = they go as IP protocol 4. */
  readonly udpPortOf: (peer: IpAddress) => number;
  /** Whether an address is our cluster's. */
  readonly isLocal: (address: IpAddress) => boolean;
  /** SentHeaders.recall, of all engines. */
  readonly recall: IcmpRelaySetup['recall'];
  readonly onPathMtu: (change: PathMtuChange) => void;
  readonly distrustsReports: (peer: IpAddress) => boolean;
  readonly onError: (peer: IpAddress, text: string) => void;
}

/** The ICMP of the slow path: sends the engines' errors, hears those of the underlay, and passes them on to whom they concern. */
export class UnderlayIcmp {
  readonly #feed: IcmpFeed;
  readonly #relay: IcmpRelay;
  readonly #feed6: Icmp6Feed;
  readonly #source: UnderlayIcmpSetup['source'];
  #socket: IcmpSocket | undefined;
  /** None on a host without IPv6, which has nobody to send to. */
  #socket6: Icmp6Socket | undefined;
  #unsent = 0;

  constructor(setup: UnderlayIcmpSetup) {
    this.#relay = new IcmpRelay({ ...setup, send: this.send }, setup.clock.nowMs());
    this.#feed = new IcmpFeed({ ...setup, relay: this.#relay });
    this.#feed6 = new Icmp6Feed({ ...setup, send: this.send, send6: this.send6 });
    this.#source = setup.source;
  }

  /** Without a socket packets flow; only ICMP errors are neither sent nor heard. Returns why there is none. */
  open(): string | undefined {
    try {
      this.#socket = IcmpSocket.open();
      this.#socket.onReceive((packet) => this.#feed.receive(packet));
      if (existsSync(IPV6_OF_KERNEL)) this.#socket6 = Icmp6Socket.open();
      if (typeof this.#source() === 'bigint')
        this.#socket6?.listen((message, router) => this.#feed6.receive(message, router));
      return undefined;
    } catch (thrown) {
      return messageOf(thrown);
    }
  }

  /** Never throws; what cannot be sent is counted. */
  readonly send = (destination: Address, message: Uint8Array): void => {
    const failure = this.#socket === undefined || this.#socket.send(destination, message);
    if (failure !== undefined) this.#unsent += 1;
  };

  /** The same to the source of the IPv6 packet that the message quotes. */
  readonly send6 = (message: Uint8Array): void => {
    const destination = addressAt6(message, ICMP6.HEADER_BYTES + IPV6.SOURCE);
    const failure = this.#socket6 === undefined || this.#socket6.send(destination, message);
    if (failure !== undefined) this.#unsent += 1;
  };

  /** Lets what was learned long ago expire. Call every few seconds. */
  expire(): void {
    this.#feed.expire();
  }

  close(): void {
    this.#socket?.close();
    this.#socket6?.close();
  }

  get unsent(): number {
    return this.#unsent;
  }

  get counts(): UnderlayIcmpCounts {
    const [one, other] = [this.#relay.counts, this.#feed6.counts];
    return {
      accepted: this.#feed.accepted + this.#feed6.accepted,
      ignored: this.#feed.ignored + this.#feed6.ignored,
      relayed: one.relayed + other.relayed,
      notForSender: one.notForSender + other.notForSender,
      unknownSender: one.unknownSender + other.unknownSender,
      unanswerable: one.unanswerable + other.unanswerable,
      overLimit: one.overLimit + other.overLimit,
    };
  }
}

export interface UnderlayIcmpCounts extends IcmpRelayCounts {
  /** ICMP errors of the underlay about packets of ours, and about others. */
  readonly accepted: number;
  readonly ignored: number;
}
