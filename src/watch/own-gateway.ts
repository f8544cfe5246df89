import { hostname } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import type { Cidr, IpAddress } from '../base/address.ts';
import type { Config } from '../config/schema.ts';

/** What others have to know of this gateway. */
export interface OwnGateway {
  readonly cluster: string;
  /** Unique among the gateways of the cluster. */
  readonly name: string;
  /** Underlay address; undefined while it is not known. */
  readonly address: IpAddress | undefined;
  /** Own CIDRs, configured and learned, none inside another. */
  readonly cidrs: readonly Cidr[];
}

/** The DaemonSet gives the name of the node; in a host's network namespace the host name is often the same, but not always. */
export function gatewayName({ cluster: { gateway } }: Config): string {
  return gateway === 'auto' ? process.env.NODE_NAME || hostname() : gateway;
}

/** This gateway as it is now, for those who announce it. */
export class OwnGatewayFeed {
  readonly #listeners = new Set<() => void>();
  #current: OwnGateway;

  constructor(first: OwnGateway) {
    this.#current = first;
  }

  get current(): OwnGateway {
    return this.#current;
  }

  set(next: OwnGateway): void {
    if (isDeepStrictEqual(this.#current, next)) return;
    this.#current = next;
    for (const listener of this.#listeners) listener();
  }

  /** Returns what ends the subscription. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
