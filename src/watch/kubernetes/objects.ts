import type { Cidr, Family, IpAddress } from '../../base/address.ts';
import type { KubernetesObject } from '../kubernetes-api/resource.ts';
import type { Malformed } from '../last-good.ts';
import { addressOf, cidrOf, FAMILY_NAME, fieldAt, listAt, misfit, wellFormed } from '../object-fields.ts';

/** An IPv4 CIDR of an object, and where it stands in the object's list: its claim is named by that. */
export interface ListedCidr {
  readonly index: number;
  readonly cidr: Cidr;
}

/** A core/v1 Node, cut down. */
export interface KubernetesNode {
  readonly podCidrs: readonly ListedCidr[];
  /** Underlay address; undefined where it has none and none is needed. */
  readonly address: IpAddress | undefined;
  /** Whether its labels make it a gateway. */
  readonly matches: boolean;
  readonly ready: boolean;
}

/** A ServiceCIDR of networking.k8s.io, or one CIDR of the configuration in its place. */
export interface ServiceRange {
  /** Its claims are called this, the second one `id#1`. */
  readonly id: string;
  readonly cidrs: readonly ListedCidr[];
}

export type AddressType = 'InternalIP' | 'ExternalIP';

export interface NodeReading {
  /** Whether pod CIDRs count; where Calico or Cilium gives out addresses, those of Nodes are nobody's. */
  readonly pods: boolean;
  readonly addressType: AddressType;
  /** Of the underlay. */
  readonly family: Family;
  readonly matches: (labels: Readonly<Record<string, string>> | undefined) => boolean;
  /** Which nodes must have an address; `ignored`: none is asked for one, since nobody sends to nodes of our own cluster. */
  readonly addresses: 'ignored' | 'optional' | 'of-matching' | 'of-all';
}

export function nodeOf(object: KubernetesObject, reading: NodeReading): KubernetesNode | Malformed {
  return wellFormed(`Node/${object.metadata.name}`, () => {
    const matches = reading.matches(object.metadata.labels);
    const { addresses } = reading;
    const podCidrs = reading.pods ? podCidrsOf(object) : [];
    // What nobody asks for must not make a change of the object one of the node.
    if (addresses === 'ignored') return { podCidrs, address: undefined, matches, ready: true };
    const address = nodeAddress(object, reading);
    const needed = addresses === 'of-all' || (addresses === 'of-matching' && matches);
    if (needed && address === undefined) throw missingAddress(object, reading);
    return { podCidrs, address, matches, ready: isReady(object) };
  });
}

/** `podCIDR` alone is what servers before 1.16 wrote; later ones write it as the first of `podCIDRs`. */
function podCidrsOf(object: KubernetesObject): ListedCidr[] {
  const listed = listedCidrs(object, 'spec.podCIDRs');
  const alone = fieldAt(object, 'spec.podCIDR') ?? '';
  if (listed.length > 0 || alone === '' || fieldAt(object, 'spec.podCIDRs') !== undefined) return listed;
  return [{ index: 0, cidr: cidrOf(alone, 'spec.podCIDR') }];
}

export function listedCidrs(object: unknown, path: string): ListedCidr[] {
  return listAt(object, path, 'a list of CIDRs').map((text, index) => ({
    index,
    cidr: cidrOf(text, `${path}[${index}]`),
  }));
}

/** The first of the type and of the family. */
function nodeAddress(
  object: KubernetesObject,
  { addressType: type, family }: NodeReading,
): IpAddress | undefined {
  const path = 'status.addresses';
  for (const [i, entry] of listAt(object, path, 'a list of addresses').entries()) {
    if (fieldAt(entry, 'type') !== type) continue;
    const address = addressOf(fieldAt(entry, 'address'), `${path}[${i}].address`, family);
    if (address !== undefined) return address;
  }
  return undefined;
}

/** Names what is there: the other type is often the one that was meant. */
function missingAddress(object: KubernetesObject, { addressType: type, family }: NodeReading): Error {
  const there = listAt(object, 'status.addresses', 'a list of addresses').map(
    (entry) => `${fieldAt(entry, 'type')} ${fieldAt(entry, 'address')}`,
  );
  return misfit('status.addresses', there, `an ${type} of ${FAMILY_NAME[family]}`);
}

/** A node without the condition is one that no kubelet and no controller has judged yet; Unknown is a kubelet that fell silent. */
function isReady(object: KubernetesObject): boolean {
  for (const condition of listAt(object, 'status.conditions', 'a list of conditions')) {
    if (fieldAt(condition, 'type') === 'Ready') return fieldAt(condition, 'status') === 'True';
  }
  return true;
}

export function serviceRangeOf(object: KubernetesObject): ServiceRange | Malformed {
  const id = `ServiceCIDR/${object.metadata.name}`;
  return wellFormed(id, () => ({ id, cidrs: listedCidrs(object, 'spec.cidrs') }));
}
