import { type Cidr, type Family, formatCidr, type IpAddress } from '../../base/address.ts';
import type { Malformed } from '../last-good.ts';
import { addressOf, cidrOf, fieldAt, listAt, wellFormed } from '../object-fields.ts';

/** A CIDR of pods, and how its claim is called. */
export interface PodRange {
  readonly id: string;
  readonly cidr: Cidr;
}

/** A CiliumNode (cilium.io/v2), cut down. */
export interface CiliumNode {
  readonly ranges: readonly PodRange[];
  /** undefined where it has no InternalIP of the underlay's family. */
  readonly address: IpAddress | undefined;
  /** Whether its labels are those of a gateway. */
  readonly matches: boolean;
  /** Cilium's agent writes no condition: who wants unready nodes left out reads the Nodes of Kubernetes. */
  readonly ready: true;
}

type Matches = (labels: Readonly<Record<string, string>> | undefined) => boolean;

export function ciliumNodeOf(
  object: unknown,
  name: string,
  matches: Matches,
  family: Family,
): CiliumNode | Malformed {
  return wellFormed(`CiliumNode/${name}`, () => ({
    ranges: rangesOf(object, name),
    address: internalAddress(object, family),
    matches: matches(fieldAt(object, 'metadata.labels') as Parameters<Matches>[0]),
    ready: true,
  }));
}

/** What the node was given as a whole, and what the multi-pool IPAM gave it of each pool; a cluster uses one or the other. */
function rangesOf(object: unknown, name: string): PodRange[] {
  const ranges: PodRange[] = [];
  const podCidrs = 'spec.ipam.podCIDRs';
  for (const [i, text] of listAt(object, podCidrs, 'a list of CIDRs').entries()) {
    const cidr = cidrOf(text, `${podCidrs}[${i}]`);
    ranges.push({ id: `CiliumNode/${name}${i === 0 ? '' : `#${i}`}`, cidr });
  }
  const allocated = 'spec.ipam.pools.allocated';
  for (const [i, pool] of listAt(object, allocated, 'a list of pools').entries()) {
    for (const [j, text] of listAt(pool, 'cidrs', 'a list of CIDRs').entries()) {
      const cidr = cidrOf(text, `${allocated}[${i}].cidrs[${j}]`);
      // Pools come and go by themselves: named by its place in the list, a range would get another name with each of them.
      ranges.push({ id: `CiliumNode/${name}:${formatCidr(cidr)}`, cidr });
    }
  }
  return ranges;
}

function internalAddress(object: unknown, family: Family): IpAddress | undefined {
  const path = 'spec.addresses';
  for (const [i, entry] of listAt(object, path, 'a list of addresses').entries()) {
    if (fieldAt(entry, 'type') !== 'InternalIP') continue;
    const address = addressOf(fieldAt(entry, 'ip'), `${path}[${i}].ip`, family);
    if (address !== undefined) return address;
  }
  return undefined;
}
