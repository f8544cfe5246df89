import type { Prng } from '../../src/base/prng.ts';
import type { LinkFault, MemoryEnd } from '../../src/io/memory.ts';
import { buildIpv4, checksumOf, get16, get32, parseIpv4, put16, sealHeader } from './oracle/wire.ts';
import { Reassembly } from './reassembly.ts';

/** What the network does to packets, as shares from 0 to 1. */
export interface Weather {
  loss: number;
  duplication: number;
  /** Delayed by 1 to `DELAY_STEPS_MAX` steps, so that others overtake. */
  reordering: number;
  corruption: number;
  /** Marked as having met congestion, whether the packet admits marks or not: some routers do not ask. */
  congestion: number;
}

export const FAIR: Weather = { loss: 0, duplication: 0, reordering: 0, corruption: 0, congestion: 0 };

const DELAY_STEPS_MAX = 12;

/** Fragments whose datagram stays incomplete are given up, as by a kernel after 30 s. */
const REASSEMBLY_STEPS_MAX = 40;

const ROUTER = 0xac1f_00fe;
/** An outer and an inner header with options, and ports. */
const QUOTE_BYTES = 68;

interface Delayed {
  readonly dueStep: number;
  readonly deliver: () => void;
}

/** One gateway's access to the network: the fault of its link, in both directions. */
export class AccessLink implements LinkFault {
  weather: Weather = FAIR;
  /** Packets that came in, and what became of them: in = out + lost - duplicated + delayed.length. */
  offered = 0;
  passed = 0;
  lost = 0;
  duplicated = 0;
  readonly #prng: Prng;
  readonly #delayed: Delayed[] = [];
  #step = 0;

  constructor(prng: Prng) {
    this.#prng = prng;
  }

  pass(packet: Uint8Array, address: number, deliver: (packet: Uint8Array, address: number) => void): void {
    const { weather } = this;
    this.offered += 1;
    if (this.#prng.chance(weather.loss)) {
      this.lost += 1;
      return;
    }
    const copies = this.#prng.chance(weather.duplication) ? 2 : 1;
    this.duplicated += copies - 1;
    for (let copy = 0; copy < copies; copy++) {
      const bytes = this.#worn(packet.slice());
      const pass = (): void => {
        this.passed += 1;
        deliver(bytes, address);
      };
      if (!this.#prng.chance(weather.reordering)) pass();
      else this.#delayed.push({ dueStep: this.#step + 1 + this.#prng.below(DELAY_STEPS_MAX), deliver: pass });
    }
  }

  get delayed(): number {
    return this.#delayed.length;
  }

  /** Lets the packets go whose delay is over. */
  step(): void {
    this.#step += 1;
    const due = this.#delayed.filter(({ dueStep }) => dueStep <= this.#step);
    const rest = this.#delayed.filter(({ dueStep }) => dueStep > this.#step);
    this.#delayed.splice(0, this.#delayed.length, ...rest);
    for (const { deliver } of due) deliver();
  }

  #worn(bytes: Uint8Array): Uint8Array {
    const { weather } = this;
    if (this.#prng.chance(weather.congestion)) {
      bytes[1] = (bytes[1] as number) | 3;
      sealHeader(bytes);
    }
    if (this.#prng.chance(weather.corruption)) {
      for (let flips = 1 + this.#prng.below(3); flips > 0; flips--) {
        const at = this.#prng.below(bytes.length);
        bytes[at] = (bytes[at] as number) ^ (1 << this.#prng.below(8));
      }
    }
    return bytes;
  }
}

export interface Host {
  readonly address: number;
  /** The network's end of the gateway's access link. */
  readonly end: MemoryEnd;
  /** Hands an ICMP packet from the network to the gateway. */
  readonly icmp: (packet: Uint8Array) => void;
}

/**
 * The network between the gateways: routes by destination, decrements the TTL, knows path MTUs, and puts fragments together at their
 * destination as the kernel does there. Addresses without a gateway are phantoms, whose packets are only counted.
 */
export class Underlay {
  /** By destination: the smallest MTU on the way there. */
  readonly pathMtu = new Map<number, number>();
  readonly #hosts = new Map<number, Host>();
  readonly #reassembly = new Reassembly(REASSEMBLY_STEPS_MAX);
  readonly #carried: Uint8Array[] = [];
  /** Packets that a gateway was handed. */
  readonly handed = new Map<number, number>();
  phantom = 0;
  expired = 0;
  tooBig = 0;

  attach(host: Host): void {
    this.#hosts.set(host.address, host);
    this.handed.set(host.address, 0);
  }

  /** Takes what a gateway has sent off its link. Call often: the link holds a bounded number. */
  collect(address: number): void {
    const end = this.#hosts.get(address)?.end;
    for (let packet = end?.read(); packet !== undefined; packet = end?.read()) this.#carried.push(packet);
  }

  /** Carries what the gateways have sent. */
  step(): void {
    this.#reassembly.step();
    for (const address of this.#hosts.keys()) this.collect(address);
    for (const packet of this.#carried.splice(0)) this.#route(packet);
  }

  /** Puts a packet before a gateway's socket, whatever it looks like: how an attacker on the way, or a broken kernel, is played. */
  inject(address: number, packet: Uint8Array): void {
    const host = this.#hosts.get(address);
    // What a full queue drops never was before the socket.
    if (host?.end.write(packet) === true) this.handed.set(address, (this.handed.get(address) as number) + 1);
  }

  #route(packet: Uint8Array): void {
    // A header that lost its meaning on the way still ends up somewhere: here, where its address says.
    const destination = packet.length >= 20 ? get32(packet, 16) : 0;
    const host = this.#hosts.get(destination);
    if (host === undefined) {
      this.phantom += 1;
      return;
    }
    const mtu = this.pathMtu.get(destination) ?? 65_535;
    if (packet.length > mtu && get16(packet, 6) >= 0x4000) {
      this.tooBig += 1;
      this.#tooBigFor(packet, mtu);
      return;
    }
    const hopped = this.#hop(packet);
    if (hopped === undefined) {
      this.expired += 1;
      return;
    }
    if (get16(hopped, 6) % 0x4000 === 0) this.inject(destination, hopped);
    else {
      const whole = this.#reassembly.add(hopped);
      if (whole !== undefined) this.inject(destination, whole);
    }
  }

  /** One router's work on the header. What it finds broken it passes on as it is, so that the gateways meet it. */
  #hop(packet: Uint8Array): Uint8Array | undefined {
    if ((packet[8] as number) <= 1) return undefined;
    const sum = get16(packet, 10) + 256;
    packet[8] = (packet[8] as number) - 1;
    const folded = sum > 0xffff ? sum - 0xffff : sum;
    packet[10] = Math.floor(folded / 256);
    packet[11] = folded % 256;
    return packet;
  }

  #tooBigFor(packet: Uint8Array, mtu: number): void {
    const sender = this.#hosts.get(parseIpv4(packet).source);
    sender?.icmp(fragmentationNeeded(ROUTER, sender.address, mtu, packet.subarray(0, QUOTE_BYTES)));
  }
}

/** What a router sends about a packet that does not fit the next link: RFC 1191 §4. */
export function fragmentationNeeded(
  router: number,
  destination: number,
  nextHopMtu: number,
  quote: Uint8Array,
): Uint8Array {
  const message = Uint8Array.from([3, 4, 0, 0, 0, 0, 0, 0, ...quote]);
  put16(message, 6, nextHopMtu);
  put16(message, 2, checksumOf(message));
  return buildIpv4({ source: router, destination, protocol: 1, payload: message });
}
