import type { Cidr, IpAddress } from '../base/address.ts';
import { networkOf6 } from '../base/address6.ts';
import { GATEWAY_WEIGHT_MAX } from '../base/limits.ts';
import type { LocalUse } from './claim.ts';

/** What a snapshot holds. Rows, not objects, and gateway lists by index: 100,000 claims take 7 MB instead of 25. */
export interface SnapshotContent {
  readonly sequence: number;
  /** Address and sequence number of each known gateway. */
  readonly gateways: readonly (readonly [address: SnapshotAddress, since: number])[];
  readonly gatewayLists: readonly (readonly (readonly [address: SnapshotAddress, weight: number])[])[];
  readonly sources: readonly SnapshotSource[];
}

export interface SnapshotSource {
  readonly name: string;
  /** Name of the source that found it. */
  readonly parent?: string;
  readonly lastUpdateMs: number | null;
  /** Null while it was heard of. */
  readonly silentSinceMs: number | null;
  readonly claims: readonly SnapshotClaim[];
}

/** A u32, or the 32 hexadecimal digits of an IPv6 address: JSON has no number for those, and to read 100,000 as people write them takes a second. */
export type SnapshotAddress = number | string;

/** `gateways` is an index into gatewayLists; -1 stands for no place (seq), a lost one (rank), no route yet (sinceMs). `local` where it is ours. */
export type SnapshotClaim = readonly [
  id: string,
  address: SnapshotAddress,
  prefixLength: number,
  cluster: string,
  gateways: number,
  seq: number,
  rank: number,
  sinceMs: number,
  local?: LocalUse,
];

export function writtenAddress(address: IpAddress): SnapshotAddress {
  return typeof address === 'number' ? address : address.toString(16).padStart(32, '0');
}

export function readCidr(address: SnapshotAddress, prefixLength: number): Cidr {
  return typeof address === 'number'
    ? { address, prefixLength }
    : { address: BigInt(`0x${address}`), prefixLength };
}

export function readAddress(address: SnapshotAddress): IpAddress {
  return typeof address === 'number' ? address : BigInt(`0x${address}`);
}

const LOCAL_USES: readonly unknown[] = ['pods', 'services', 'routes'] satisfies LocalUse[];

/**
 * Checked though the checksum held: an older build with a bug, or a person with a checksum tool, can write anything, and what comes from
 * here goes to the packet path without passing a watcher's validation.
 */
export function isContent(value: unknown): value is SnapshotContent {
  if (!isRecord(value) || !isCount(value.sequence)) return false;
  const { gateways, gatewayLists, sources } = value;
  if (!isListOf(gateways, isPair(isEitherAddress, isCount))) return false;
  if (!isListOf(gatewayLists, (list) => isListOf(list, isPair(isEitherAddress, isWeight)))) return false;
  const lists = (gatewayLists as unknown[]).length;
  return isListOf(sources, (source) => isSource(source, lists));
}

function isSource(value: unknown, lists: number): boolean {
  if (!isRecord(value) || typeof value.name !== 'string') return false;
  if (value.parent !== undefined && typeof value.parent !== 'string') return false;
  const { lastUpdateMs, silentSinceMs, claims } = value;
  if (lastUpdateMs !== null && !Number.isFinite(lastUpdateMs)) return false;
  if (silentSinceMs !== null && !Number.isFinite(silentSinceMs)) return false;
  return isListOf(claims, (claim) => isClaim(claim, lists));
}

function isClaim(value: unknown, lists: number): boolean {
  if (!Array.isArray(value) || value.length < 8 || value.length > 9) return false;
  if (value.length === 9 && !LOCAL_USES.includes(value[8])) return false;
  const [id, address, prefixLength, cluster, gateways, ...place] = value.slice(0, 8) as unknown[];
  if (typeof id !== 'string' || typeof cluster !== 'string') return false;
  if (!isCount(prefixLength) || !isNetwork(address, prefixLength)) return false;
  return isCount(gateways) && gateways < lists && place.every(Number.isFinite);
}

function isNetwork(address: unknown, prefixLength: number): boolean {
  if (typeof address === 'string') {
    if (!ADDRESS6.test(address) || prefixLength > 128) return false;
    const read = BigInt(`0x${address}`);
    return networkOf6(read, prefixLength) === read;
  }
  if (!isAddress(address) || prefixLength > 32) return false;
  // In arithmetic, not with a mask: 2 ** 32 has to be divisible too, for a length of 0.
  return address % 2 ** (32 - prefixLength) === 0;
}

function isPair(first: (value: unknown) => boolean, second: (value: unknown) => boolean) {
  return (value: unknown) =>
    Array.isArray(value) && value.length === 2 && first(value[0]) && second(value[1]);
}

function isListOf(value: unknown, isElement: (element: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every((element) => isElement(element));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0;
}

function isAddress(value: unknown): value is number {
  return isCount(value) && value <= 0xffff_ffff;
}

const ADDRESS6 = /^[0-9a-f]{32}$/;

function isEitherAddress(value: unknown): boolean {
  return typeof value === 'string' ? ADDRESS6.test(value) : isAddress(value);
}

function isWeight(value: unknown): boolean {
  return isCount(value) && value <= GATEWAY_WEIGHT_MAX;
}
