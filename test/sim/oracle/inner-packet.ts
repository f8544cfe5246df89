import { VERDICT } from '../../../src/packet/verdict.ts';
import { get16, headerLength, onesSum } from './wire.ts';

/** Why these bytes are no IPv4 packet that a gateway may carry: RFC 791 §3.1, RFC 2003 §3.1. FORWARD when they are one. */
export function judgeInner(bytes: Uint8Array): number {
  if (bytes.length < 20) return VERDICT.INNER_TRUNCATED;
  if (Math.floor((bytes[0] as number) / 16) !== 4) return VERDICT.INNER_VERSION;
  const header = headerLength(bytes);
  const total = get16(bytes, 2);
  if (header < 20 || total < header) return VERDICT.INNER_MALFORMED;
  if (total > bytes.length) return VERDICT.INNER_TRUNCATED;
  if (onesSum(bytes, 0, header) !== 0xffff) return VERDICT.INNER_CHECKSUM;
  if (bytes[8] === 0) return VERDICT.INNER_TTL;
  return VERDICT.FORWARD;
}

/** The same of IPv6: RFC 8200 §3, RFC 4213 §3.6. */
export function judgeIpv6(bytes: Uint8Array): number {
  if (bytes.length < 40) return VERDICT.INNER_TRUNCATED;
  if (Math.floor((bytes[0] as number) / 16) !== 6) return VERDICT.INNER_VERSION;
  const payload = get16(bytes, 4);
  // A jumbogram, RFC 2675.
  if (payload === 0 && bytes[6] === 0) return VERDICT.INNER_MALFORMED;
  if (40 + payload > bytes.length) return VERDICT.INNER_TRUNCATED;
  return bytes[7] === 0 ? VERDICT.INNER_TTL : VERDICT.FORWARD;
}

/** No host of a cluster has the IPv6 address that begins at `at`: ::/8, fe80::/10, ff00::/8. RFC 4291 §2. */
export function isNoHost6(bytes: Uint8Array, at: number): boolean {
  const first = bytes[at] as number;
  return first === 0 || first === 255 || (first === 254 && Math.floor((bytes[at + 1] as number) / 64) === 2);
}

/** No single host has this address: 0/8, 127/8, 224/4, 240/4. RFC 1812 §5.3.7. */
export function isNoHost(address: number): boolean {
  const first = Math.floor(address / 2 ** 24);
  return first === 0 || first === 127 || first >= 224;
}
