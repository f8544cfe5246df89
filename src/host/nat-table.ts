import { type Cidr4, formatCidr } from '../base/address.ts';

/** What the rules are to do; the configuration's `services` section and what belongs to it. */
export interface NatWish {
  /** Whether connections from remote clusters to our services get an address of this host as their source. */
  readonly masquerade: 'auto' | 'always' | 'never';
  /** Those of our own CIDRs that are service addresses. */
  readonly services: readonly Cidr4[];
  /** All own CIDRs, services among them. */
  readonly local: readonly Cidr4[];
  /** What leaves own CIDRs by the tunnel keeps its source. */
  readonly keepSource: boolean;
  /** The device that outer packets leave by: nothing behind it is on this node. */
  readonly underlayDevice: string;
}

/** The device of the default configuration: its table has the plain name. */
const DEFAULT_DEVICE = 'isthmus0';

/**
 * Lower goes first. All NAT chains of a hook, those of iptables-legacy among them, run inside one hook of the kernel in the order of their
 * priorities, until one of them has decided on the connection (nf_nat_inet_fn of net/netfilter/nf_nat_core.c). `srcnat` is where iptables and
 * kube-proxy's nftables mode sit, so what is decided here is not decided again there.
 */
const PRIORITY = 'srcnat - 10';

/** One table for each gateway of a host: `isthmus`, or with the device's name where that is another. */
export function natTableName(device: string): string {
  if (device === DEFAULT_DEVICE) return 'isthmus';
  // An identifier of nft is letters, digits and / \ _ . -; device names may hold nearly anything.
  return `isthmus-${device.replaceAll(/[^A-Za-z0-9_.-]/g, '_')}`;
}

/** Whether there is anything to do for nftables at all. */
export function needsNat(wish: NatWish): boolean {
  return wish.services.length > 0 || (wish.keepSource && wish.local.length > 0);
}

/** For `nft -f -`: no such table, whether there was one or not. `destroy table` would say it shorter, from Linux 6.3 on. */
export function removalScript(device: string): string {
  const table = natTableName(device);
  return `table ip ${table}\ndelete table ip ${table}\n`;
}

/** For `nft -f -`: puts the table in the place of whatever has its name, in one transaction. `near`: names of devices. */
export function tableScript(device: string, wish: NatWish, near: readonly string[]): string {
  const { services, local, keepSource } = wish;
  const rules: string[] = [];
  // Not "ct status dnat": kube-proxy's IPVS mode rewrites the destination without that mark. What is still addressed to a service was handed
  // to nobody on this node, and is none of our business.
  if (services.length > 0)
    rules.push(
      `iifname ${quoted(device)} ct original ip daddr @services ip daddr != @services jump handed-over`,
    );
  // A connection whose destination kube-proxy has rewritten on its way out needs the source that kube-proxy gives it: its replies must pass here.
  if (keepSource)
    rules.push(`oifname ${quoted(device)} ip saddr @local ct status & dnat != dnat counter ${KEEP_SOURCE}`);
  return `${removalScript(device)}table ip ${natTableName(device)} {
  ${cidrSet('services', services)}
  ${cidrSet('local', local)}
  set near { type ifname; ${elements(near.map(quoted))}}
  chain handed-over {
    ${handedOver(wish.masquerade).join('\n    ')}
  }
  chain sources {
    type nat hook postrouting priority ${PRIORITY}; policy accept;
    ${rules.join('\n    ')}
  }
}
`;
}

/** For `nft -f -`: other near devices in the table that is there; counters stay. */
export function nearScript(device: string, near: readonly string[]): string {
  const set = `ip ${natTableName(device)} near`;
  const added = near.length === 0 ? '' : `add element ${set} { ${near.map(quoted).join(', ')} }\n`;
  return `flush set ${set}\n${added}`;
}

/** A rewriting that changes nothing: the kernel notes that the source is decided, and asks no later chain. */
const KEEP_SOURCE = 'snat to ip saddr';

/** Source ports at random, as kube-proxy has them: those the kernel counts up collide when connections begin on several CPUs at once. */
const MASQUERADE = 'masquerade fully-random';

/**
 * What becomes of a connection that came by the tunnel and was handed to an endpoint of a service. Each case is decided here, also where nothing
 * is rewritten: kube-proxy masquerades what comes from outside its own cluster's pod CIDR (--cluster-cidr) and would take remote pods for that.
 *
 * In `auto` an endpoint is on this node when both hold: the device is one that leads to pods (nat-devices.ts), and it is addressed there
 * without a next hop of another kind (`rt nexthop` is the destination itself where there is none, so it lies in our own CIDRs; a
 * next hop is a node). All else is masqueraded, also what we know nothing of: then a connection works and lacks its client's address.
 */
function handedOver(masquerade: NatWish['masquerade']): string[] {
  switch (masquerade) {
    case 'auto':
      return [`oifname @near rt ip nexthop @local counter ${KEEP_SOURCE}`, `counter ${MASQUERADE}`];
    case 'always':
      return [`counter ${MASQUERADE}`];
    case 'never':
      return [`counter ${KEEP_SOURCE}`];
  }
}

/** Merged by nft: own CIDRs may lie inside one another. */
function cidrSet(name: string, cidrs: readonly Cidr4[]): string {
  return `set ${name} { type ipv4_addr; flags interval; auto-merge; ${elements(cidrs.map(formatCidr))}}`;
}

/** An empty list of elements is an error of syntax to nft. */
function elements(texts: readonly string[]): string {
  return texts.length === 0 ? '' : `elements = { ${texts.join(', ')} }; `;
}

/** Callers leave out names with a quotation mark; nft has no way to write one. */
function quoted(name: string): string {
  return `"${name}"`;
}
