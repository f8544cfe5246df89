import { IPv4, IPv4Prefix } from 'ip-num';
import { GatewayError, messageOf } from './errors.ts';

/** An IPv4 address is a u32 in host order everywhere in memory; on the wire it is four bytes at an offset. */
export type Address = number;

/** An IPv4 prefix; the bits of `address` behind `prefixLength` are zero. */
export interface Cidr4 {
  readonly address: Address;
  readonly prefixLength: number;
}

/** Reads dotted decimal. Throws ISTHMUS_ERR_ADDRESS with the text and what is wrong with it. */
export function parseAddress(text: string): Address {
  try {
    return Number(IPv4.fromDecimalDottedString(text).getValue());
  } catch (cause) {
    throw new GatewayError('ISTHMUS_ERR_ADDRESS', `"${text}" is not an IPv4 address such as 10.1.2.3`, {
      cause,
    });
  }
}

export function formatAddress(address: Address): string {
  return IPv4.fromNumber(address >>> 0).toString();
}

/**
 * Reads `a.b.c.d/n`. Throws ISTHMUS_ERR_ADDRESS. Host bits that are set are refused and the prefix that was probably meant is
 * named, because ip-num keeps them silently and a /16 written with a host address is as often a typing error in the length.
 */
export function parseCidr(text: string): Cidr4 {
  const slash = text.indexOf('/');
  if (slash < 0) {
    throw new GatewayError(
      'ISTHMUS_ERR_ADDRESS',
      `"${text}" is not a CIDR: a prefix length is missing, as in ${text}/24`,
    );
  }
  const address = parseAddress(text.slice(0, slash));
  const prefixLength = parsePrefixLength(text, text.slice(slash + 1));
  const network = (address & prefixMask(prefixLength)) >>> 0;
  if (network !== address) {
    const meant = formatCidr({ address: network, prefixLength });
    throw new GatewayError('ISTHMUS_ERR_ADDRESS', `"${text}" has host bits set; did you mean ${meant}?`);
  }
  return { address, prefixLength };
}

function parsePrefixLength(whole: string, digits: string): number {
  if (!/^\d{1,2}$/.test(digits)) {
    throw new GatewayError(
      'ISTHMUS_ERR_ADDRESS',
      `"${whole}" is not a CIDR: "${digits}" is not a prefix length from 0 to 32`,
    );
  }
  try {
    return Number(IPv4Prefix.fromNumber(BigInt(digits)).getValue());
  } catch (cause) {
    throw new GatewayError('ISTHMUS_ERR_ADDRESS', `"${whole}" is not a CIDR: ${messageOf(cause)}`, { cause });
  }
}

export function formatCidr(cidr: Cidr4): string {
  return `${formatAddress(cidr.address)}/${cidr.prefixLength}`;
}

/** The u32 mask of a prefix length from 0 to 32. */
export function prefixMask(prefixLength: number): number {
  return prefixLength === 0 ? 0 : (0xffff_ffff << (32 - prefixLength)) >>> 0;
}

export function cidrContains(outer: Cidr4, inner: Cidr4): boolean {
  return outer.prefixLength <= inner.prefixLength && cidrHolds(outer, inner.address);
}

export function cidrHolds(cidr: Cidr4, address: Address): boolean {
  return (address & prefixMask(cidr.prefixLength)) >>> 0 === cidr.address;
}

export function cidrOverlaps(a: Cidr4, b: Cidr4): boolean {
  return cidrContains(a, b) || cidrContains(b, a);
}

/** One number for a CIDR, exact in a double and unique: a Map key without allocating a string. Sorts by address, then by length. */
export function cidrKey(cidr: Cidr4): number {
  return cidr.address * 64 + cidr.prefixLength;
}

export function cidrOfKey(key: number): Cidr4 {
  return { address: Math.floor(key / 64), prefixLength: key % 64 };
}
