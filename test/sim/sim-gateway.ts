import {
  type Address,
  type Cidr,
  type Cidr4,
  type CidrKey,
  cidrKey,
  formatCidr,
  isCidr4,
} from '../../src/base/address.ts';
import type { Timer } from '../../src/base/clock.ts';
import { GatewayError } from '../../src/base/errors.ts';
import type { Prng } from '../../src/base/prng.ts';
import { counterBytes, PEER_CELLS, peerCell } from '../../src/dataplane/counters.ts';
import { Engine } from '../../src/dataplane/engine.ts';
import { ICMP_QUEUE_BYTES, IcmpQueue } from '../../src/dataplane/icmp-queue.ts';
import { Publisher } from '../../src/dataplane/publisher.ts';
import { SENT_HEADERS_BYTES, SentHeaders } from '../../src/dataplane/sent-headers.ts';
import type { FibEntry } from '../../src/fib/entry.ts';
import { Fib } from '../../src/fib/fib.ts';
import { PEERS_MAX } from '../../src/fib/layout.ts';
import { enterEpoch, leaveEpoch } from '../../src/fib/lookup.ts';
import { IcmpFeed } from '../../src/health/icmp-feed.ts';
import { IcmpRelay } from '../../src/health/icmp-relay.ts';
import { PathMtuTable } from '../../src/health/path-mtu.ts';
import { loadNative } from '../../src/io/load.ts';
import { type MemoryEnd, MemoryLink } from '../../src/io/memory.ts';
import type { PacketIo } from '../../src/io/packet-io.ts';
import type { ClaimUpdate } from '../../src/table/claim.ts';
import type { ForwardedRoute, Route } from '../../src/table/route.ts';
import { Table } from '../../src/table/table.ts';
import { Auditor, Violation } from './auditor.ts';
import {
  longestMatch,
  type Model,
  type ModelCidr,
  type ModelRoute,
  type ModelSettings,
  publishRoutes,
} from './oracle/model.ts';
import { LearnedPaths } from './oracle/path-mtu.ts';
import { RecordingIo } from './recording-io.ts';
import type { SimClock } from './sim-clock.ts';
import { AccessLink } from './underlay.ts';

/** Packets that may wait in the device's queue; hosts stop sending before that. */
const DEVICE_QUEUE_PACKETS = 256;
/** A turn sends at most 192 packets, the link may double them, and more that were delayed may arrive. */
const ACCESS_QUEUE_PACKETS = 1024;
const READER = 0;
const AGING_INTERVAL_MS = 5000;
const GATEWAY_GRACE_MS = 900;

export interface GatewayPlan {
  readonly name: string;
  readonly settings: ModelSettings;
  readonly local: readonly ModelCidr[];
  /** Small ones fill up, so that a full FIB is met as well. */
  readonly capacityBytes: number;
}

/** Puts something between the engine and its recorded I/O: how the self-test breaks an engine. */
export type Saboteur = (io: PacketIo, side: 'device' | 'underlay', gateway: SimGateway) => PacketIo;

/**
 * One whole gateway: the shipped table, publisher, FIB, engine, ICMP queue and path MTU state, wired as gateway.ts wires them, on memory
 * ends and simulated time; beside it the model that the oracle predicts from.
 */
export class SimGateway {
  readonly name: string;
  readonly model: Model;
  readonly table: Table;
  readonly fib: Fib;
  readonly counters = new Float64Array(new SharedArrayBuffer(counterBytes(PEERS_MAX)));
  readonly access: AccessLink;
  /** The host's end of the TUN device and the network's end of the access link. */
  readonly host: MemoryEnd;
  readonly network: MemoryEnd;
  readonly device: RecordingIo;
  readonly underlay: RecordingIo;
  readonly auditor: Auditor;
  /** Publications that the FIB had no room for. */
  refusedPublications = 0;
  publications = 0;
  icmpSent = 0;
  /** Our own CIDRs as the configuration names them; sources claim more. */
  configuredLocal: readonly ModelCidr[];
  /** What the FIB was last told to be ours. */
  #told: readonly ModelCidr[] = [];
  readonly #clock: SimClock;
  readonly #prng: Prng;
  readonly #publisher: Publisher;
  readonly #engine: Engine;
  readonly #icmp: IcmpQueue;
  readonly #feed: IcmpFeed;
  readonly #pathMtu = new PathMtuTable();
  readonly #socket: MemoryEnd;
  readonly #tun: MemoryEnd;
  readonly #kernelRoutes = new Set<CidrKey>();
  #tickTimer: Timer | undefined;

