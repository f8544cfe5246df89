import { parseCidr4 } from '../../src/base/address.ts';
import { Prng } from '../../src/base/prng.ts';
import { TOTAL } from '../../src/dataplane/counters.ts';
import { Violation } from './auditor.ts';
import { ControlPlane } from './control-plane.ts';
import type { ModelCidr, ModelSettings } from './oracle/model.ts';
import { buildIpv4 } from './oracle/wire.ts';
import { CALM } from './recording-io.ts';
import { SimClock } from './sim-clock.ts';
import { type Saboteur, SimGateway } from './sim-gateway.ts';
import { type Places, Traffic } from './traffic.ts';
import { FAIR, fragmentationNeeded, Underlay } from './underlay.ts';

const WEST = 0xac1f_0001;
const EAST = 0xac1f_0002;
/** Gateways that are nothing but addresses. */
const PHANTOMS = [1, 2, 3, 4, 5].map((host) => 0xac1f_0900 + host);
const ALLOWED = [parseCidr4('203.0.113.0/28'), parseCidr4('172.31.9.5/32')];
const PLACES: Places = {
  allowed: [0xcb00_7101, 0xcb00_710f, 0xcb00_7110],
  strangers: [0xc633_6401, 0xc633_6402, 0x0a02_0001, 0xac1f_0909],
};
const WEST_LOCAL = [parseCidr4('10.1.0.0/16'), parseCidr4('10.96.0.0/16')];
const EAST_LOCAL = [parseCidr4('10.2.0.0/16'), parseCidr4('10.97.0.0/16')];

/** Steps after which packets, claims and weather have settled into something else. */
const MEMORY_AUDIT_STEPS = 400;
const CONTROL_AUDIT_STEPS = 8;

/** A machine that slept: longer than any learned path MTU lives. */
const CLOCK_JUMP_MS = 12 * 60_000;

/** A packet that waits longer than one step is not yet before the engine; more than this and hosts stop sending. */
const QUEUE_MAX = 120;

const SMALL_FIB_BYTES = 16 * 1024;
const FIB_BYTES = 1 << 20;

export interface SimulationOptions {
  readonly seed: number;
  readonly sabotage?: Saboteur;
}

export interface SimulationStats {
  /** Packets that the engines were given, both directions. */
  readonly packets: number;
  readonly forwarded: number;
  readonly publications: number;
  readonly refusedPublications: number;
  readonly icmp: number;
}

/** A step of a seed broke a rule. `message` holds all one needs, with the command that plays it again. */
export class SimulationFailure extends Error {
  override readonly name = 'SimulationFailure';
  readonly seed: number;
  readonly step: number;

  constructor(seed: number, step: number, cause: unknown) {
    const detail =
      cause instanceof Violation ? cause.message : cause instanceof Error ? cause.stack : String(cause);
    super(`seed ${seed}, step ${step}: ${detail}\n  replay: npm run sim -- --seed ${seed} --steps ${step}`, {
      cause,
    });
    this.seed = seed;
    this.step = step;
  }
}

/** Two gateways, their hosts, the network between them and whoever else is on it. Everything follows from the seed. */
export class Simulation {
  readonly west: SimGateway;
  readonly east: SimGateway;
  readonly #seed: number;
  readonly #prng: Prng;
  readonly #clock = new SimClock();
  readonly #underlay = new Underlay();
  readonly #parties: readonly { gateway: SimGateway; control: ControlPlane; traffic: Traffic }[];
  #step = 0;

