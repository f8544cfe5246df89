import { type Cidr, type Family, type IpAddress, parseCidr, parseIpAddress } from '../base/address.ts';
import { GatewayError } from '../base/errors.ts';
import type { Malformed } from './last-good.ts';

/** What a message quotes of a value; somebody may have put a whole file there. */
const QUOTED_CHARACTERS_MAX = 60;

/** A field that is not what its schema says. */
class MisfitError extends Error {
  override readonly name = 'MisfitError';
}

/** What `read` makes of an object, or the sentence on the field that kept it from that. `what` is its kind and name: `IPPool/default`. */
export function wellFormed<T extends object | undefined>(what: string, read: () => T): T | Malformed {
  try {
    return read();
  } catch (thrown) {
    if (!(thrown instanceof MisfitError)) throw thrown;
    return { problem: `${what}: ${thrown.message}` };
  }
}

/** The value at `path` (`spec.ipam.podCIDRs`); undefined where it, or what should hold it, is missing or null. */
export function fieldAt(object: unknown, path: string): unknown {
  let at = object;
  for (const name of path.split('.')) {
    if (at === undefined || at === null) return undefined;
    if (typeof at !== 'object' || Array.isArray(at)) return undefined;
    at = (at as Record<string, unknown>)[name];
  }
  return at ?? undefined;
}

/** A text; '' is one, too. undefined where there is none. */
export function textAt(object: unknown, path: string, expected: string): string | undefined {
  const value = fieldAt(object, path);
  if (value === undefined || typeof value === 'string') return value;
  throw misfit(path, value, expected);
}

export function listAt(object: unknown, path: string, expected: string): readonly unknown[] {
  const value = fieldAt(object, path) ?? [];
  if (Array.isArray(value)) return value;
  throw misfit(path, value, expected);
}

/** A boolean, or its name: both stand in the field `deleted` of Calico, in one API group and the other. Missing and '' are false. */
export function truthAt(object: unknown, path: string): boolean {
  const value = fieldAt(object, path) ?? false;
  if (value === true || value === 'true') return true;
  if (value === false || value === 'false' || value === '') return false;
  throw misfit(path, value, 'true or false');
}

export function cidrOf(text: unknown, path: string): Cidr {
  const expected = 'a CIDR such as 192.168.12.64/26 or fd00:10:1::/64';
  if (typeof text !== 'string' || text === '') throw misfit(path, text, expected);
  return parsed(path, text, expected, parseCidr);
}

/** The address that `text` is, or that stands before its prefix length; undefined for one of the other family than that of the underlay. */
export function addressOf(text: unknown, path: string, family: Family): IpAddress | undefined {
  const expected = `an ${FAMILY_NAME[family]} address such as ${EXAMPLES[family]}, with or without a prefix length`;
  if (typeof text !== 'string' || text === '') throw misfit(path, text, expected);
  if (text.includes(':') !== (family === 'ipv6')) return undefined;
  return parsed(path, text, expected, (whole) => {
    const slash = whole.indexOf('/');
    const length = slash < 0 ? '0' : whole.slice(slash + 1);
    if (!/^\d{1,3}$/.test(length) || Number(length) > (family === 'ipv4' ? 32 : 128))
      throw misfit(path, text, expected);
    return parseIpAddress(slash < 0 ? whole : whole.slice(0, slash));
  });
}

/** As addressOf, of whichever family. */
export function eitherAddressOf(text: unknown, path: string): IpAddress {
  const family = typeof text === 'string' && text.includes(':') ? 'ipv6' : 'ipv4';
  return addressOf(text, path, family) as IpAddress;
}

export const FAMILY_NAME = { ipv4: 'IPv4', ipv6: 'IPv6' } as const;
const EXAMPLES = { ipv4: '10.0.0.5', ipv6: '2001:db8::5' } as const;

function parsed<T>(path: string, text: string, expected: string, parse: (text: string) => T): T {
  try {
    return parse(text);
  } catch (thrown) {
    if (!(thrown instanceof GatewayError)) throw thrown;
    const hint = thrown.message.includes('host bits') ? ' (its host bits are set)' : '';
    throw misfit(path, text, `${expected}${hint}`);
  }
}

export function misfit(path: string, value: unknown, expected: string): Error {
  return new MisfitError(`${path} is ${quoted(value)}, expected ${expected}`);
}

function quoted(value: unknown): string {
  if (value === undefined) return 'missing';
  const text = JSON.stringify(value);
  return text.length <= QUOTED_CHARACTERS_MAX ? text : `${text.slice(0, QUOTED_CHARACTERS_MAX)}…`;
}
