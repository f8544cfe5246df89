import { type Cidr, cidrContains, cidrOverlaps, formatCidr, networkOf, sortCidrs } from '../base/address.ts';
import { GatewayError } from '../base/errors.ts';

/** The same addresses in as few prefixes as possible: none inside another, neighbours merged. IPv4 first, in the order of addresses. */
export function mergeCidrs(cidrs: readonly Cidr[]): Cidr[] {
  const merged: Cidr[] = [];
  for (const cidr of sortCidrs(cidrs)) {
    const last = merged.at(-1);
    if (last !== undefined && cidrContains(last, cidr)) continue;
    merged.push(cidr);
    mergeTail(merged);
  }
  return merged;
}

/** The last two may be the halves of one; that one may again be a half. */
function mergeTail(merged: Cidr[]): void {
  for (;;) {
    const [left, right] = [merged.at(-2), merged.at(-1)];
    if (left === undefined || right === undefined || left.prefixLength !== right.prefixLength) return;
    const prefixLength = left.prefixLength - 1;
    if (prefixLength < 0) return;
    const whole = networkOf(left.address, prefixLength);
    if (whole.address !== left.address || !cidrContains(whole, right)) return;
    merged.splice(-2, 2, whole);
  }
}

export interface NamedCidrs {
  readonly name: string;
  readonly cidrs: readonly Cidr[];
}

/** Named in one message; with more, the first tell enough. */
const OVERLAPS_SHOWN_MAX = 5;

/** Throws ISTHMUS_ERR_JOIN where an address belongs to both, with each pair. */
export function refuseOverlaps(a: NamedCidrs, b: NamedCidrs): void {
  const pairs = a.cidrs.flatMap((ours) =>
    b.cidrs
      .filter((theirs) => cidrOverlaps(ours, theirs))
      .map((theirs) => `${formatCidr(ours)} of ${a.name} and ${formatCidr(theirs)} of ${b.name}`),
  );
  if (pairs.length === 0) return;
  const more = pairs.length - OVERLAPS_SHOWN_MAX;
  const shown = pairs.slice(0, OVERLAPS_SHOWN_MAX).join('; ');
  throw new GatewayError(
    'ISTHMUS_ERR_JOIN',
    `the clusters share addresses, so that no packet between them could be told apart: ${shown}${more > 0 ? `; and ${more} more` : ''}; one of them has to be given other CIDRs`,
  );
}
