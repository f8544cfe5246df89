import type { IpAddress } from '../base/address.ts';
import { GATEWAYS_MAX } from '../base/limits.ts';
import type { Gateway } from '../table/claim.ts';

/** Which nodes are gateways of a remote cluster. */
export type GatewaySelection =
  /** Each node of its own pods; some of them, chosen by name, of what belongs to no node. */
  | { readonly kind: 'all' }
  /** What the TunnelGateway objects say, of everything. */
  | { readonly kind: 'objects' }
  /** The nodes that match, of everything; `selector` as kubectl takes it with -l. */
  | { readonly kind: 'labels'; readonly selector: string };

export type Labels = Readonly<Record<string, string>>;
export type LabelMatcher = (labels: Labels | undefined) => boolean;

/** A selector in an object or in the configuration is written by hand. */
export const REQUIREMENTS_MAX = 64;

/** Names and values of labels, as apimachinery's validation has them: at most 63 characters, letters and digits at both ends. */
const LABEL_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const DOMAIN = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;

/**
 * Reads `k=v,k2==v2,k3!=v3,k4,!k5`: all must hold, and `!=` holds for a node without the label too, as with kubectl. Returns the matcher, or
 * what is wrong with the text, for a message that names where it stands.
 */
export function parseSelector(text: string): LabelMatcher | string {
  const parts = text.split(',').map((part) => part.trim());
  if (/[()]/.test(text))
    return 'sets ("in", "notin") are not understood: write each requirement as key=value, key!=value, key or !key';
  if (parts.length > REQUIREMENTS_MAX)
    return `${parts.length} requirements are more than ${REQUIREMENTS_MAX}`;
  const matchers: LabelMatcher[] = [];
  for (const part of parts) {
    const matcher = parseRequirement(part);
    if (typeof matcher === 'string') return matcher;
    matchers.push(matcher);
  }
  return (labels) => matchers.every((matches) => matches(labels));
}

function parseRequirement(part: string): LabelMatcher | string {
  const [, not, key = '', operator, value = ''] =
    /^(!?)\s*([^=!\s]*)\s*(?:(==?|!=)\s*(.*))?$/.exec(part) ?? [];
  if (not === undefined || (not === '!' && operator !== undefined))
    return `"${part}" is none of key=value, key!=value, key and !key`;
  const slash = key.indexOf('/');
  const keyFits = LABEL_NAME.test(key.slice(slash + 1)) && (slash < 0 || DOMAIN.test(key.slice(0, slash)));
  if (!keyFits) return `"${key}" is not the key of a label`;
  if (value !== '' && !LABEL_NAME.test(value)) return `"${value}" is not the value of a label`;
  if (operator === '!=') return (labels) => labelOf(labels, key) !== value;
  if (operator !== undefined) return (labels) => labelOf(labels, key) === value;
  return (labels) => (labelOf(labels, key) !== undefined) !== (not === '!');
}

/** Own properties only: a label may be called `constructor`. */
function labelOf(labels: Labels | undefined, key: string): string | undefined {
  return labels !== undefined && Object.hasOwn(labels, key) ? labels[key] : undefined;
}

interface Candidate {
  readonly name: string;
  readonly rank: number;
  readonly gateway: Gateway;
  readonly ready: boolean;
}

/**
 * The gateways of what belongs to no single node. Of more candidates than a route may have gateways, those with the lowest hash of their names
 * are taken, so that one that comes or goes changes at most one place in the list.
 */
export class GatewayPool {
  readonly #max: number;
  readonly #candidates = new Map<string, Candidate>();
  #unready = 0;
  #chosen: readonly Gateway[] = [];
  #current = true;
  /** Whether the chosen are such as are ready. */
  #ofReady = false;
  /** Names behind this rank are not among the chosen; Infinity while there are places left. */
  #lastRank = Number.POSITIVE_INFINITY;

  constructor(max: number = GATEWAYS_MAX) {
    this.#max = max;
  }

  /** A gateway that is not ready is taken only where none is: a cluster whose nodes all look dead is more often cut off from its API server. */
  set(name: string, gateway: Gateway, ready = true): void {
    const known = this.#candidates.get(name);
    if (known !== undefined && known.ready === ready && sameGateway(known.gateway, gateway)) return;
    const rank = known?.rank ?? rankOf(name);
    this.#candidates.set(name, { name, rank, gateway, ready });
    this.#unready += Number(!ready) - Number(known !== undefined && !known.ready);
    this.#touch(rank);
  }

  delete(name: string): void {
    const known = this.#candidates.get(name);
    if (known === undefined) return;
    this.#candidates.delete(name);
    if (!known.ready) this.#unready--;
    this.#touch(known.rank);
  }

  /** At most `max`, each address once, in an order that depends on the names alone; the same array as long as nothing of it changes. */
  chosen(): readonly Gateway[] {
    if (this.#current) return this.#chosen;
    this.#current = true;
    this.#ofReady = this.#anyReady;
    const usable = [...this.#candidates.values()].filter(({ ready }) => ready || !this.#ofReady);
    usable.sort((a, b) => a.rank - b.rank || (a.name < b.name ? -1 : 1));
    const byAddress = new Map<IpAddress, Gateway>();
    this.#lastRank = Number.POSITIVE_INFINITY;
    for (const { gateway, rank } of usable) {
      if (!byAddress.has(gateway.address)) byAddress.set(gateway.address, gateway);
      if (byAddress.size < this.#max) continue;
      this.#lastRank = rank;
      break;
    }
    const chosen = [...byAddress.values()];
    const unchanged =
      chosen.length === this.#chosen.length &&
      chosen.every((gateway, i) => sameGateway(gateway, this.#chosen[i] as Gateway));
    if (!unchanged) this.#chosen = chosen;
    return this.#chosen;
  }

  get #anyReady(): boolean {
    return this.#unready < this.#candidates.size;
  }

  /** Of 10,000 nodes 256 are chosen: what becomes of those behind them is not worth sorting all again. */
  #touch(rank: number): void {
    if (rank > this.#lastRank && this.#anyReady === this.#ofReady) return;
    this.#current = false;
  }
}

function sameGateway(a: Gateway, b: Gateway): boolean {
  return a.address === b.address && a.weight === b.weight;
}

/** FNV-1a over UTF-16 code units with the finalizer of MurmurHash3, because names that differ in their last digit alone are the usual ones. */
export function rankOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
