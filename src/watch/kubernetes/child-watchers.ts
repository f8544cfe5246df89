import { formatAddress, type IpAddress } from '../../base/address.ts';
import type { Claim, ClaimUpdate, Gateway } from '../../table/claim.ts';
import { GatewayPool } from '../gateway-selection.ts';
import type { Watcher } from '../watcher.ts';
import { staticClaims } from './kubernetes-claims.ts';
import type { RemoteCluster } from './remote-cluster.ts';

/** In the place of the watcher of a cluster that cannot be read now: its claims stay, and status says why they are not followed. */
export class AwayWatcher implements Watcher {
  readonly name: string;
  readonly #reason: string;

  constructor(name: string, reason: string) {
    this.name = name;
    this.#reason = reason;
  }

  async *watch(signal: AbortSignal): AsyncGenerator<ClaimUpdate, void, void> {
    yield { kind: 'stale', reason: this.#reason };
    if (signal.aborted) return;
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }
}

export interface Amendment {
  readonly cluster: string;
  readonly cidrs: RemoteCluster['cidrs'];
  readonly gateways: RemoteCluster['gateways'];
}

/** `watcher`, with what a RemoteCluster adds to it or puts in its place. */
export function amended(watcher: Watcher, amendment: Amendment): Watcher {
  if (amendment.cidrs.length === 0 && amendment.gateways === undefined) return watcher;
  return new AmendedWatcher(watcher, amendment);
}

/**
 * A watcher of a cluster whose RemoteCluster lists CIDRs that its API server does not know of, or gateways that are not its nodes. CIDRs
 * without gateways of their own are behind those of all other claims.
 */
class AmendedWatcher implements Watcher {
  readonly name: string;
  readonly #watcher: Watcher;
  readonly #amendment: Amendment;

  constructor(watcher: Watcher, amendment: Amendment) {
    this.name = watcher.name;
    this.#watcher = watcher;
    this.#amendment = amendment;
  }

  async *watch(signal: AbortSignal): AsyncGenerator<ClaimUpdate, void, void> {
    const { cluster, cidrs, gateways } = this.#amendment;
    const found = new FoundGateways();
    const own = () => staticClaims(cluster, cidrs, gateways ?? found.chosen());
    const follows = gateways === undefined && cidrs.length > 0;
    for await (const update of this.#watcher.watch(signal)) {
      if (update.kind === 'replace' || update.kind === 'upsert') {
        const claims = update.claims.map((claim) =>
          gateways === undefined ? claim : { ...claim, gateways },
        );
        const before = found.chosen();
        if (follows) found.apply(update);
        const tellOwn = update.kind === 'replace' || found.chosen() !== before;
        yield { ...update, claims: tellOwn ? [...claims, ...own()] : claims };
        continue;
      }
      yield update;
      if (update.kind !== 'remove' || !follows) continue;
      const before = found.chosen();
      found.apply(update);
      if (found.chosen() === before) continue;
      const stale = update.stale === undefined ? {} : { stale: update.stale };
      yield { kind: 'upsert', claims: own(), ...stale };
    }
  }
}

/** The gateways of all claims, as they come and go. Claims share lists of gateways, so lists are counted first and their addresses then. */
class FoundGateways {
  readonly #pool = new GatewayPool();
  readonly #byClaim = new Map<string, readonly Gateway[]>();
  readonly #claimsOfList = new Map<readonly Gateway[], number>();
  readonly #listsOfAddress = new Map<IpAddress, number>();

  chosen(): readonly Gateway[] {
    return this.#pool.chosen();
  }

  apply(update: ClaimUpdate): void {
    if (update.kind === 'remove') {
      for (const id of update.ids) this.#set(id, undefined);
      return;
    }
    if (update.kind !== 'replace' && update.kind !== 'upsert') return;
    const gone = update.kind === 'replace' ? new Set(this.#byClaim.keys()) : new Set<string>();
    for (const claim of update.claims) {
      gone.delete(claim.id);
      this.#set(claim.id, claim);
    }
    for (const id of gone) this.#set(id, undefined);
  }

  #set(id: string, claim: Claim | undefined): void {
    const before = this.#byClaim.get(id);
    if (claim?.gateways === before) return;
    // The new list first: an address that both have is never taken out in between.
    if (claim === undefined) this.#byClaim.delete(id);
    else {
      this.#byClaim.set(id, claim.gateways);
      this.#countList(claim.gateways, 1);
    }
    if (before !== undefined) this.#countList(before, -1);
  }

  #countList(list: readonly Gateway[], by: 1 | -1): void {
    const count = (this.#claimsOfList.get(list) ?? 0) + by;
    if (count === 0) this.#claimsOfList.delete(list);
    else this.#claimsOfList.set(list, count);
    if (count !== Number(by === 1)) return;
    for (const gateway of list) this.#countGateway(gateway, by);
  }

  #countGateway(gateway: Gateway, by: 1 | -1): void {
    const count = (this.#listsOfAddress.get(gateway.address) ?? 0) + by;
    const name = formatAddress(gateway.address);
    if (count === 0) {
      this.#listsOfAddress.delete(gateway.address);
      this.#pool.delete(name);
      return;
    }
    this.#listsOfAddress.set(gateway.address, count);
    if (by === 1) this.#pool.set(name, gateway);
  }
}
