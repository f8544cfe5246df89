import type { Prng } from '../../src/base/prng.ts';
import type { ModelCidr } from './oracle/model.ts';
import { buildIpv4, sealHeader } from './oracle/wire.ts';
import { PacketFactory } from './packets.ts';
import type { SimGateway } from './sim-gateway.ts';

/** Addresses that mean something besides those of the two gateways. */
export interface Places {
  /** Sources that `security.decapsulateFrom` may name. */
  readonly allowed: readonly number[];
  /** Sources that nobody knows. */
  readonly strangers: readonly number[];
}

const LARGE = [1480, 1500, 2000, 9000, 9000, 30_000];
const FLOWS_MAX = 200;

/** What hosts and attackers send to one gateway. */
export class Traffic {
  readonly #gateway: SimGateway;
  readonly #prng: Prng;
  readonly #places: Places;
  readonly #factory: PacketFactory;
  /** Flows that were seen before and come again. */
  readonly #flows: { readonly source: number; readonly destination: number; readonly ports: number }[] = [];

  constructor(gateway: SimGateway, prng: Prng, places: Places) {
    this.#gateway = gateway;
    this.#prng = prng;
    this.#places = places;
    this.#factory = new PacketFactory(prng);
  }

  /** A packet that the kernel routes into the TUN device. */
  fromHost(): Uint8Array {
    const prng = this.#prng;
    const known = this.#flows.length > 0 && prng.chance(0.5) ? prng.pick(this.#flows) : this.#newFlow();
    const packet = this.#factory.inner(known.source, known.destination, known.ports, this.#sizes());
    return prng.chance(0.04) ? this.#factory.damage(packet) : packet;
  }

  /** A packet that somebody sends to the gateway's underlay address. */
  fromAttacker(): Uint8Array {
    const prng = this.#prng;
    const { settings } = this.#gateway.model;
    const inner = this.#factory.inner(this.#innerSource(), this.#innerDestination(), prng.below(1000), LARGE);
    const isDamaged = prng.chance(0.15);
    const outer = buildIpv4({
      tos: prng.below(256),
      id: prng.below(0x1_0000),
      dontFragment: prng.chance(0.5),
      moreFragments: prng.chance(0.02),
      offsetUnits: prng.chance(0.02) ? prng.below(100) : 0,
      ttl: 1 + prng.below(255),
      protocol: prng.chance(0.02) ? prng.below(256) : 4,
      source: this.#outerSource(),
      destination: prng.chance(0.95) ? settings.source : prng.u32(),
      options: prng.chance(0.05) ? Uint8Array.of(1, 1, 1, 0) : new Uint8Array(0),
      payload: (isDamaged ? this.#factory.damage(inner) : inner).slice(0, 60_000),
    });
    if (prng.chance(0.03)) return this.#factory.damage(outer);
    if (prng.chance(0.03)) outer[0] = 0x46;
    if (prng.chance(0.03)) outer[3] = prng.below(256);
    if (prng.chance(0.06)) sealHeader(outer);
    return outer;
  }

  #newFlow(): { source: number; destination: number; ports: number } {
    const prng = this.#prng;
    const flow = { source: this.#hostSource(), destination: this.#hostDestination(), ports: prng.u32() };
    if (this.#flows.length < FLOWS_MAX) this.#flows.push(flow);
    else this.#flows[prng.below(FLOWS_MAX)] = flow;
    return flow;
  }

  #hostSource(): number {
    const roll = this.#prng.below(100);
    if (roll < 94) return this.#in(this.#prng.pick(this.#gateway.model.local));
    return roll < 97 ? this.#end() : this.#odd();
  }

  #hostDestination(): number {
    const { routes, local } = this.#gateway.model;
    const roll = this.#prng.below(100);
    if (roll < 88 && routes.length > 0) return this.#in(this.#prng.pick(routes).cidr);
    if (roll < 92) return this.#in(this.#prng.pick(local));
    return roll < 96 ? this.#end() : this.#odd();
  }

  #outerSource(): number {
    const prng = this.#prng;
    const peers = [...this.#gateway.model.peers.keys()];
    const roll = prng.below(100);
    if (roll < 70 && peers.length > 0) return prng.pick(peers);
    if (roll < 82) return prng.pick(this.#places.allowed);
    return roll < 97 ? prng.pick(this.#places.strangers) : this.#gateway.address;
  }

  #innerSource(): number {
    const { routes, local } = this.#gateway.model;
    const roll = this.#prng.below(100);
    if (roll < 80 && routes.length > 0) return this.#in(this.#prng.pick(routes).cidr);
    if (roll < 86) return this.#in(this.#prng.pick(local));
    return roll < 94 ? this.#odd() : this.#end();
  }

  #innerDestination(): number {
    const { routes, local } = this.#gateway.model;
    const roll = this.#prng.below(100);
    if (roll < 76) return this.#in(this.#prng.pick(local));
    if (roll < 88 && routes.length > 0) return this.#in(this.#prng.pick(routes).cidr);
    return roll < 95 ? this.#odd() : this.#end();
  }

  /** An end of some tunnel: ours, our overlay address, a gateway. */
  #end(): number {
    const { settings, peers } = this.#gateway.model;
    return this.#prng.pick([settings.source, settings.tunnelAddress ?? settings.source, ...peers.keys()]);
  }

  /** Addresses that no host has, and random ones. */
  #odd(): number {
    const prng = this.#prng;
    const first = prng.pick([0, 127, 224, 239, 240, 255, prng.below(256), 169, 10]);
    return prng.chance(0.1) ? prng.pick([0, 0xffff_ffff]) : first * 2 ** 24 + prng.below(2 ** 24);
  }

  /** Anywhere in the CIDR, and often at its edges or just outside. */
  #in({ address, prefixLength }: ModelCidr): number {
    const prng = this.#prng;
    const size = 2 ** (32 - prefixLength);
    const within = prng.chance(0.15) ? prng.pick([0, size - 1, size, -1]) : prng.below(size);
    return (address + within) >>> 0;
  }

  /** Lengths around which something happens: what fits the link and the learned path MTUs, and far beyond. */
  #sizes(): number[] {
    const { settings, peers, paths } = this.#gateway.model;
    const sizes = [settings.linkMtuBytes - 20, settings.linkMtuBytes - 20, this.#prng.pick(LARGE)];
    for (const peer of peers.keys()) if (paths.bytesOf(peer) > 0) sizes.push(paths.bytesOf(peer) - 20);
    if (this.#prng.chance(0.02)) sizes.push(65_535);
    return sizes;
  }
}
