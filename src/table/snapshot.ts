import type { IpAddress } from '../base/address.ts';
import { GatewayError, messageOf } from '../base/errors.ts';
import type { Claim, Gateway } from './claim.ts';
import { LOST, type LocalStake, normalGateways, type Stake, StoredClaim } from './entry.ts';
import type { Reconciler } from './reconciler.ts';
import type { Judge } from './refusal.ts';
import {
  isContent,
  readAddress,
  readCidr,
  type SnapshotAddress,
  type SnapshotClaim,
  type SnapshotContent,
  type SnapshotSource,
  writtenAddress,
} from './snapshot-content.ts';
import { Source } from './source.ts';

const FORMAT = 'isthmus-table';
const VERSION = 1;

/**
 * The text is one JSON object on one line, and still checkable: the checksum covers the characters of `content` as they stand. So jq can read
 * it, and an edit or a flipped bit is found before a wrong route is made of it.
 */
const ENVELOPE = /^\{"format":"([a-z-]+)","version":(\d+),"checksum":"([0-9a-f]{8})","content":/;

/**
 * Writes all claims. Row by row, because the rows of 100,000 claims as one tree would be 30 MB that the process keeps for a long time.
 */
export function encodeSnapshot(sources: Iterable<Source>, reconciler: Reconciler): string {
  const lists = new GatewayLists();
  const sourceTexts: string[] = [];
  for (const source of sources) {
    const rows: string[] = [];
    for (const { claim, stake } of source.claims.values())
      rows.push(JSON.stringify(rowOf(claim, stake, lists)));
    const name = JSON.stringify(source.name);
    const lastUpdateMs = source.lastUpdateMs ?? null;
    const silentSinceMs = source.away ? source.silentSinceMs : null;
    const parent = source.parent === undefined ? '' : `"parent":${JSON.stringify(source.parent)},`;
    sourceTexts.push(
      `{"name":${name},${parent}"lastUpdateMs":${lastUpdateMs},"silentSinceMs":${silentSinceMs},"claims":[${rows.join(',')}]}`,
    );
  }
  const gateways = Array.from(reconciler.gateways.entries(), ({ address, since }) => [
    writtenAddress(address),
    since,
  ]);
  const head = `{"sequence":${reconciler.sequence},"gateways":${JSON.stringify(gateways)},"gatewayLists":${JSON.stringify(lists.all)}`;
  const text = `${head},"sources":[${sourceTexts.join(',')}]}`;
  return sealSnapshot(text);
}

/** Puts the envelope around a content. */
export function sealSnapshot(content: string): string {
  return `{"format":"${FORMAT}","version":${VERSION},"checksum":"${checksumOf(content)}","content":${content}}\n`;
}

function rowOf(
  { id, cidr, cluster, gateways, local }: Claim,
  stake: Stake | LocalStake | undefined,
  lists: GatewayLists,
): SnapshotClaim {
  const { seq, rank, sinceMs } = stake ?? { seq: -1, rank: -1, sinceMs: -1 };
  // JSON has no NaN: -1 stands for a route that never was.
  const since = Number.isFinite(sinceMs) ? sinceMs : -1;
  const { prefixLength } = cidr;
  const address = writtenAddress(cidr.address);
  const list = lists.indexOf(gateways);
  return local === undefined
    ? [id, address, prefixLength, cluster, list, seq, rank, since]
    : [id, address, prefixLength, cluster, list, seq, rank, since, local];
}

/** The lists of gateways that claims name, each once. */
class GatewayLists {
  readonly all: (readonly [address: SnapshotAddress, weight: number])[][] = [];
  readonly #byText = new Map<string, number>();
  /** Most claims of a cluster share one array. */
  readonly #byArray = new Map<readonly Gateway[], number>();

  indexOf(gateways: readonly Gateway[]): number {
    let index = this.#byArray.get(gateways);
    if (index !== undefined) return index;
    const pairs = gateways.map(({ address, weight }) => [writtenAddress(address), weight] as const);
    const text = pairs.join(' ');
    index = this.#byText.get(text);
    if (index === undefined) {
      index = this.all.length;
      this.all.push(pairs);
      this.#byText.set(text, index);
    }
    this.#byArray.set(gateways, index);
    return index;
  }
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

/** Puts the claims back, in the order in which they first came. The caller commits. */
export function restoreContent(
  content: SnapshotContent,
  sources: Map<string, Source>,
  reconciler: Reconciler,
  judge: Judge,
  nowMs: number,
  wallMs: number,
): { claims: number; unknown: string[] } {
  const lists = content.gatewayLists.map((list) =>
    normalGateways(list.map(([address, weight]) => ({ address: readAddress(address), weight }))),
  );
  const gatewaysSince = new Map<IpAddress, number>(
    content.gateways.map(([address, since]) => [readAddress(address), since]),
  );
  const unknown: string[] = [];
  const all: { stored: StoredClaim; row: SnapshotClaim }[] = [];
  reconciler.sequence = content.sequence;
  for (const saved of content.sources) {
    const source = sources.get(saved.name) ?? childOf(saved, sources);
    if (source === undefined) {
      unknown.push(saved.name);
      continue;
    }
    if (saved.lastUpdateMs === null && saved.claims.length === 0) continue;
    restoreState(source, saved, nowMs, wallMs);
    for (const row of saved.claims) {
      const [id, address, prefixLength, cluster, list, , , , local] = row;
      const gateways = lists[list] ?? [];
      const cidr = readCidr(address, prefixLength);
      const claim: Claim =
        local === undefined ? { id, cidr, cluster, gateways } : { id, cidr, cluster, gateways, local };
      const stored = new StoredClaim(source, claim, 0);
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

/** A source that another one found comes back with it, and stays until that one says what it finds now. */
function childOf(saved: SnapshotSource, sources: Map<string, Source>): Source | undefined {
  const parent = saved.parent === undefined ? undefined : sources.get(saved.parent);
  if (parent === undefined) return undefined;
  const child = new Source(saved.name, parent.options, parent.name);
  sources.set(child.name, child);
  return child;
}

function restoreState(source: Source, saved: SnapshotSource, nowMs: number, wallMs: number): void {
  source.state = 'restored';
  source.reason = 'not heard of since the restart';
  if (saved.lastUpdateMs !== null) source.lastUpdateMs = saved.lastUpdateMs;
  // A gateway that restarts often must not keep a source alive that has been away all the time. A clock that was set back counts as no time.
  source.silentSinceMs = Math.min(saved.silentSinceMs ?? wallMs, wallMs);
  source.expiresAtMs = nowMs + source.options.staleAfterMs - (wallMs - source.silentSinceMs);
}
