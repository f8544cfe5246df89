import type { Address } from '../base/address.ts';
import { GatewayError, messageOf } from '../base/errors.ts';
import type { Gateway } from './claim.ts';
import { LOST, normalGateways, StoredClaim } from './entry.ts';
import type { Reconciler } from './reconciler.ts';
import type { Judge } from './refusal.ts';
import {
  isContent,
  type SnapshotClaim,
  type SnapshotContent,
  type SnapshotSource,
} from './snapshot-content.ts';
import type { Source } from './source.ts';

const FORMAT = 'isthmus-table';
const VERSION = 1;

/**
 * The text is one JSON object on one line, and still checkable: the checksum covers the characters of `content` as they stand. So jq can read
 * it, and an edit or a flipped bit is found before a wrong route is made of it.
 */
const ENVELOPE = /^\{"format":"([a-z-]+)","version":(\d+),"checksum":"([0-9a-f]{8})","content":/;

export function encodeSnapshot(content: SnapshotContent): string {
  const text = JSON.stringify(content);
  return `{"format":"${FORMAT}","version":${VERSION},"checksum":"${checksumOf(text)}","content":${text}}\n`;
}

/** Checks that the text is whole and of this version, without reading what is in it. Throws ISTHMUS_ERR_STATE with what is wrong. */
export function verifySnapshot(text: string): void {
  contentText(text);
}

/** As verifySnapshot, and returns the content. */
export function decodeSnapshot(text: string): SnapshotContent {
  let value: unknown;
  try {
    value = JSON.parse(contentText(text));
  } catch (thrown) {
    throw thrown instanceof GatewayError ? thrown : broken(messageOf(thrown));
  }
  if (!isContent(value)) throw broken('its content has another shape than this version writes');
  return value;
}

function contentText(text: string): string {
  const [head, format, version, checksum] = ENVELOPE.exec(text) ?? [];
  if (head === undefined || format !== FORMAT) {
    throw broken('it does not begin like a snapshot of the route table');
  }
  if (Number(version) !== VERSION) {
    throw broken(`it has version ${version}; this gateway reads version ${VERSION}`);
  }
  if (!text.endsWith('}\n')) throw broken('its end is missing');
  const content = text.slice(head.length, -2);
  const actual = checksumOf(content);
  if (actual !== checksum) throw broken(`its checksum is ${actual}, it was written with ${checksum}`);
  return content;
}

function broken(why: string): GatewayError {
  return new GatewayError('ISTHMUS_ERR_STATE', `the snapshot cannot be used: ${why}`);
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let crc = index;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb8_8320 : crc >>> 1;
  return crc >>> 0;
});

/** CRC-32 (IEEE 802.3) over the UTF-16 code units, low byte first: written here because this folder imports nothing from Node. */
function checksumOf(text: string): string {
  let crc = 0xffff_ffff;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    crc = (CRC_TABLE[(crc ^ unit) & 0xff] as number) ^ (crc >>> 8);
    crc = (CRC_TABLE[(crc ^ (unit >>> 8)) & 0xff] as number) ^ (crc >>> 8);
  }
  return ((crc ^ 0xffff_ffff) >>> 0).toString(16).padStart(8, '0');
}

export function contentOf(sources: Iterable<Source>, reconciler: Reconciler): SnapshotContent {
  const lists: [number, number][][] = [];
  const listIndex = new Map<string, number>();
  const indexOf = (gateways: readonly Gateway[]): number => {
    const pairs = gateways.map(({ address, weight }): [number, number] => [address, weight]);
    const key = pairs.join(' ');
    const known = listIndex.get(key);
    if (known !== undefined) return known;
    listIndex.set(key, lists.length);
    lists.push(pairs);
    return lists.length - 1;
  };
  const all: SnapshotSource[] = [];
  for (const source of sources) {
    const claims: SnapshotClaim[] = [];
    for (const { claim, stake } of source.claims.values()) {
      const { id, cidr, cluster, gateways } = claim;
      const place = stake === undefined ? [-1, -1, -1] : [stake.seq, stake.rank, stake.sinceMs];
      // JSON has no Infinity and no NaN: -1 stands for a place that was lost and for a route that never was.
      const [seq, rank, sinceMs] = place.map((number) => (Number.isFinite(number) ? number : -1)) as [
        number,
        number,
        number,
      ];
      claims.push([id, cidr.address, cidr.prefixLength, cluster, indexOf(gateways), seq, rank, sinceMs]);
    }
    all.push({
      name: source.name,
      lastUpdateMs: source.lastUpdateMs ?? null,
      silentSinceMs: source.away ? source.silentSinceMs : null,
      claims,
    });
  }
  return {
    sequence: reconciler.sequence,
    gateways: Array.from(reconciler.gateways.entries(), ({ address, since }) => [address, since]),
    gatewayLists: lists,
    sources: all,
  };
}

/** Puts the claims back, in the order in which they first came. The caller commits. */
export function restoreContent(
  content: SnapshotContent,
  sources: ReadonlyMap<string, Source>,
  reconciler: Reconciler,
  judge: Judge,
  nowMs: number,
  wallMs: number,
): { claims: number; unknown: string[] } {
  const lists = content.gatewayLists.map((list) =>
    normalGateways(list.map(([address, weight]) => ({ address, weight }))),
  );
  const gatewaysSince = new Map<Address, number>(content.gateways);
  const unknown: string[] = [];
  const all: { stored: StoredClaim; row: SnapshotClaim }[] = [];
  reconciler.sequence = content.sequence;
  for (const saved of content.sources) {
    const source = sources.get(saved.name);
    if (source === undefined) {
      unknown.push(saved.name);
      continue;
    }
    if (saved.lastUpdateMs === null && saved.claims.length === 0) continue;
    restoreState(source, saved, nowMs, wallMs);
    for (const row of saved.claims) {
      const [id, address, prefixLength, cluster, list] = row;
      const gateways = lists[list] ?? [];
      const stored = new StoredClaim(source, { id, cidr: { address, prefixLength }, cluster, gateways }, 0);
      source.claims.set(id, stored);
      all.push({ stored, row });
    }
  }
  const order = ([, , , , , seq]: SnapshotClaim) => (seq < 0 ? Number.POSITIVE_INFINITY : seq);
  all.sort((a, b) => order(a.row) - order(b.row) || 0);
  for (const { stored, row } of all) {
    const [, , , , , seq, rank, sinceMs] = row;
    const place = {
      seq,
      rank: rank < 0 ? LOST : rank,
      sinceMs: sinceMs < 0 ? Number.NaN : sinceMs,
      gatewaysSince,
    };
    reconciler.attach(stored, judge, seq < 0 ? undefined : place);
  }
  return { claims: all.length, unknown };
}

function restoreState(source: Source, saved: SnapshotSource, nowMs: number, wallMs: number): void {
  source.state = 'restored';
  source.reason = 'not heard of since the restart';
  if (saved.lastUpdateMs !== null) source.lastUpdateMs = saved.lastUpdateMs;
  // A gateway that restarts often must not keep a source alive that has been away all the time. A clock that was set back counts as no time.
  source.silentSinceMs = Math.min(saved.silentSinceMs ?? wallMs, wallMs);
  source.expiresAtMs = nowMs + source.options.staleAfterMs - (wallMs - source.silentSinceMs);
}