  constructor(plan: GatewayPlan, clock: SimClock, prng: Prng, sabotage: Saboteur | undefined) {
    this.name = plan.name;
    this.#clock = clock;
    this.#prng = prng;
    this.configuredLocal = plan.local;
    this.model = {
      settings: plan.settings,
      local: [],
      routes: [],
      peers: new Map(),
      paths: new LearnedPaths(),
    };
    this.table = new Table();
    this.fib = new Fib({
      capacityBytes: plan.capacityBytes,
      onPeerReleased: (peer) => this.counters.fill(0, peerCell(peer), peerCell(peer) + PEER_CELLS),
    });
    // A publication may get this far and no further, when the routes do not fit.
    const setLocal = this.fib.setLocal.bind(this.fib);
    this.fib.setLocal = (cidrs) => {
      setLocal(cidrs);
      // The oracle knows IPv4.
      this.#told = cidrs.filter(isCidr4);
      this.model.local = this.#told;
    };
    this.#publisher = new Publisher(this.table, this.fib, this.#hostRoutes(), clock, () => {
      for (const { peer, pathMtuBytes } of this.#pathMtu.learned()) this.fib.setPeer(peer, { pathMtuBytes });
    });
    this.access = new AccessLink(prng);
    const deviceLink = new MemoryLink({ capacity: DEVICE_QUEUE_PACKETS });
    const accessLink = new MemoryLink({ capacity: ACCESS_QUEUE_PACKETS, fault: this.access });
    this.#socket = accessLink.left;
    this.#tun = deviceLink.left;
    this.host = deviceLink.right;
    this.network = accessLink.right;
    this.device = new RecordingIo(deviceLink.left, prng);
    this.underlay = new RecordingIo(accessLink.left, prng);
    this.#icmp = new IcmpQueue(new SharedArrayBuffer(ICMP_QUEUE_BYTES), clock);
    this.#engine = new Engine({
      device: sabotage?.(this.device, 'device', this) ?? this.device,
      underlay: sabotage?.(this.underlay, 'underlay', this) ?? this.underlay,
      offload: loadNative(),
      // The oracle knows packets one by one; merging has its own in test/unit/io. TCP here never goes on where it ended.
      coalesceFeatures: 0,
      words: this.fib.words,
      counters: this.counters,
      icmp: this.#icmp,
      sent: new SentHeaders(new SharedArrayBuffer(SENT_HEADERS_BYTES)),
      engine: READER,
      engines: 1,
    });
    this.auditor = new Auditor(this.model, this.counters, this.device, this.underlay, clock.nowMs());
    this.#feed = new IcmpFeed({
      pathMtu: this.#pathMtu,
      clock,
      source: () => this.model.settings.source,
      isPeer: (address) => this.fib.hasPeer(address),
      udpPortOf: () => 0,
      // What is relayed is no packet of the engine, and the auditor knows those alone.
      relay: new IcmpRelay({ isLocal: () => true, send: () => {}, recall: () => false }, clock.nowMs()),
      onPathMtu: ({ peer, pathMtuBytes }) => void this.fib.setPeer(peer, { pathMtuBytes }),
      distrustsReports: () => false,
      onError: () => {},
    });
    this.reconfigure(plan.settings, plan.local);
    this.#age();
  }

  get address(): number {
    return this.model.settings.source;
  }

  /** Packets before the underlay socket that the engine has not read. */
  get waitingUnderlay(): number {
    return this.#socket.waiting;
  }

  /** Packets in the TUN device's queue. */
  get waitingDevice(): number {
    return this.#tun.waiting;
  }

  get isBlocked(): boolean {
    return this.#engine.isBlocked;
  }

  /** One turn of the engine, audited. */
  turn(): void {
    if (!this.isBlocked) enterEpoch(this.fib.words, READER);
    this.#engine.turn();
    this.auditor.afterTurn(this.#clock.nowMs(), this.isBlocked);
  }

  /**
   * A worker that found nothing more leaves its epoch before it sleeps; a busy one stays where it is while the control plane goes on, and
   * so does one whose packets wait for a full send queue.
   */
  rest(): void {
    if (!this.isBlocked && this.#prng.chance(0.7)) leaveEpoch(this.fib.words, READER);
  }

  drainIcmp(): void {
    this.icmpSent += this.#icmp.drain((destination, message) => this.auditor.icmp(destination, message));
    this.auditor.noIcmpLeft();
  }

  /** An ICMP packet from the underlay. */
  icmp(packet: Uint8Array): void {
    this.#feed.receive(packet);
    const isPeer = (address: number): boolean => this.model.peers.has(address);
    this.model.paths.receive(packet, this.address, isPeer, this.#clock.nowMs());
  }

  applyClaims(source: string, update: ClaimUpdate): void {
    this.table.apply(source, update, this.#clock.nowMs(), this.#clock.wallMs());
    this.publish();
  }

  /** Our own CIDRs and everything that the packet path knows of the configuration. */
  reconfigure(settings: ModelSettings, local: readonly ModelCidr[]): void {
    const now = [this.#clock.nowMs(), this.#clock.wallMs()] as const;
    const { source } = settings;
    this.configuredLocal = local;
    this.table.reconfigure(
      {
        cluster: this.name,
        local,
        ownAddresses: [source],
        underlay: source,
        gatewayGraceMs: GATEWAY_GRACE_MS,
      },
      ...now,
    );
    this.#unlessFull(() => {
      this.fib.configure({ ...settings, tunnelAddress: settings.tunnelAddress ?? 0 });
      this.model.settings = settings;
    });
    this.publish();
  }

  setAlive(address: number, alive: boolean): void {
    const peer = this.model.peers.get(Number(address));
    const isKnown = this.fib.setPeer(address, { alive });
    if (isKnown !== (peer !== undefined)) throw new Violation(`setPeer of ${address} says ${isKnown}`);
    if (peer !== undefined) peer.alive = alive;
  }

  publish(): void {
    this.#unlessFull(() => {
      if (!this.#publisher.publish()) return;
      this.publications += 1;
      publishRoutes(this.model, [...this.table.routes()] as readonly Route[] as readonly ModelRoute[]);
      // One by one, as they were configured and claimed, while the FIB has them joined.
      this.model.local = this.table.localCidrs().map(({ cidr }) => cidr as Cidr4);
      this.#hostRoutesAgree();
    });
    this.#arm();
  }

  /** Compares the FIB with the model: every peer, and the longest match of `addresses`. */
  auditControl(addresses: readonly number[]): void {
    const peers = this.fib.peers();
    this.auditor.peersAgree(new Map(peers.map(({ address, index }) => [Number(address), index])));
    this.auditor.sumsAgree();
    if (peers.length !== this.model.peers.size) {
      throw new Violation(`the FIB has ${peers.length} peers, the routes name ${this.model.peers.size}`);
    }
    for (const { address, alive, pathMtuBytes, clusters } of peers) {
      const peer = this.model.peers.get(Number(address));
      const serves = this.model.routes.filter((route) =>
        route.gateways.some((one) => one.address === address),
      );
      const wanted = [...new Set(serves.map((route) => route.cluster))].sort().join();
      const learned = this.model.paths.bytesOf(Number(address));
      const isSame = peer?.alive === alive && learned === pathMtuBytes;
      if (!isSame || [...clusters].sort().join() !== wanted) {
        const found = JSON.stringify({ alive, pathMtuBytes, clusters });
        const expected = `alive ${peer?.alive}, path MTU ${learned}, clusters ${wanted}`;
        throw new Violation(`peer ${address} is ${found}, expected ${expected}`);
      }
    }
    for (const address of addresses) {
      const found = this.fib.find(address);
      const expected = longestMatch(this.model, address);
      const entry = found === 'local' || found === undefined ? found : ofIpv4(found.entry);
      if (nameOf(entry) !== nameOf(expected)) {
        throw new Violation(
          `${address} is found in ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`,
        );
      }
    }
  }

  /** With no reader inside an epoch nothing may be left over, and the image must be no larger than one that was never changed. */
  auditMemory(): void {
    if (this.isBlocked) return;
    leaveEpoch(this.fib.words, READER);
    this.fib.reclaim();
    const { retired } = this.fib.stats();
    if (retired !== 0)
      throw new Violation(`${retired} blocks and indexes are still retired without any reader`);
    const fresh = new Fib({ capacityBytes: 4 << 20 });
    const { settings } = this.model;
    fresh.setLocal(this.#told);
    fresh.configure({ ...settings, tunnelAddress: settings.tunnelAddress ?? 0 });
    fresh.replace(this.model.routes);
    const [patched, compiled] = [this.fib, fresh].map(usedWords);
    if (patched !== compiled)
      throw new Violation(`the FIB uses ${patched} words of blocks, a fresh one ${compiled}`);
    const counts = [this.fib, fresh].map((fib) => {
      const { prefixes, groups, peers, clusters } = fib.stats();
      return JSON.stringify({ prefixes, groups, peers, clusters });
    });
    if (counts[0] !== counts[1]) throw new Violation(`the FIB has ${counts[0]}, a fresh one ${counts[1]}`);
  }

  #unlessFull(change: () => void): void {
    try {
      change();
    } catch (error) {
      if (!(error instanceof GatewayError) || error.code !== 'ISTHMUS_ERR_CAPACITY') throw error;
      this.refusedPublications += 1;
    }
  }

  #hostRoutes() {
    return {
      add: (routes: readonly ForwardedRoute[]): void => {
        for (const { cidr } of routes) {
          if (this.fib.find(cidr.address as Address) === undefined) {
            throw new Violation(`the kernel is to lead ${formatCidr(cidr)} here before the FIB knows it`);
          }
          this.#kernelRoutes.add(cidrKey(cidr));
        }
      },
      remove: (cidrs: readonly Cidr[]): void => {
        for (const cidr of cidrs) this.#kernelRoutes.delete(cidrKey(cidr));
      },
    };
  }

  #hostRoutesAgree(): void {
    const wanted = this.model.routes.map((route) => cidrKey(route.cidr));
    if (wanted.length === this.#kernelRoutes.size && wanted.every((key) => this.#kernelRoutes.has(key)))
      return;
    throw new Violation(`the kernel has ${this.#kernelRoutes.size} routes to us, the table ${wanted.length}`);
  }

  /** The table says when it has something to do. */
  #arm(): void {
    this.#tickTimer?.cancel();
    const deadline = this.table.nextDeadlineMs();
    if (deadline === undefined) return;
    this.#tickTimer = this.#clock.after(deadline - this.#clock.nowMs(), () => {
      this.table.tick(this.#clock.nowMs(), this.#clock.wallMs());
      this.publish();
    });
  }

  #age(): void {
    this.#feed.expire();
    this.model.paths.expire(this.#clock.nowMs());
    this.fib.reclaim();
    this.#clock.after(AGING_INTERVAL_MS, () => this.#age());
  }
}

function usedWords(fib: Fib): number {
  let words = 0;
  for (const block of fib.blocks()) if (block.state === 'used') words += block.words;
  return words;
}

function nameOf(
  found: 'local' | { cidr: ModelCidr; cluster: string; gateways: readonly object[] } | undefined,
): string {
  return typeof found === 'object'
    ? JSON.stringify([cidrKey(found.cidr), found.cluster, found.gateways])
    : String(found);
}

function ofIpv4(entry: FibEntry): FibEntry & { readonly cidr: Cidr4 } {
  const { cidr } = entry;
  if (!isCidr4(cidr)) throw new Violation(`${formatCidr(cidr)} is found for an address of IPv4`);
  return { ...entry, cidr };
}
