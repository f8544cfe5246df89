import assert from 'node:assert/strict';
import { type IpAddress, parseAddress, parseCidr4 } from '../../../src/base/address.ts';
import type { Clock } from '../../../src/base/clock.ts';
import {
  counterBytes,
  DROPS_INBOUND,
  DROPS_OUTBOUND,
  PEER_CELL,
  peerCell,
  TOTAL,
} from '../../../src/dataplane/counters.ts';
import { Engine } from '../../../src/dataplane/engine.ts';
import { ICMP_QUEUE_BYTES, IcmpQueue } from '../../../src/dataplane/icmp-queue.ts';
import { SENT_HEADERS_BYTES, SentHeaders } from '../../../src/dataplane/sent-headers.ts';
import { Fib, type FibEntry, type FibSettings } from '../../../src/fib/fib.ts';
import { loadNative } from '../../../src/io/load.ts';
import { MemoryLink } from '../../../src/io/memory.ts';
import { COALESCE } from '../../../src/io/native.ts';
import type { PacketIo } from '../../../src/io/packet-io.ts';
import { DROP_REASONS, VERDICT_COUNT } from '../../../src/packet/verdict.ts';
import { buildIpv4, type Ipv4 } from '../../sim/oracle/wire.ts';

/** The underlay: us, two gateways of cluster west, one of north, and somebody else. */
export const OURS = parseAddress('172.31.0.1');
export const WEST_1 = parseAddress('172.31.0.2');
export const WEST_2 = parseAddress('172.31.0.3');
export const NORTH = parseAddress('172.31.0.4');
export const STRANGER = parseAddress('198.51.100.7');

/** The overlay: a pod of ours, one in west behind its first gateway, one behind both, one in north. */
export const POD = parseAddress('10.1.0.5');
export const WEST_POD = parseAddress('10.2.0.5');
export const WEST_SHARED_POD = parseAddress('10.2.200.5');
export const NORTH_POD = parseAddress('10.3.0.5');

export const SETTINGS: FibSettings = {
  ...{ source: OURS, tunnelAddress: 0, linkMtuBytes: 1500, ttl: 64, dscp: 'inherit', ecn: 'normal' },
  ...{ fragment: 'inner', clampMss: true, innerSource: 'strict', allowedSources: [], transit: [] },
};

export const ENTRIES: readonly FibEntry[] = [
  { cidr: parseCidr4('10.2.0.0/16'), cluster: 'west', gateways: [{ address: WEST_1, weight: 1 }] },
  {
    cidr: parseCidr4('10.2.200.0/24'),
    cluster: 'west',
    gateways: [
      { address: WEST_1, weight: 1 },
      { address: WEST_2, weight: 1 },
    ],
  },
  { cidr: parseCidr4('10.3.0.0/16'), cluster: 'north', gateways: [{ address: NORTH, weight: 1 }] },
];

export interface RigOptions {
  readonly settings?: Partial<FibSettings>;
  /** Instead of ENTRIES. */
  readonly entries?: readonly FibEntry[];
  readonly engine?: number;
  readonly engines?: number;
  readonly sentHeaders?: SentHeaders;
  /** Stands between the engine and a memory end. */
  readonly wrap?: (io: PacketIo, side: 'device' | 'underlay') => PacketIo;
}

/** A clock that a test moves by hand. */
export class HandClock implements Clock {
  ms = 0;

  nowMs(): number {
    return this.ms;
  }

  wallMs(): number {
    return this.ms;
  }

  after(): never {
    throw new Error('the engine sets no timers');
  }
}

/** One engine on memory links, with a FIB of three routes. */
export class Rig {
  readonly fib = new Fib({ capacityBytes: 1 << 20 });
  readonly counters = new Float64Array(new SharedArrayBuffer(counterBytes(64)));
  readonly clock = new HandClock();
  readonly sentHeaders: SentHeaders;
  readonly engine: Engine;
  readonly #device = new MemoryLink({ capacity: 512 });
  readonly #underlay = new MemoryLink({ capacity: 512 });
  readonly #icmp = new IcmpQueue(new SharedArrayBuffer(ICMP_QUEUE_BYTES), this.clock);

