import type { Prng } from '../../src/base/prng.ts';
import type { Claim } from '../../src/table/claim.ts';
import type { ModelCidr, ModelSettings } from './oracle/model.ts';
import { buildIpv4 } from './oracle/wire.ts';
import type { SimGateway } from './sim-gateway.ts';
import { fragmentationNeeded } from './underlay.ts';

/** 10.n.0.0 of a cluster's pods. */
const NETWORKS = [1, 2, 3, 4, 96, 97].map((n) => 0x0a00_0000 + n * 0x1_0000);
const LENGTHS = [0, 4, 8, 12, 16, 16, 17, 20, 24, 24, 24, 25, 26, 26, 28, 30, 31, 32, 32];
const CLUSTERS = ['west', 'east', 'east', 'north', 'north', 'south'];
const MTUS = [576, 1280, 1400, 1500, 1500, 1500, 9000, 65_535];

export interface Source {
  readonly name: string;
  readonly priority: number;
  readonly staleAfterMs: number;
  readonly holdMs: number;
}

export const SOURCES: readonly Source[] = [
  { name: 'static', priority: 10, staleAfterMs: Number.POSITIVE_INFINITY, holdMs: 0 },
  { name: 'file', priority: 0, staleAfterMs: 4000, holdMs: 1500 },
  { name: 'other', priority: 0, staleAfterMs: Number.POSITIVE_INFINITY, holdMs: 3000 },
];

/** Everything that happens to one gateway besides packets: claims, sources, configuration, liveness of its peers. */
export class ControlPlane {
  readonly #gateway: SimGateway;
  readonly #prng: Prng;
  /** Addresses that may be gateways: the other Isthmus first. */
  readonly #peers: readonly number[];
  /** What each source last claimed, by id. */
  readonly #claims = new Map<string, Map<string, Claim>>();
  readonly #allowed: readonly ModelCidr[];
  #ids = 0;

  constructor(gateway: SimGateway, prng: Prng, peers: readonly number[], allowed: readonly ModelCidr[]) {
    this.#gateway = gateway;
    this.#prng = prng;
    this.#peers = peers;
    this.#allowed = allowed;
    for (const { name, ...options } of SOURCES) {
      gateway.table.addSource(name, options);
      this.#claims.set(name, new Map());
    }
  }

  /** The configuration names the route that joins the two clusters, which nothing withdraws; the other sources say what they have. */
  begin(cluster: string, cidrs: readonly ModelCidr[]): void {
    const gateways = [{ address: this.#peers[0] as number, weight: 2 }];
    for (const [index, cidr] of cidrs.entries()) {
      const id = `join-${index}`;
      this.#claimsOf('static').set(id, { id, cidr, cluster, gateways });
    }
    for (const { name } of SOURCES) {
      for (let count = this.#prng.below(25); count > 0; count--) this.#add(name);
      this.#replace(name);
    }
  }

  /** One random event. */
  step(): void {
    const prng = this.#prng;
    const roll = prng.below(100);
    if (roll < 34) this.#upsert(prng.pick(SOURCES).name);
    else if (roll < 52) this.#remove(prng.pick(SOURCES).name);
    else if (roll < 60) this.#snapshot(prng.pick(SOURCES).name);
    else if (roll < 64) this.#massWithdrawal();
    else if (roll < 70) this.#silence();
    else if (roll < 84) this.#liveness();
    else if (roll < 91) this.#pathMtu();
    else this.#settings();
  }

  #upsert(source: string): void {
    const claims: Claim[] = [];
    for (let count = 1 + this.#prng.below(4); count > 0; count--) {
      const known = [...this.#claimsOf(source).keys()].filter((id) => !id.startsWith('join'));
      const id =
        known.length > 0 && (this.#prng.chance(0.4) || known.length > 25)
          ? this.#prng.pick(known)
          : `claim-${this.#ids++}`;
      const claim = this.#claim(id);
      claims.push(claim);
      this.#claimsOf(source).set(id, claim);
    }
    this.#gateway.applyClaims(source, { kind: 'upsert', claims });
  }

  #remove(source: string): void {
    const known = [...this.#claimsOf(source).keys()].filter((id) => !id.startsWith('join'));
    if (known.length === 0) return;
    const ids = [this.#prng.pick(known), this.#prng.pick(known)];
    for (const id of ids) this.#claimsOf(source).delete(id);
    this.#gateway.applyClaims(source, { kind: 'remove', ids: [...new Set(ids)] });
  }

  /** A source that started again says all it has: mostly what it had, with some changes. */
  #snapshot(source: string): void {
    const claims = this.#claimsOf(source);
    for (const id of [...claims.keys()]) {
      if (id.startsWith('join')) continue;
      const roll = this.#prng.below(10);
      if (roll === 0) claims.delete(id);
      else if (roll === 1) claims.set(id, this.#claim(id));
    }
    this.#replace(source);
  }

  #massWithdrawal(): void {
    const source = this.#prng.pick(['file', 'other']);
    this.#claimsOf(source).clear();
    this.#replace(source);
  }

  #silence(): void {
    const source = this.#prng.pick(SOURCES).name;
    const update = this.#prng.chance(0.5)
      ? ({ kind: 'stale', reason: 'the simulated control plane is away' } as const)
      : ({ kind: 'fresh' } as const);
    this.#gateway.applyClaims(source, update);
  }

  #add(source: string): void {
    const id = `claim-${this.#ids++}`;
    this.#claimsOf(source).set(id, this.#claim(id));
  }

  #liveness(): void {
    const peer = this.#anyPeer();
    if (peer !== undefined) this.#gateway.setAlive(peer, this.#prng.chance(0.75));
  }

  /** A router on the way to a peer says what it carries; the least believable values too. */
  #pathMtu(): void {
    const prng = this.#prng;
    const peer = this.#anyPeer();
    if (peer === undefined) return;
    const quote = buildIpv4({
      protocol: 4,
      source: this.#gateway.address,
      destination: peer,
      payload: new Uint8Array(prng.pick([1480, 8980, 65_515])),
    }).subarray(0, 68);
    const said = prng.pick([0, 68, 595, 596, 600, 1000, 1280, 1400, 1499, 1500, 9001]);
    this.#gateway.icmp(fragmentationNeeded(prng.u32(), this.#gateway.address, said, quote));
  }