  constructor({ seed, sabotage }: SimulationOptions) {
    this.#seed = seed;
    this.#prng = new Prng(seed);
    this.west = this.#gateway('west', WEST, WEST_LOCAL, sabotage);
    this.east = this.#gateway('east', EAST, EAST_LOCAL, sabotage);
    this.#parties = [this.west, this.east].map((gateway) => {
      const other = gateway === this.west ? this.east : this.west;
      this.#underlay.attach({
        address: gateway.address,
        end: gateway.network,
        icmp: (packet) => gateway.icmp(packet),
      });
      const control = new ControlPlane(gateway, this.#prng, [other.address, ...PHANTOMS], ALLOWED);
      control.begin(other.name, other.configuredLocal);
      return { gateway, control, traffic: new Traffic(gateway, this.#prng, PLACES) };
    });
  }

  get stats(): SimulationStats {
    const sum = (value: (gateway: SimGateway) => number): number => value(this.west) + value(this.east);
    const cell = (index: number) => (gateway: SimGateway) => gateway.counters[index] as number;
    return {
      packets: sum(cell(TOTAL.OUTBOUND_RECEIVED)) + sum(cell(TOTAL.INBOUND_RECEIVED)),
      forwarded: sum(cell(TOTAL.OUTBOUND_PACKETS)) + sum(cell(TOTAL.INBOUND_PACKETS)),
      publications: sum((gateway) => gateway.publications),
      refusedPublications: sum((gateway) => gateway.refusedPublications),
      icmp: sum((gateway) => gateway.icmpSent),
    };
  }

  /** Runs to step `steps`, then lets everything come to rest. Throws a SimulationFailure. */
  run(steps: number): void {
    this.advance(steps);
    this.#orFail(() => this.#settle());
  }

  /** Runs to step `steps`. Throws a SimulationFailure. */
  advance(steps: number): void {
    while (this.#step < steps) {
      this.#step += 1;
      this.#orFail(() => this.#once());
    }
  }

  #orFail(action: () => void): void {
    try {
      action();
    } catch (cause) {
      throw new SimulationFailure(this.#seed, this.#step, cause);
    }
  }

  #once(): void {
    const prng = this.#prng;
    this.#clock.advance(prng.chance(0.004) ? CLOCK_JUMP_MS : prng.below(40));
    if (prng.chance(0.02)) this.#changeWeather();
    const order = prng.chance(0.5) ? this.#parties : this.#parties.toReversed();
    for (const { gateway, control, traffic } of order) {
      if (prng.chance(0.15)) control.step();
      this.#send(gateway, traffic);
      gateway.access.step();
    }
    this.#underlay.step();
    for (const { gateway } of order) {
      for (let turn = 1 + prng.below(3); turn > 0; turn--) {
        gateway.turn();
        this.#underlay.collect(gateway.address);
      }
      gateway.rest();
      this.#nothingVanished(gateway);
      if (prng.chance(0.9)) gateway.drainIcmp();
      while (gateway.host.read() !== undefined);
    }
    if (this.#step % CONTROL_AUDIT_STEPS === 0) {
      for (const { gateway } of order) gateway.auditControl(this.#addresses(gateway));
    }
    if (this.#step % MEMORY_AUDIT_STEPS === 0) for (const { gateway } of order) gateway.auditMemory();
  }

  #send(gateway: SimGateway, traffic: Traffic): void {
    const prng = this.#prng;
    const burst = prng.chance(0.05) ? 90 : prng.below(14);
    for (let count = burst; count > 0 && gateway.waitingDevice < QUEUE_MAX; count--) {
      gateway.host.write(traffic.fromHost());
    }
    for (let count = prng.below(6); count > 0; count--) {
      this.#underlay.inject(gateway.address, traffic.fromAttacker());
    }
    if (prng.chance(0.01)) gateway.icmp(this.#forgedIcmp(gateway));
  }

  /** Anybody may send ICMP: only what quotes our own packets to a peer may have any effect, and none that asks for less than 596. */
  #forgedIcmp(gateway: SimGateway): Uint8Array {
    const prng = this.#prng;
    const quote = buildIpv4({
      protocol: prng.pick([4, 17]),
      source: prng.pick([gateway.address, PHANTOMS[0] as number]),
      destination: prng.pick([...PHANTOMS, ...PLACES.strangers]),
      payload: new Uint8Array(1480),
    });
    const mtu = prng.pick([0, 68, 595, 596, 1400, 1500]);
    const packet = fragmentationNeeded(
      prng.u32(),
      gateway.address,
      mtu,
      quote.subarray(0, 28 + prng.below(60)),
    );
    if (prng.chance(0.2)) packet[22]! ^= 1;
    return packet;
  }

  /** Nothing is lost between a sender and a socket but what the network says it lost. */
  #nothingVanished(gateway: SimGateway): void {
    const handed = this.#underlay.handed.get(gateway.address) as number;
    const received = gateway.counters[TOTAL.INBOUND_RECEIVED] as number;
    const waiting = gateway.waitingUnderlay;
    if (received + waiting !== handed) {
      throw new Violation(
        `${gateway.name} was handed ${handed} packets, received ${received}, ${waiting} wait`,
      );
    }
    const { offered, passed, lost, duplicated, delayed } = gateway.access;
    const sent = gateway.counters[TOTAL.OUTBOUND_PACKETS] as number;
    if (offered !== sent)
      throw new Violation(`${gateway.name} counts ${sent} packets sent, the link got ${offered}`);
    if (offered + duplicated !== passed + lost + delayed)
      throw new Violation('the simulated link lost a packet itself');
    if (gateway.network.dropped > 0)
      throw new Violation('the simulated network is too slow for its own queue');
  }

  #changeWeather(): void {
    const prng = this.#prng;
    const rate = (): number => prng.pick([0, 0, 0.01, 0.05, 0.2]);
    for (const { gateway } of this.#parties) {
      gateway.access.weather = prng.chance(0.3)
        ? FAIR
        : { loss: rate(), duplication: rate(), reordering: rate(), corruption: rate(), congestion: rate() };
      for (const io of [gateway.device, gateway.underlay]) {
        io.temper = prng.chance(0.5)
          ? CALM
          : {
              full: prng.pick([0, 0.02, 0.3]),
              refuse: prng.pick([0, 0, 0.05]),
              unreadable: prng.pick([0, 0.05]),
            };
      }
      this.#underlay.pathMtu.set(gateway.address, prng.pick([65_535, 65_535, 1500, 1400, 596]));
    }
  }

  /** Calm weather until every engine is empty, then everything is compared once more. */
  #settle(): void {
    for (const { gateway } of this.#parties) {
      gateway.device.temper = CALM;
      gateway.underlay.temper = CALM;
      for (let turn = 0; turn < 8; turn++) {
        gateway.turn();
        this.#underlay.collect(gateway.address);
      }
      gateway.rest();
      if (gateway.isBlocked) throw new Violation(`${gateway.name} is blocked although its queues are free`);
      gateway.drainIcmp();
      gateway.auditControl(this.#addresses(gateway));
      gateway.auditMemory();
    }
  }

  /** The first and last address of every prefix and their neighbours, where look-ups go wrong if they do. */
  #addresses(gateway: SimGateway): number[] {
    const { routes, local } = gateway.model;
    return [...routes.map((route) => route.cidr), ...local].flatMap(({ address, prefixLength }) => {
      const last = address + 2 ** (32 - prefixLength) - 1;
      return [address - 1, address, last, last + 1].map((edge) => edge >>> 0);
    });
  }

  #gateway(
    name: string,
    address: number,
    local: readonly ModelCidr[],
    sabotage: Saboteur | undefined,
  ): SimGateway {
    const settings: ModelSettings = {
      source: address,
      tunnelAddress: null,
      linkMtuBytes: 1500,
      ttl: 64,
      dscp: 'inherit',
      ecn: 'normal',
      clampMss: true,
      fragment: 'inner',
      innerSource: 'strict',
      allowedSources: [],
      transit: [],
    };
    const capacityBytes = this.#prng.chance(0.3) ? SMALL_FIB_BYTES : FIB_BYTES;
    return new SimGateway({ name, settings, local, capacityBytes }, this.#clock, this.#prng, sabotage);
  }
}
