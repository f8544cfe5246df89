import {
  type Cidr,
  formatAddress,
  formatCidr,
  type IpAddress,
  parseCidr,
  parseIpAddress,
} from '../../base/address.ts';
import { messageOf } from '../../base/errors.ts';
import { GATEWAY_WEIGHT_MAX, LOCAL_CIDRS_MAX } from '../../base/limits.ts';
import { label } from '../../config/fields.ts';
import type { Malformed } from '../last-good.ts';

/** A gateway as it announces itself. */
export interface GatewayRecord {
  readonly cluster: string;
  readonly gateway: string;
  readonly address: IpAddress;
  readonly weight: number;
  readonly cidrs: readonly Cidr[];
}

/** etcd refuses requests of more than 1.5 MiB (--max-request-bytes); the key and the rest of the request need a little of it. */
export const RECORD_BYTES_MAX = 1024 * 1024;

/** Where the gateways of all clusters stand. `v1` is the form of the records: another form would stand beside it. */
export function clustersPrefix(prefix: string): string {
  return `${prefix}v1/clusters/`;
}

export function recordKey(prefix: string, cluster: string, gateway: string): string {
  return `${clustersPrefix(prefix)}${cluster}/gateways/${gateway}`;
}

/** The value of a record: JSON, in the order in which people read it. */
export function encodeRecord({
  address,
  weight,
  cidrs,
}: Pick<GatewayRecord, 'address' | 'weight' | 'cidrs'>): string {
  return JSON.stringify({ address: formatAddress(address), weight, cidrs: cidrs.map(formatCidr) });
}

/**
 * Reads one key and its value. Undefined for keys that are none of a gateway's record: a later version may keep more there. A record that
 * cannot be understood becomes a sentence that names its key, the field, what it holds and what was expected.
 */
export function decodeRecord(
  prefix: string,
  key: string,
  value: string,
): GatewayRecord | Malformed | undefined {
  const [cluster, kind, gateway, ...rest] = key.slice(clustersPrefix(prefix).length).split('/');
  if (kind !== 'gateways' || gateway === undefined || gateway === '' || rest.length > 0) return undefined;
  const bad = (what: string): Malformed => ({ problem: `${key}: ${what}` });
  if (!label().safeParse(cluster).success)
    return bad(
      `expected the name of a cluster (lower-case letters, digits and inner hyphens), got ${shown(cluster)}`,
    );
  let raw: unknown;
  try {
    raw = JSON.parse(value);
  } catch {
    return bad(`expected JSON such as {"address":"172.31.0.2","cidrs":["10.2.0.0/16"]}, got ${shown(value)}`);
  }
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw))
    return bad(`expected a JSON object, got ${shown(raw)}`);
  const { address, weight = 1, cidrs } = raw as Record<string, unknown>;
  const parsedAddress = parsed(address, parseIpAddress);
  if (typeof parsedAddress === 'string') return bad(`address: ${parsedAddress}`);
  if (!isWeight(weight))
    return bad(`weight: expected a whole number from 0 to ${GATEWAY_WEIGHT_MAX}, got ${shown(weight)}`);
  if (!Array.isArray(cidrs)) return bad(`cidrs: expected a list of CIDRs, got ${shown(cidrs)}`);
  if (cidrs.length > LOCAL_CIDRS_MAX)
    return bad(`cidrs: expected at most ${LOCAL_CIDRS_MAX} CIDRs, got ${cidrs.length}`);
  const parsedCidrs: Cidr[] = [];
  for (const [i, cidr] of cidrs.entries()) {
    const result = parsed(cidr, parseCidr);
    if (typeof result === 'string') return bad(`cidrs[${i}]: ${result}`);
    parsedCidrs.push(result);
  }
  return { cluster: cluster as string, gateway, address: parsedAddress, weight, cidrs: parsedCidrs };
}

function isWeight(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= GATEWAY_WEIGHT_MAX;
}

/** The value, or a sentence on what is wrong with it. */
function parsed<T extends object | number | bigint>(value: unknown, parse: (text: string) => T): T | string {
  if (typeof value !== 'string') return `expected text, got ${shown(value)}`;
  try {
    return parse(value);
  } catch (thrown) {
    return messageOf(thrown);
  }
}

const SHOWN_MAX = 60;

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
}
