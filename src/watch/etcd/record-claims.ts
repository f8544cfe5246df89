import { formatCidr } from '../../base/address.ts';
import type { Claim } from '../../table/claim.ts';
import { ClaimLedger } from '../claim-ledger.ts';
import type { Told } from '../combine-streams.ts';
import { LastGood, type Malformed } from '../last-good.ts';
import type { OwnGatewayFeed } from '../own-gateway.ts';
import type { StoreEvent } from '../store-event.ts';
import type { Deriver } from '../stream-claims.ts';
import type { GatewayRecord } from './record.ts';

/** What the watcher reads. */
export interface RecordStreams {
  readonly records: GatewayRecord | Malformed;
}

export interface RecordClaimsParts {
  readonly own: OwnGatewayFeed;
  /** Where this gateway's own record stands. */
  readonly ownKey: () => string;
  /** It may not be there any more. */
  readonly onOwnLoss: () => void;
}

/** Claims of gateway records: one for each CIDR of each gateway, since each gateway speaks for itself only. The table merges them. */
export class RecordClaims implements Deriver<RecordStreams> {
  readonly ledger = new ClaimLedger();
  readonly #parts: RecordClaimsParts;
  readonly #records = new LastGood<GatewayRecord>();
  readonly #changed = new Set<string>();
  /** Ids of the claims that came of a record, by its key. */
  readonly #ids = new Map<string, ReadonlySet<string>>();

  constructor(parts: RecordClaimsParts) {
    this.#parts = parts;
  }

  apply({ event }: Told<RecordStreams>): void {
    for (const key of this.#records.apply(event)) this.#changed.add(key);
    if (this.#isOwnLost(event)) this.#parts.onOwnLoss();
  }

  settle(): void {
    for (const key of this.#changed) {
      const claims = this.#claimsOf(this.#records.get(key));
      // Each claim owns itself in the ledger: the record of a router may have thousands, of which one changes.
      for (const [id, claim] of claims) this.ledger.put(id, [claim]);
      for (const id of this.#ids.get(key) ?? []) if (!claims.has(id)) this.ledger.put(id, []);
      if (claims.size === 0) this.#ids.delete(key);
      else this.#ids.set(key, new Set(claims.keys()));
    }
    this.#changed.clear();
  }

  problems(): Iterable<string> {
    return this.#records.problems();
  }

  /** The remote clusters that have a gateway. */
  clusters(): Set<string> {
    const clusters = new Set<string>();
    for (const [, { cluster }] of this.#records.entries()) {
      if (cluster !== this.#parts.own.current.cluster) clusters.add(cluster);
    }
    return clusters;
  }

  #isOwnLost(event: StoreEvent<GatewayRecord | Malformed>): boolean {
    const key = this.#parts.ownKey();
    if (event.kind === 'replace') return !event.objects.has(key);
    return event.kind === 'change' && event.removed.includes(key);
  }

  #claimsOf(record: GatewayRecord | undefined): Map<string, Claim> {
    const claims = new Map<string, Claim>();
    // What gateways of our own cluster announce is what we announce as well: it leads here, not there.
    if (record === undefined || record.cluster === this.#parts.own.current.cluster) return claims;
    const { cluster, gateway, address, weight, cidrs } = record;
    const gateways = [{ address, weight }];
    for (const cidr of cidrs) {
      const id = [cluster, '/', gateway, ':', formatCidr(cidr)].join('');
      claims.set(id, { id, cidr, cluster, gateways });
    }
    return claims;
  }
}
