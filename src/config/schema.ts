import type { z } from 'zod';
import { CLUSTERS_MAX, DECAPSULATE_FROM_MAX, GATEWAYS_MAX, LOCAL_CIDRS_MAX } from '../base/limits.ts';
import { acrossSections, eachGatewayOnce, eachNameOnce } from './cross-checks.ts';
import {
  absolutePathOr,
  address,
  addressOr,
  choice,
  cidr,
  cidr4,
  cidrOrAddress,
  device,
  flag,
  hostNameOr,
  integer,
  integerOr,
  ipAddressOr,
  label,
  listenOr,
} from './fields.ts';
import { across, list, section } from './section.ts';
import { duration, size, wordsOrDuration } from './units.ts';
import { gatewaySchema, watchSchema } from './watch-schema.ts';

/** The FIB holds this many prefixes; a list beyond it could not be used. */
export const CIDRS_MAX = 1_000_000;
const WATCHES_MAX = 64;
/** Each claim is compared with each of them. */
const PROTECTED_MAX = 256;
const WORKERS_MAX = 32;
/** RFC 791: every host must accept datagrams of 576 bytes, so a smaller tunnel breaks what relies on it. */
const TUNNEL_MTU_MIN = 576;
/** A total length of 16 bits, less the outer header. */
const TUNNEL_MTU_MAX = 65_515;

/** A remote cluster, as in `clusters` of the configuration and in watched files. */
const clusterSchema = section({
  name: label().describe('name of the remote cluster'),
  cidrs: list(cidr(), 'CIDRs', 1, CIDRS_MAX).describe('its pod and service addresses'),
  gateways: across(list(gatewaySchema, 'gateways', 1, GATEWAYS_MAX), eachGatewayOnce).describe(
    'the gateways that reach it; flows are shared among them',
  ),
});

/** The bare list; a watched file may consist of it. */
export const clustersSchema = across(list(clusterSchema, 'clusters', 0, CLUSTERS_MAX), eachNameOnce);

/** The other shape of a watched file. */
export const clusterFileSchema = section({ clusters: clustersSchema });

const clusterSection = section({
  name: label().describe('our own name, as other clusters call us'),
  cidrs: list(cidr(), 'CIDRs', 0, LOCAL_CIDRS_MAX)
    .describe(
      'our own addresses: never tunnelled, and the only accepted inner destinations; a source of our own cluster learns more, and without one some are needed',
    )
    .prefault([]),
  gateway: hostNameOr('auto')
    .describe(
      'name of this gateway among those of its cluster; auto is NODE_NAME of the environment, or the host name',
    )
    .prefault('auto'),
});

const underlaySection = section({
  address: ipAddressOr('auto')
    .describe('source of the outer header; auto takes the source address of the route to the first gateway')
    .prefault('auto'),
  family: choice(['auto', 'ipv4', 'ipv6'])
    .describe(
      'addresses of the underlay, of ours and of all gateways; auto is the family of underlay.address, and ipv4 where that is auto too',
    )
    .prefault('auto'),
  device: device()
    .describe('device of the underlay; auto takes the one that has the address')
    .prefault('auto'),
});

const fouPeerSchema = section({
  address: address().describe('underlay address of the gateway'),
  port: integer(1, 65_535).describe('UDP port at which it takes fou'),
});

