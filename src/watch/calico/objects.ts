import type { Cidr, Family, IpAddress } from '../../base/address.ts';
import type { Gateway } from '../../table/claim.ts';
import type { LabelMatcher, Labels } from '../gateway-selection.ts';
import type { Malformed } from '../last-good.ts';
import { addressOf, cidrOf, fieldAt, listAt, misfit, textAt, truthAt, wellFormed } from '../object-fields.ts';

/** An IPPool, cut down. */
export interface Pool {
  readonly name: string;
  readonly cidr: Cidr;
  readonly disabled: boolean;
}

/** A block of pod addresses that a node holds: one that routes lead to, not one that comes or goes. */
export interface Block {
  /** Of the BlockAffinity object; made up from node and CIDR in the same way where Calico is in etcd. */
  readonly name: string;
  readonly cidr: Cidr;
  readonly node: string;
}

/** A node as routes need it. */
export interface CalicoNode {
  /** One, or none where the node has no IPv4 address. A list that all its blocks share. */
  readonly gateways: readonly Gateway[];
  /** Whether its labels are those of a gateway. */
  readonly matches: boolean;
  readonly ready: boolean;
}

/** What the pod network lives on. The addresses of a pool for load balancers are announced to the outside, not tunnelled; see docs/calico.md. */
const TUNNELLED_USES = new Set(['Workload', 'Tunnel']);

export interface NodeReading {
  /** Of the underlay. */
  readonly family: Family;
  readonly matches: LabelMatcher;
  /** Whether anybody asks if it is ready: what nobody asks for must not make a change of the object one of the node. */
  readonly readiness: boolean;
}

/** An IPPool of either API group, or of etcd. undefined: one that makes no claims, for load balancers. */
export function poolOf(object: unknown, name: string): Pool | Malformed | undefined {
  return wellFormed(`IPPool/${name}`, () => {
    const cidr = cidrOf(fieldAt(object, 'spec.cidr'), 'spec.cidr');
    const uses = listAt(object, 'spec.allowedUses', 'a list such as [Workload, Tunnel]');
    if (uses.length > 0 && !uses.some((use) => TUNNELLED_USES.has(String(use)))) return undefined;
    return { name, cidr, disabled: truthAt(object, 'spec.disabled') };
  });
}

/** A BlockAffinity of either API group. undefined: one that no routes lead to. */
export function blockOf(object: unknown, name: string): Block | Malformed | undefined {
  return wellFormed(`BlockAffinity/${name}`, () => {
    const type = textAt(object, 'spec.type', 'host or virtual') ?? 'host';
    if (type !== 'host' && type !== '') return undefined;
    if (!isHeld(object, 'spec.')) return undefined;
    const cidr = cidrOf(fieldAt(object, 'spec.cidr'), 'spec.cidr');
    const node = textAt(object, 'spec.node', 'the name of a node');
    if (node === undefined || node === '') throw misfit('spec.node', node, 'the name of a node');
    return { name, cidr, node };
  });
}

/**
 * Whether a node holds the block: it is confirmed, and the first phase of its deletion has not begun. No state at all counts as confirmed,
 * since Calico before 3.0.7 wrote none and its IPAM reads it so (libcalico-go/lib/ipam/ipam.go).
 */
function isHeld(object: unknown, within: '' | 'spec.'): boolean {
  const state = textAt(object, `${within}state`, 'confirmed or another state') ?? '';
  return (state === 'confirmed' || state === '') && !truthAt(object, `${within}deleted`);
}

const BLOCK_KEY = /^\/calico\/ipam\/v2\/host\/([^/]+)\/ipv[46]\/block\/([^/]+)$/;

/** A block's key and value in etcd. undefined: another key below the same prefix, or a block that no routes lead to. */
export function blockOfKey(key: string, value: string): Block | Malformed | undefined {
  const [, node, dashed] = BLOCK_KEY.exec(key) ?? [];
  if (node === undefined || dashed === undefined) return undefined;
  return wellFormed(key, () => {
    if (!isHeld(value === '' ? {} : jsonOf(value), '')) return undefined;
    const cidr = cidrOf(dashed.replace('-', '/'), 'its last part');
    return { name: `${node}-${dashed.replaceAll(/[.:]/g, '-')}`, cidr, node };
  });
}

/** What stands in the value of a key; it throws what `wellFormed` makes a sentence of. */
export function jsonOf(value: string): unknown {
  try {
    return JSON.parse(value);
  } catch {
    throw misfit('its value', value, 'JSON');
  }
}

const ADDRESS_ANNOTATION = {
  ipv4: 'projectcalico.org/IPv4Address',
  ipv6: 'projectcalico.org/IPv6Address',
} as const;

const BGP_ADDRESS = { ipv4: 'spec.bgp.ipv4Address', ipv6: 'spec.bgp.ipv6Address' } as const;

/** A core/v1 Node: the address that Calico found for it and tunnels to, or its InternalIP where Calico has written none. */
export function nodeOf(object: unknown, name: string, reading: NodeReading): CalicoNode | Malformed {
  return wellFormed(`Node/${name}`, () => {
    const { family } = reading;
    const annotation = ADDRESS_ANNOTATION[family];
    const noted = (fieldAt(object, 'metadata.annotations') as Labels | undefined)?.[annotation];
    const address = noted
      ? addressOf(noted, `metadata.annotations["${annotation}"]`, family)
      : internalAddress(object, 'status.addresses', family);
    return nodeAt(address, object, reading, !reading.readiness || isReady(object));
  });
}

/** A Node of Calico's own, as it is in etcd, where nobody writes whether it is ready. */
export function etcdNodeOf(object: unknown, name: string, reading: NodeReading): CalicoNode | Malformed {
  return wellFormed(`Node/${name}`, () => {
    const { family } = reading;
    const path = BGP_ADDRESS[family];
    const noted = textAt(object, path, 'an address with a prefix length');
    const address = noted
      ? addressOf(noted, path, family)
      : internalAddress(object, 'spec.addresses', family);
    return nodeAt(address, object, reading, true);
  });
}

function nodeAt(
  address: IpAddress | undefined,
  object: unknown,
  reading: NodeReading,
  ready: boolean,
): CalicoNode {
  const matches = reading.matches(fieldAt(object, 'metadata.labels') as Labels | undefined);
  return { gateways: address === undefined ? [] : [{ address, weight: 1 }], matches, ready };
}

/** A node whose kubelet says nothing on it is taken for ready: not all who make Nodes write conditions. */
function isReady(node: unknown): boolean {
  const conditions = listAt(node, 'status.conditions', 'a list of conditions');
  const ready = conditions.find((condition) => fieldAt(condition, 'type') === 'Ready');
  return ready === undefined || fieldAt(ready, 'status') === 'True';
}

/** The first InternalIP of the family. */
function internalAddress(object: unknown, path: string, family: Family): IpAddress | undefined {
  for (const [i, entry] of listAt(object, path, 'a list of addresses').entries()) {
    if (fieldAt(entry, 'type') !== 'InternalIP') continue;
    const address = addressOf(fieldAt(entry, 'address'), `${path}[${i}].address`, family);
    if (address !== undefined) return address;
  }
  return undefined;
}