  #settings(): void {
    const prng = this.#prng;
    const { configuredLocal: local } = this.#gateway;
    const { settings } = this.#gateway.model;
    const next: ModelSettings = {
      ...settings,
      tunnelAddress: prng.chance(0.5) ? null : (local[0] as ModelCidr).address + 1,
      linkMtuBytes: prng.pick(MTUS),
      ttl: prng.pick(['inherit', 64, 1, 255] as const),
      dscp: prng.pick(['inherit', 'inherit', 0, 46, 63] as const),
      ecn: prng.pick(['normal', 'normal', 'normal', 'compatibility'] as const),
      clampMss: prng.chance(0.8),
      fragment: prng.pick(['inner', 'outer'] as const),
      innerSource: prng.pick(['strict', 'strict', 'loose', 'off'] as const),
      allowedSources: prng.chance(0.5) ? [] : this.#allowed,
      transit: prng.chance(0.3) ? ['north'] : [],
    };
    const extra = { address: (local[0] as ModelCidr).address + 0x5_0000, prefixLength: 24 };
    const base = local.filter((cidr) => cidr.prefixLength === 16);
    this.#gateway.reconfigure(next, prng.chance(0.2) ? [...base, extra, this.#cidr(26, 32)] : base);
  }

  #replace(source: string): void {
    this.#gateway.applyClaims(source, { kind: 'replace', claims: [...this.#claimsOf(source).values()] });
  }

  #claim(id: string): Claim {
    const prng = this.#prng;
    if (prng.chance(0.15)) return this.#localClaim(id);
    const addresses = new Set<number>();
    for (let count = prng.pick([0, 1, 1, 1, 2, 2, 3, 4]); count > 0; count--)
      addresses.add(prng.pick(this.#peers));
    if (prng.chance(0.01)) addresses.add(this.#gateway.address);
    const gateways = [...addresses].map((address) => ({ address, weight: prng.pick([1, 1, 1, 2, 3, 10]) }));
    return { id, cidr: this.#cidr(0, 32), cluster: prng.pick(CLUSTERS), gateways };
  }

  /** A CIDR that is said to be ours: mostly neighbours in one of our own networks, which join, sometimes one that others claim. */
  #localClaim(id: string): Claim {
    const prng = this.#prng;
    const own = (this.#gateway.configuredLocal[0] as ModelCidr).address + 0x2_0000;
    const cidr = prng.chance(0.7)
      ? { address: own + prng.below(8) * 0x100, prefixLength: 24 }
      : this.#cidr(16, 32);
    return {
      id,
      cidr,
      cluster: this.#gateway.name,
      gateways: [],
      local: prng.pick(['pods', 'services', 'routes'] as const),
    };
  }

  /** Most are inside a cluster's pod network, so that they nest and collide. */
  #cidr(lengthMin: number, lengthMax: number): ModelCidr {
    const prng = this.#prng;
    const prefixLength = prng.pick(LENGTHS.filter((length) => length >= lengthMin && length <= lengthMax));
    const within = prng.pick(NETWORKS) + (prng.chance(0.7) ? prng.below(0x400) : prng.below(0x1_0000));
    const size = 2 ** (32 - prefixLength);
    return { address: Math.floor(within / size) * size, prefixLength };
  }

  #anyPeer(): number | undefined {
    const peers = [...this.#gateway.model.peers.keys()];
    return peers.length === 0 ? undefined : this.#prng.pick(peers);
  }

  #claimsOf(source: string): Map<string, Claim> {
    return this.#claims.get(source) as Map<string, Claim>;
  }
}
