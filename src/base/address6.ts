import { collapseIPv6Number, IPv6 } from 'ip-num';
import { GatewayError } from './errors.ts';

/** An IPv6 address is a 128-bit bigint in memory, never on the packet path; on the wire it is sixteen bytes at an offset. */
export type Address6 = bigint;

/** An IPv6 prefix; the bits of `address` behind `prefixLength` are zero. */
export interface Cidr6 {
  readonly address: Address6;
  readonly prefixLength: number;
}

const BITS = 128;

/** The longest text: eight groups of four digits. ip-num takes longer ones apart before it refuses them. */
const TEXT_MAX = 39;

/** Reads the text forms of RFC 4291 §2.2 without a zone. Throws ISTHMUS_ERR_ADDRESS with the text and what is wrong with it. */
export function parseAddress6(text: string): Address6 {
  try {
    if (text.length > TEXT_MAX) throw new RangeError('too long');
    return IPv6.fromString(text).getValue();
  } catch (cause) {
    throw new GatewayError('ISTHMUS_ERR_ADDRESS', `"${text}" is not an IPv6 address such as fd00:1::2`, {
      cause,
    });
  }
}

/** The one text form of RFC 5952 §4. */
export function formatAddress6(address: Address6): string {
  return collapseIPv6Number(IPv6.fromBigInt(address).toString());
}

/** Reads `a:b::/n`. Throws ISTHMUS_ERR_ADDRESS; host bits that are set are refused, and the prefix that was probably meant is named. */
export function parseCidr6(text: string): Cidr6 {
  const slash = text.indexOf('/');
  if (slash < 0) {
    throw new GatewayError(
      'ISTHMUS_ERR_ADDRESS',
      `"${text}" is not a CIDR: a prefix length is missing, as in ${text}/64`,
    );
  }
  const address = parseAddress6(text.slice(0, slash));
  const digits = text.slice(slash + 1);
  const prefixLength = /^\d{1,3}$/.test(digits) ? Number(digits) : BITS + 1;
  if (prefixLength > BITS) {
    throw new GatewayError(
      'ISTHMUS_ERR_ADDRESS',
      `"${text}" is not a CIDR: "${digits}" is not a prefix length from 0 to 128`,
    );
  }
  const network = networkOf6(address, prefixLength);
  if (network !== address) {
    const meant = formatCidr6({ address: network, prefixLength });
    throw new GatewayError('ISTHMUS_ERR_ADDRESS', `"${text}" has host bits set; did you mean ${meant}?`);
  }
  return { address, prefixLength };
}

export function formatCidr6({ address, prefixLength }: Cidr6): string {
  return `${formatAddress6(address)}/${prefixLength}`;
}

/** `address` without the bits behind `prefixLength`, 0 to 128. */
export function networkOf6(address: Address6, prefixLength: number): Address6 {
  const host = BigInt(BITS - prefixLength);
  return (address >> host) << host;
}

export function cidrHolds6({ address, prefixLength }: Cidr6, held: Address6): boolean {
  return networkOf6(held, prefixLength) === address;
}

/** One bigint for a CIDR that sorts by address, then by length. No Map key: see cidrKey of address.ts. */
export function cidrKey6({ address, prefixLength }: Cidr6): bigint {
  return (address << 8n) | BigInt(prefixLength);
}

export function cidrOfKey6(key: bigint): Cidr6 {
  return { address: key >> 8n, prefixLength: Number(key & 0xffn) };
}

/** The four words of an address as u32, the most significant first: as the packet path has it. */
export function wordsOf(address: Address6): [number, number, number, number] {
  const word = (shift: bigint): number => Number((address >> shift) & 0xffff_ffffn);
  return [word(96n), word(64n), word(32n), word(0n)];
}

/** The address whose words, as wordsOf gives them, begin at cell `at`. */
export function addressOfWords(words: Uint32Array, at: number): Address6 {
  let address = 0n;
  for (let i = at; i < at + 4; i++) address = (address << 32n) | BigInt(words[i]!);
  return address;
}

/** The address whose sixteen bytes begin at `at`. */
export function addressAt6(bytes: Uint8Array, at: number): Address6 {
  let address = 0n;
  for (let i = at; i < at + 16; i++) address = (address << 8n) | BigInt(bytes[i]!);
  return address;
}
