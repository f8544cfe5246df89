import type { Address, Cidr, IpAddress } from '../base/address.ts';

/**
 * A gateway of an entry. Flows are shared in proportion to `weight`, a whole number from 0 to GATEWAY_WEIGHT_MAX: to one of weight 0 nothing
 * is sent, while what comes from it is accepted like that of the others.
 */
export interface FibGateway {
  readonly address: IpAddress;
  readonly weight: number;
}

/** What is to be forwarded: a CIDR of a remote cluster and the gateways that reach it (1 to GATEWAYS_MAX, each address once). */
export interface FibEntry {
  readonly cidr: Cidr;
  readonly cluster: string;
  readonly gateways: readonly FibGateway[];
}

/** Encapsulated packets go in UDP: to the port that a peer has, and come to ours. */
export interface FibUdp {
  readonly port: number;
  /** Peers that take them at another port than we do. */
  readonly peerPorts: ReadonlyMap<IpAddress, number>;
}

export interface FibSettings {
  /** Underlay address, the outer source. */
  readonly source: IpAddress;
  /** Our overlay address for what this host itself sends; 0 = none. */
  readonly tunnelAddress: Address;
  /** MTU of the underlay device. */
  readonly linkMtuBytes: number;
  /** What merged TCP is cut to: the MTU of the TUN device or of a pod behind it; by default what encapsulation leaves of the link's. */
  readonly deviceMtuBytes?: number;
  /** 1 to 255. */
  readonly ttl: number | 'inherit';
  /** 0 to 63. */
  readonly dscp: number | 'inherit';
  readonly ecn: 'normal' | 'compatibility';
  readonly fragment: 'inner' | 'outer';
  readonly clampMss: boolean;
  readonly innerSource: 'strict' | 'loose' | 'off';
  /** Outer sources that are accepted besides the gateways; at most DECAPSULATE_FROM_MAX. */
  readonly allowedSources: readonly Cidr[];
  /** Names of the clusters that packets from the tunnel may go on to. */
  readonly transit: readonly string[];
  /** Absent: IP protocol 4. */
  readonly udp?: FibUdp | undefined;
  /** What has only dead gateways is sent to them all the same; else it is answered with ICMP host unreachable. */
  readonly failOpen?: boolean;
}

export interface PeerInfo {
  readonly index: number;
  readonly address: IpAddress;
  readonly clusters: readonly string[];
  readonly alive: boolean;
  /** 0 = the MTU of the link. */
  readonly pathMtuBytes: number;
}

export interface GatewayShare extends FibGateway {
  readonly alive: boolean;
  /** Part of all flows, 0 to 1. */
  readonly share: number;
}

export interface FibStats {
  /** Remote and local prefixes that the packet path sees. */
  readonly prefixes: number;
  readonly groups: number;
  readonly peers: number;
  readonly clusters: number;
  /** Words in use, in bytes: header, root, records up to the highest ever used, blocks. */
  readonly bytesUsed: number;
  /** The same with the highest place a block ever had: what the system has to back with memory. */
  readonly bytesTouched: number;
  readonly bytesCapacity: number;
  /** What the control side keeps beside the image (prefix set), in bytes. */
  readonly controlBytes: number;
  readonly epoch: number;
  /** Blocks and indexes that some reader may still hold. */
  readonly retired: number;
}