  constructor({
    settings,
    entries = ENTRIES,
    engine = 0,
    engines = 1,
    wrap = (io) => io,
    sentHeaders,
  }: RigOptions = {}) {
    const encapsulation = typeof settings?.source === 'bigint' ? 'ipip6' : 'ipip';
    const sentBuffer = new SharedArrayBuffer(SENT_HEADERS_BYTES);
    this.sentHeaders = sentHeaders ?? new SentHeaders(sentBuffer, encapsulation);
    this.fib.setLocal([parseCidr4('10.1.0.0/16')]);
    this.fib.configure({ ...SETTINGS, ...settings });
    this.fib.replace(entries);
    this.engine = new Engine({
      device: wrap(this.#device.left, 'device'),
      underlay: wrap(this.#underlay.left, 'underlay'),
      offload: loadNative(),
      coalesceFeatures: COALESCE.UDP,
      words: this.fib.words,
      counters: this.counters,
      icmp: this.#icmp,
      sent: this.sentHeaders,
      engine,
      engines,
    });
  }

  /** Puts packets before the device and lets the engine run until it is idle. Returns what it sent to the underlay. */
  outbound(...packets: Uint8Array[]): Uint8Array[] {
    this.hostSends(...packets);
    this.run();
    return this.sent();
  }

  /** Puts packets before the underlay socket and runs. Returns what the device got. */
  inbound(...packets: Uint8Array[]): Uint8Array[] {
    for (const packet of packets) assert.ok(this.#underlay.right.write(packet));
    this.run();
    return this.delivered();
  }

  hostSends(...packets: Uint8Array[]): void {
    for (const packet of packets) assert.ok(this.#device.right.write(packet));
  }

  /** A packet whose segmentation the host's kernel left to us. */
  hostSendsUncut(packet: Uint8Array, vnet: Uint8Array): void {
    assert.ok(this.#device.right.write(packet, 0, vnet));
  }

  /** The path to a gateway has turned out to carry only so much. */
  learn(gateway: IpAddress, pathMtuBytes: number): void {
    this.fib.setPeer(gateway, { pathMtuBytes });
  }

  run(): void {
    for (let turn = 0; turn < 100; turn++) if (this.engine.turn() === 0) return;
    assert.fail('the engine is busy for ever');
  }

  sent(): Uint8Array[] {
    return drain(() => this.#underlay.right.read());
  }

  delivered(): Uint8Array[] {
    return drain(() => this.#device.right.read());
  }

  get waitingFromHost(): number {
    return this.#device.left.waiting;
  }

  icmp(): { destination: number; message: Uint8Array }[] {
    const messages: { destination: number; message: Uint8Array }[] = [];
    this.#icmp.drain((destination, message) => messages.push({ destination, message }));
    return messages;
  }

  /** ICMPv6 errors that wait for the slow path; what else waits is lost. */
  icmp6(): Uint8Array[] {
    const messages: Uint8Array[] = [];
    const ignore = (): void => {};
    this.#icmp.drain(ignore, ignore, (message) => messages.push(message));
    return messages;
  }

  /** Probes that wait for the slow path; ICMP errors before them are lost. */
  probes(): { gateway: IpAddress; outerBytes: number; inner: Uint8Array }[] {
    const probes: { gateway: IpAddress; outerBytes: number; inner: Uint8Array }[] = [];
    this.#icmp.drain(
      () => {},
      (gateway, outerBytes, inner) => probes.push({ gateway, outerBytes, inner }),
    );
    return probes;
  }

  total(name: keyof typeof TOTAL): number {
    return this.counters[TOTAL[name]]!;
  }

  peer(address: IpAddress, name: keyof typeof PEER_CELL): number {
    const index = this.fib.peers().find((peer) => peer.address === address)?.index;
    assert.ok(index !== undefined);
    return this.counters[peerCell(index) + PEER_CELL[name]]!;
  }

  /** Every drop so far, by direction and reason. */
  drops(): Record<string, number> {
    const drops: Record<string, number> = {};
    for (let verdict = 0; verdict < VERDICT_COUNT; verdict++) {
      const { name } = DROP_REASONS[verdict]!;
      const outbound = this.counters[DROPS_OUTBOUND + verdict]!;
      const inbound = this.counters[DROPS_INBOUND + verdict]!;
      if (outbound > 0) drops[`outbound ${name}`] = outbound;
      if (inbound > 0) drops[`inbound ${name}`] = inbound;
    }
    return drops;
  }
}

function drain(read: () => Uint8Array | undefined): Uint8Array[] {
  const packets: Uint8Array[] = [];
  for (let packet = read(); packet !== undefined; packet = read()) packets.push(packet);
  return packets;
}

/** A packet from our pod to west, of `length` bytes in all. */
export function packet(fields: Partial<Ipv4> = {}, length = 100): Uint8Array {
  const payload = Uint8Array.from({ length: length - 20 }, (_, i) => i * 7);
  return buildIpv4({
    ...{ source: POD, destination: WEST_POD, ttl: 63, tos: 0, id: 4711, dontFragment: true, payload },
    ...fields,
  });
}

/** A packet from a pod in west to ours, in the outer packet of west's first gateway. */
export function tunnelled(inner: Partial<Ipv4> = {}, outer: Partial<Ipv4> = {}): Uint8Array {
  const payload = packet({ source: WEST_POD, destination: POD, ...inner });
  return buildIpv4({ protocol: 4, source: WEST_1, destination: OURS, dontFragment: true, payload, ...outer });
}