const tunnelSection = section({
  device: device().describe('name of the TUN device').prefault('isthmus0'),
  address: addressOr('none', null)
    .describe('an overlay address of ours, the source of what this host itself sends into the tunnel')
    .prefault('none'),
  mtu: integerOr('auto', TUNNEL_MTU_MIN, TUNNEL_MTU_MAX)
    .describe(
      'MTU of the TUN device; auto is the MTU of the underlay device less 20, 28 with fou, or 40 where that is of IPv6',
    )
    .prefault('auto'),
  encapsulation: choice(['ipip', 'fou'])
    .describe(
      'ipip is IP protocol 4 (RFC 2003); fou puts the same packets into UDP, for networks that drop protocol 4; both ends need the same',
    )
    .prefault('ipip'),
  fouPort: integer(1, 65_535)
    .describe('UDP port for fou: where packets come to us, and go to gateways that fouPeers does not name')
    .prefault(5555),
  fouPeers: across(list(fouPeerSchema, 'gateways', 0, GATEWAYS_MAX), eachGatewayOnce)
    .describe('gateways that take fou at another UDP port')
    .prefault([]),
  mode: choice(['always', 'cross-subnet'])
    .describe(
      'which gateways are reached through the tunnel: all, or only those of other segments; one on our own is routed to directly',
    )
    .prefault('always'),
  gatewayGrace: duration(0)
    .describe('how long a gateway that left its route, or changed its address, may still send to us')
    .prefault('30s'),
  ttl: integerOr('inherit', 1, 255)
    .describe('TTL of the outer header; inherit copies the inner one (RFC 2003 §3.1)')
    .prefault(64),
  dscp: integerOr('inherit', 0, 63)
    .describe('DSCP of the outer header; inherit copies the inner one (RFC 2983)')
    .prefault('inherit'),
  ecn: choice(['normal', 'compatibility'])
    .describe(
      'normal copies the ECN field to the outer header, compatibility clears it there (RFC 6040 §4.1)',
    )
    .prefault('normal'),
  engine: choice(['auto', 'userspace'], { ebpf: 'not supported by this version' })
    .describe('what carries the packets; auto takes the fastest that this machine has')
    .prefault('auto'),
  workers: integerOr('auto', 1, WORKERS_MAX)
    .describe('packet workers; auto is one for each two processors, 8 at most')
    .prefault('auto'),
  busyPoll: wordsOrDuration(['auto', 'off'], 1, 10)
    .describe(
      'longest time a worker looks for the next packet before it sleeps, while packets come that close; auto is 200 µs with two processors or more; docs/performance.md',
    )
    .prefault('auto'),
  underlaySocket: choice(['batch', 'raw-socket'])
    .describe(
      'batch moves many packets in a system call; raw-socket is the portable npm package of that name',
    )
    .prefault('batch'),
  transmit: choice(['raw', 'packet'])
    .describe(
      'raw sends by the routing and netfilter of this host; packet straight by the device to the next hop, past netfilter, conntrack and IPsec, see docs/performance.md',
    )
    .prefault('raw'),
  fragment: choice(['inner', 'outer'])
    .describe(
      'what is fragmented when a packet without DF does not fit: it, or its encapsulation (RFC 2003 §5.1)',
    )
    .prefault('inner'),
  clampMss: flag().describe('lower the MSS of TCP SYN segments to what fits the path').prefault(true),
  keepOnExit: flag()
    .describe('leave device, addresses and routes in place when the gateway stops')
    .prefault(false),
  receiveBuffer: size(65_536, 2 ** 30)
    .describe('receive buffer of each underlay socket')
    .prefault('8MiB'),
  sendBuffer: size(65_536, 2 ** 30)
    .describe('send buffer of each underlay socket')
    .prefault('8MiB'),
  queueLength: integer(1, 1_000_000).describe('transmit queue of the TUN device, in packets').prefault(5000),
});

const securitySection = section({
  decapsulateFrom: list(cidrOrAddress(), 'CIDRs', 0, DECAPSULATE_FROM_MAX)
    .describe('further outer sources to accept, besides the gateways of remote clusters')
    .prefault([]),
  innerSource: choice(['strict', 'loose', 'off'])
    .describe(
      'which inner sources a peer may send: those of its clusters, of any remote cluster, or any (RFC 2827)',
    )
    .prefault('strict'),
  protect: list(cidrOrAddress(), 'CIDRs', 0, PROTECTED_MAX)
    .describe(
      'what no remote cluster may claim, nor anything around it; API servers and etcds that this gateway reads are protected in any case',
    )
    .prefault([]),
  transit: list(label(), 'cluster names', 0, CLUSTERS_MAX)
    .describe(
      'remote clusters for which we also forward what other remote clusters send them; else only our own CIDRs are accepted as inner destinations',
    )
    .prefault([]),
});

