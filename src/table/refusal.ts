import {
  type Cidr,
  cidrContains,
  cidrHolds,
  cidrOverlaps,
  type Family,
  familyOf,
  formatAddress,
  formatCidr,
  type IpAddress,
  isCidr4,
  parseCidr,
} from '../base/address.ts';
import type { Claim } from './claim.ts';
import type { Refused } from './entry.ts';
import { PrefixMap } from './prefix-map.ts';

export interface ProtectedCidr {
  readonly cidr: Cidr;
  /** Completes "…, which is ". */
  readonly what: string;
}

/** What the table must know of the gateway it runs in. */
export interface TableSettings {
  /** Our own name. */
  readonly cluster: string;
  /** Our own CIDRs. */
  readonly local: readonly Cidr[];
  /** Of the underlay: a gateway of the other one cannot be sent to. */
  readonly family?: Family;
  /** Every address of this host: none of them can be the gateway of another cluster. */
  readonly ownAddresses: readonly IpAddress[];
  /** The outer source of our packets; null while it is not known. */
  readonly underlay: IpAddress | null;
  /** What no other cluster may claim any part of, nor anything around: `security.protect`, and the servers that this gateway lives on. */
  readonly protected?: readonly ProtectedCidr[];
  /** How long a gateway that leaves a route which stays is still accepted from; 0, the default, is not at all. */
  readonly gatewayGraceMs?: number;
}

/** No remote cluster has fewer than 2^24 addresses less one to spare: what is shorter is a default route in pieces (0.0.0.0/1, 128.0.0.0/1). */
export const PREFIX_LENGTH_MIN = 8;

/** A site has a /48 and a provider a /32, the largest ones a /20 (RFC 6177, RFC 4193): what is shorter is the Internet in pieces (2000::/3). */
export const PREFIX_LENGTH_MIN_6 = 20;

const block = (text: string, what: string) => ({ cidr: parseCidr(text), what });

/**
 * RFC 1812 §5.3.7 and RFC 6890. Link-local holds the metadata services of the clouds. Of IPv6 RFC 4291 §2.4 and RFC 6666; not 64:ff9b::/96,
 * which a cluster with a NAT64 may well hold for others, nor 2001:db8::/32, which harms nobody.
 */
const MARTIANS = [
  block('0.0.0.0/8', 'this network'),
  block('127.0.0.0/8', 'loopback'),
  block('169.254.0.0/16', 'link-local'),
  block('224.0.0.0/4', 'multicast'),
  block('240.0.0.0/4', 'reserved'),
  block('::/128', 'the unspecified address'),
  block('::1/128', 'loopback'),
  block('::/96', 'IPv4-compatible'),
  block('::ffff:0:0/96', 'IPv4-mapped'),
  block('100::/64', 'discard-only'),
  block('fe80::/10', 'link-local'),
  block('fec0::/10', 'site-local'),
  block('ff00::/8', 'multicast'),
];

/** A gateway on a link-local underlay is unusual but works (cloud VPN attachments use such links); the other blocks never do. */
const NO_GATEWAYS_IN = MARTIANS.filter(({ what }) => what !== 'link-local');

const NAMES = { ipv4: 'IPv4', ipv6: 'IPv6' } as const;

/** Judges a claim by itself, without looking at any other. */
export class Judge {
  readonly settings: TableSettings;
  readonly #local = new PrefixMap<Cidr>();
  readonly #own: ReadonlySet<IpAddress>;
  readonly #gatewaysMax: number;

  constructor(settings: TableSettings, gatewaysMax: number) {
    this.settings = settings;
    for (const cidr of settings.local) this.#local.set(cidr, cidr);
    this.#own = new Set(settings.ownAddresses);
    this.#gatewaysMax = gatewaysMax;
  }

  refuse(claim: Claim): Refused | undefined {
    if (claim.local !== undefined) return refuseAnyones(claim.cidr);
    return this.#refuseCidr(claim.cidr, claim.cluster) ?? this.#refuseGateways(claim);
  }

