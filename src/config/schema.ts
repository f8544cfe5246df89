import { z } from 'zod';
import {
  CLUSTERS_MAX,
  DECAPSULATE_FROM_MAX,
  GATEWAY_WEIGHT_MAX,
  GATEWAYS_MAX,
  LOCAL_CIDRS_MAX,
} from '../base/limits.ts';
import { acrossSections, eachGatewayOnce, eachNameOnce } from './cross-checks.ts';
import {
  absolutePathOr,
  address,
  addressOr,
  choice,
  cidr,
  cidrOrAddress,
  device,
  flag,
  integer,
  integerOr,
  label,
  listenOr,
  path,
} from './fields.ts';
import { across, list, section } from './section.ts';
import { duration, durationOrNever, size } from './units.ts';

/** The FIB holds this many prefixes; a list beyond it could not be used. */
export const CIDRS_MAX = 1_000_000;
const WATCHES_MAX = 64;
const WORKERS_MAX = 32;
/** RFC 791: every host must accept datagrams of 576 bytes, so a smaller tunnel breaks what relies on it. */
const TUNNEL_MTU_MIN = 576;
/** A total length of 16 bits, less the outer header. */
const TUNNEL_MTU_MAX = 65_515;

const gatewaySchema = section({
  address: address().describe('underlay address of a gateway that decapsulates for the cluster'),
  weight: integer(1, GATEWAY_WEIGHT_MAX)
    .describe('share of the flows, in proportion to the weights of the other gateways')
    .prefault(1),
});

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

const fileWatchSchema = section({
  // A literal and no choice(), because zod picks the member of the union by it.
  kind: z
    .literal('file')
    .meta({ expected: 'file' })
    .describe('a YAML or JSON file, or a folder of them, that lists remote clusters'),
  path: path().describe('the file or folder; a relative path starts at the folder of the configuration file'),
  priority: integer(-1000, 1000)
    .describe(
      'among sources that claim the same CIDR for the same cluster, the highest decides on the gateways',
    )
    .prefault(0),
  staleAfter: durationOrNever(1000)
    .describe('how long the last claims of a source stay in force while it cannot be read')
    .prefault('never'),
  massWithdrawalHold: duration(0)
    .describe('how long the withdrawal of more than half of the claims waits before it is believed')
    .prefault('30s'),
  pollInterval: duration(100)
    .describe('how often the file is compared in case the kernel reported no change')
    .prefault('5s'),
});

const clusterSection = section({
  name: label().describe('our own name, as other clusters call us'),
  cidrs: list(cidr(), 'CIDRs', 1, LOCAL_CIDRS_MAX).describe(
    'our own addresses: never tunnelled, and the only accepted inner destinations',
  ),
});

const underlaySection = section({
  address: addressOr('auto', 'auto')
    .describe('source of the outer header; auto takes the source address of the route to the first gateway')
    .prefault('auto'),
  device: device()
    .describe('device of the underlay; auto takes the one that has the address')
    .prefault('auto'),
});

const tunnelSection = section({
  device: device().describe('name of the TUN device').prefault('isthmus0'),
  address: addressOr('none', null)
    .describe('an overlay address of ours, the source of what this host itself sends into the tunnel')
    .prefault('none'),
  mtu: integerOr('auto', TUNNEL_MTU_MIN, TUNNEL_MTU_MAX)
    .describe('MTU of the TUN device; auto is the MTU of the underlay device less 20')
    .prefault('auto'),
  mode: choice(['always'], { 'cross-subnet': 'not supported by this version' })
    .describe('which gateways are reached through the tunnel')
    .prefault('always'),
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
  underlaySocket: choice(['batch', 'raw-socket'])
    .describe(
      'batch moves many packets in a system call; raw-socket is the portable npm package of that name',
    )
    .prefault('batch'),
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

const hostSection = section({
  checks: choice(['enforce', 'warn', 'off'])
    .describe(
      'what a host setting that breaks forwarding leads to: an exit at start, a problem in status, or nothing',
    )
    .prefault('warn'),
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
    watch: list(z.discriminatedUnion('kind', [fileWatchSchema]), 'sources', 0, WATCHES_MAX)
      .describe('sources of remote clusters')
      .prefault([]),
    security: securitySection.prefault({}),
    routes: routesSection.prefault({}),
    host: hostSection.prefault({}),
    admin: adminSection.prefault({}),
    state: stateSection.prefault({}),
    log: logSection.prefault({}),
  }),
  acrossSections,
);

/** Parsed: addresses as u32, CIDRs as Cidr, durations in ms (`never` is Infinity), sizes in bytes. */
export type Config = z.output<typeof configSchema>;
export type ClusterConfig = z.output<typeof clusterSchema>;
export type WatchConfig = Config['watch'][number];