const routesSection = section({
  table: integer(1, 0xffff_ffff).describe('kernel routing table for our routes; 254 is main').prefault(254),
  metric: integer(0, 0xffff_ffff).describe('metric of our kernel routes').prefault(100),
  protocol: integer(5, 255)
    .describe('routing protocol number by which we know our kernel routes again; 0 to 4 belong to the kernel')
    .prefault(73),
});

const servicesSection = section({
  cidrs: list(cidr4(), 'CIDRs', 0, LOCAL_CIDRS_MAX)
    .describe('those of our own CIDRs that are service addresses; sources that read Kubernetes add theirs')
    .prefault([]),
  masquerade: choice(['auto', 'always', 'never'])
    .describe(
      'whether connections from remote clusters to our services get the address of this host as their source: where the reply would not come back through this gateway, always, or never',
    )
    .prefault('auto'),
  keepSource: flag()
    .describe(
      'what leaves our CIDRs for remote clusters keeps its source, whatever other NAT rules of this host say',
    )
    .prefault(false),
});

const hostSection = section({
  checks: choice(['enforce', 'warn', 'off'])
    .describe(
      'what a host setting that breaks forwarding leads to: an exit at start, a problem in status, or nothing',
    )
    .prefault('warn'),
});

const healthSection = section({
  probes: choice(['auto', 'required', 'off'])
    .describe(
      'whether gateways are probed: auto uses one that never answered all the same, since not all can answer; required does not; off uses all',
    )
    .prefault('auto'),
  interval: duration(10)
    .describe('between two probes of a gateway; with more than 250 gateways it grows with their number')
    .prefault('500ms'),
  deadAfter: duration(50)
    .describe(
      'a gateway that answered once and leaves probes unanswered for this long is dead: its flows move',
    )
    .prefault('2s'),
  hold: duration(0)
    .describe('a dead gateway that answers again gets its flows back after this long')
    .prefault('5s'),
  allDead: choice(['fail-closed', 'fail-open'])
    .describe(
      'what happens to packets when every gateway is dead: they are answered with ICMP host unreachable, or sent all the same',
    )
    .prefault('fail-closed'),
  pathMtu: flag()
    .describe('find the path MTU of each gateway that answers with padded probes (RFC 8899); needs no ICMP')
    .prefault(true),
});

const adminSection = section({
  listen: listenOr('none').describe('where the admin API listens').prefault('127.0.0.1:9461'),
});

const stateSection = section({
  directory: absolutePathOr('none')
    .describe('folder of the snapshot from which a restart forwards before its sources answer')
    .prefault('/var/lib/isthmus'),
});

const logSection = section({
  level: choice(['debug', 'info', 'warn', 'error'])
    .describe('the least severe events that are logged')
    .prefault('info'),
});

export const configSchema = across(
  section({
    cluster: clusterSection,
    underlay: underlaySection.prefault({}),
    tunnel: tunnelSection.prefault({}),
    clusters: clustersSchema.describe('static remote clusters; watched sources add to them').prefault([]),
    watch: list(watchSchema, 'sources', 0, WATCHES_MAX).describe('sources of remote clusters').prefault([]),
    security: securitySection.prefault({}),
    services: servicesSection.prefault({}),
    routes: routesSection.prefault({}),
    host: hostSection.prefault({}),
    health: healthSection.prefault({}),
    admin: adminSection.prefault({}),
    state: stateSection.prefault({}),
    log: logSection.prefault({}),
  }),
  acrossSections,
);

/** Parsed: addresses as u32, CIDRs as Cidr, durations in ms (`never` is Infinity), sizes in bytes. */
export type Config = z.output<typeof configSchema>;
export type ClusterConfig = z.output<typeof clusterSchema>;