  #refuseCidr(cidr: Cidr, cluster: string): Refused | undefined {
    if (cluster === this.settings.cluster) {
      return { reason: 'own-cluster', detail: `${cluster} is our own cluster` };
    }
    const refused = refuseAnyones(cidr);
    if (refused !== undefined) return refused;
    const local = this.#local.longest(cidr.address, cidr.prefixLength);
    if (local !== undefined) {
      return {
        reason: 'inside-local',
        detail: `${formatCidr(cidr)} is inside ${formatCidr(local)}, which is local`,
      };
    }
    const guarded = this.settings.protected?.find((entry) => cidrOverlaps(entry.cidr, cidr));
    if (guarded === undefined) return undefined;
    return {
      reason: 'protected',
      detail: `${formatCidr(cidr)} overlaps ${formatCidr(guarded.cidr)}, which is ${guarded.what}`,
    };
  }

  #refuseGateways({ cidr, gateways }: Claim): Refused | undefined {
    if (gateways.length === 0)
      return { reason: 'no-gateways', detail: 'no gateway is known that reaches it' };
    if (gateways.length > this.#gatewaysMax) {
      return {
        reason: 'limit',
        detail: `${gateways.length} gateways; a route has at most ${this.#gatewaysMax}`,
      };
    }
    const { family = 'ipv4' } = this.settings;
    for (const { address } of gateways) {
      if (familyOf(address) !== family) {
        return {
          reason: 'gateway-family',
          detail: `gateway ${formatAddress(address)} is no ${NAMES[family]} address, and the underlay is of ${NAMES[family]} (underlay.family)`,
        };
      }
      if (this.#own.has(address)) {
        return {
          reason: 'own-gateway',
          detail: `gateway ${formatAddress(address)} is an address of this host`,
        };
      }
      const martian = NO_GATEWAYS_IN.find((entry) => cidrHolds(entry.cidr, address));
      if (martian !== undefined) {
        return {
          reason: 'martian',
          detail: `gateway ${formatAddress(address)} is in ${formatCidr(martian.cidr)} (${martian.what})`,
        };
      }
      if (cidrHolds(cidr, address)) {
        return {
          reason: 'gateway-inside',
          detail: `${formatCidr(cidr)} holds its own gateway ${formatAddress(address)}: the tunnel would swallow itself`,
        };
      }
    }
    const { underlay } = this.settings;
    if (underlay === null || !cidrHolds(cidr, underlay)) return undefined;
    return {
      reason: 'gateway-inside',
      detail: `${formatCidr(cidr)} holds our own underlay address ${formatAddress(underlay)}`,
    };
  }
}

/** CIDRs that nobody can have, neither another cluster nor we. */
function refuseAnyones(cidr: Cidr): Refused | undefined {
  if (cidr.prefixLength === 0) {
    return { reason: 'default-route', detail: 'a default route would swallow all traffic of this host' };
  }
  const martian = MARTIANS.find((entry) => cidrContains(entry.cidr, cidr));
  if (martian !== undefined) return isMartian(cidr, martian);
  const lengthMin = isCidr4(cidr) ? PREFIX_LENGTH_MIN : PREFIX_LENGTH_MIN_6;
  if (cidr.prefixLength < lengthMin) {
    return {
      reason: 'too-short',
      detail: `${formatCidr(cidr)} is shorter than /${lengthMin}; claim the networks in it one by one`,
    };
  }
  const held = MARTIANS.find((entry) => cidrOverlaps(entry.cidr, cidr));
  return held === undefined ? undefined : isMartian(cidr, held);
}

function isMartian(cidr: Cidr, martian: { cidr: Cidr; what: string }): Refused {
  return {
    reason: 'martian',
    detail: `${formatCidr(cidr)} overlaps ${formatCidr(martian.cidr)} (${martian.what})`,
  };
}
