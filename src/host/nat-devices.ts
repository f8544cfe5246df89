import { readdirSync } from 'node:fs';
import { parseAddress } from '../base/address.ts';
import type { Netlink } from '../io/netlink.ts';
import type { Link } from '../io/netlink-link.ts';

/** A node has a few hundred pods at most; the set is written anew with each that comes. */
export const NEAR_DEVICES_MAX = 4096;

/** One end of a pair whose other end is in a pod's namespace. */
const POD_KINDS: ReadonlySet<string> = new Set(['veth', 'netkit']);

/** cilium_host is a veth by which packets also go to other nodes, in tunnel mode; weave is a bridge that spans all nodes by a veth. */
const SPANS_NODES = /^(?:cilium_|weave$|vethwe-bridge)/;

/** An address that no network has (RFC 5737): the kernel's route to it is the default route. */
const ANYWHERE = parseAddress('192.0.2.1');

/** What nft cannot write between quotation marks, and what it would take for a pattern. */
const UNQUOTABLE = /["*\\]/;

export interface DeviceFacts {
  readonly links: readonly Link[];
  /** Devices that lead off this node whatever they are: the tunnel, the underlay, the default route's. */
  readonly away: ReadonlySet<string>;
  /** Names of a bridge's ports; undefined where they cannot be known. */
  readonly ports: (bridge: string) => readonly string[] | undefined;
}

/**
 * Names of the devices behind which only pods of this node are, sorted: veth, netkit, and bridges of only these. What is not in the list, a NIC,
 * VXLAN, WireGuard, Open vSwitch or anything to be invented, counts as leading to other nodes. A list of those that do lead there would be
 * shorter and change less often, but a device missing from it would break connections; one missing here costs the client's address.
 */
export function nearDevices({ links, away, ports }: DeviceFacts): string[] {
  const isPod = ({ name, kind }: Link) =>
    POD_KINDS.has(kind) && !away.has(name) && !SPANS_NODES.test(name) && !UNQUOTABLE.test(name);
  const pods = new Set(links.filter(isPod).map(({ name }) => name));
  const isPodBridge = ({ name, kind }: Link) =>
    kind === 'bridge' &&
    !away.has(name) &&
    !SPANS_NODES.test(name) &&
    !UNQUOTABLE.test(name) &&
    (ports(name)?.every((port) => pods.has(port)) ?? false);
  const bridges = links.filter(isPodBridge).map(({ name }) => name);
  return [...pods, ...bridges].sort().slice(0, NEAR_DEVICES_MAX);
}

/** What is so on this host now. Throws IoError. */
export function readDeviceFacts(netlink: Netlink, tunnel: string, underlay: string): DeviceFacts {
  const links = netlink.links();
  const byDefault = netlink.routeTo(ANYWHERE)?.deviceIndex;
  const defaultName = links.find(({ index }) => index === byDefault)?.name;
  const away = new Set([tunnel, underlay]);
  if (defaultName !== undefined) away.add(defaultName);
  return { links, away, ports: portsOf };
}

/** As sysfs has them: netlink tells the bridge of a port by index only, in an attribute of each of hundreds of links. */
function portsOf(bridge: string): string[] | undefined {
  try {
    return readdirSync(`/sys/class/net/${bridge}/brif`);
  } catch {
    return undefined;
  }
}
