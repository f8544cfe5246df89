import { checksumOf, onesSum, put16, put32, sealHeader } from '../../sim/oracle/wire.ts';

/** TCP and UDP packets of flows over IPv4 and IPv6, made slowly from the RFCs. Every field that merging looks at can be set. */
export interface FlowPacket {
  readonly version: 4 | 6;
  readonly protocol: 6 | 17;
  /** Last byte of the source address: another flow between other hosts. */
  readonly host: number;
  /** The other bytes of an IPv4 source. */
  readonly network: readonly number[];
  /** IPv4. */
  readonly destination: readonly number[];
  readonly port: number;
  readonly payload: Uint8Array;
  readonly tos: number;
  readonly ttl: number;
  readonly id: number;
  readonly dontFragment: boolean;
  readonly moreFragments: boolean;
  readonly offsetUnits: number;
  /** Whole words. */
  readonly ipOptions: Uint8Array;
  readonly flowLabel: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
  /** The four bits between data offset and flags. */
  readonly reserved: number;
  readonly window: number;
  readonly urgent: number;
  readonly tcpOptions: Uint8Array;
}

export const FLAG = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16, URG: 32, ECE: 64, CWR: 128 } as const;

const NOTHING = new Uint8Array(0);

const USUAL: FlowPacket = {
  ...{
    version: 4,
    protocol: 6,
    host: 2,
    network: [10, 2, 0],
    destination: [10, 1, 0, 5],
    port: 40_000,
    payload: NOTHING,
    tos: 0,
    ttl: 63,
    id: 0xfffe,
  },
  ...{ dontFragment: true, moreFragments: false, offsetUnits: 0, ipOptions: NOTHING, flowLabel: 0x12345 },
  ...{ sequence: 0xffff_fc00, acknowledgement: 0x0102_0304, flags: FLAG.ACK, reserved: 0, window: 501 },
  ...{ urgent: 0, tcpOptions: NOTHING },
};

/** With right checksums. */
export function flowPacket(fields: Partial<FlowPacket> = {}): Uint8Array {
  const packet = { ...USUAL, ...fields };
  const transport = packet.protocol === 6 ? tcp(packet) : udp(packet);
  const bytes = packet.version === 4 ? ipv4(packet, transport) : ipv6(packet, transport);
  return sealTransport(bytes);
}

function tcp(packet: FlowPacket): Uint8Array {
  const header = 20 + packet.tcpOptions.length;
  const bytes = new Uint8Array(header + packet.payload.length);
  put16(bytes, 0, packet.port);
  put16(bytes, 2, 5001);
  put32(bytes, 4, packet.sequence % 0x1_0000_0000);
  put32(bytes, 8, packet.acknowledgement);
  bytes[12] = header * 4 + packet.reserved;
  bytes[13] = packet.flags;
  put16(bytes, 14, packet.window);
  put16(bytes, 18, packet.urgent);
  bytes.set(packet.tcpOptions, 20);
  bytes.set(packet.payload, header);
  return bytes;
}

function udp(packet: FlowPacket): Uint8Array {
  const bytes = new Uint8Array(8 + packet.payload.length);
  put16(bytes, 0, packet.port);
  put16(bytes, 2, 5001);
  put16(bytes, 4, bytes.length);
  bytes.set(packet.payload, 8);
  return bytes;
}

function ipv4(packet: FlowPacket, transport: Uint8Array): Uint8Array {
  const header = 20 + packet.ipOptions.length;
  const bytes = new Uint8Array(header + transport.length);
  bytes[0] = 0x40 + header / 4;
  bytes[1] = packet.tos;
  put16(bytes, 2, bytes.length);
  put16(bytes, 4, packet.id % 0x1_0000);
  put16(
    bytes,
    6,
    (packet.dontFragment ? 0x4000 : 0) + (packet.moreFragments ? 0x2000 : 0) + packet.offsetUnits,
  );
  bytes[8] = packet.ttl;
  bytes[9] = packet.protocol;
  bytes.set([...packet.network, packet.host, ...packet.destination], 12);
  bytes.set(packet.ipOptions, 20);
  bytes.set(transport, header);
  sealHeader(bytes);
  return bytes;
}

function ipv6(packet: FlowPacket, transport: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(40 + transport.length);
  put32(bytes, 0, 0x6000_0000 + packet.tos * 0x10_0000 + packet.flowLabel);
  put16(bytes, 4, transport.length);
  bytes[6] = packet.protocol;
  bytes[7] = packet.ttl;
  bytes.set([0xfd, 2], 8);
  bytes[23] = packet.host;
  bytes.set([0xfd, 1], 24);
  bytes[39] = 5;
  bytes.set(transport, 40);
  return bytes;
}

export function transportAt(packet: Uint8Array): number {
  return packet[0]! >= 0x60 ? 40 : (packet[0]! % 16) * 4;
}

export function protocolOf(packet: Uint8Array): number {
  return packet[packet[0]! >= 0x60 ? 6 : 9]!;
}

export function checkAt(packet: Uint8Array): number {
  return transportAt(packet) + (protocolOf(packet) === 6 ? 16 : 6);
}

function pseudoHeader(packet: Uint8Array): number[] {
  const addresses = packet[0]! >= 0x60 ? packet.subarray(8, 40) : packet.subarray(12, 20);
  const length = packet.length - transportAt(packet);
  return [...addresses, 0, protocolOf(packet), Math.floor(length / 256), length % 256];
}

/** Writes the transport checksum anew. RFC 768: a UDP checksum of 0 goes as 0xffff. */
export function sealTransport(packet: Uint8Array): Uint8Array {
  put16(packet, checkAt(packet), 0);
  const whole = Uint8Array.from([...pseudoHeader(packet), ...packet.subarray(transportAt(packet))]);
  const check = checksumOf(whole);
  put16(packet, checkAt(packet), protocolOf(packet) === 17 && check === 0 ? 0xffff : check);
  return packet;
}

/** What CHECKSUM_PARTIAL leaves in the checksum field. */
export function pseudoSumOf(packet: Uint8Array): number {
  return onesSum(Uint8Array.from(pseudoHeader(packet)));
}

/** A copy that has only the pseudo-header's sum for a checksum. */
export function leftPartial(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  put16(copy, checkAt(copy), pseudoSumOf(copy));
  return copy;
}

/** A copy with one bit of its last byte turned over. */
export function damaged(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  copy[copy.length - 1]! ^= 1;
  return copy;
}

/** A sender: each packet goes on where the one before it ended. */
export class Flow {
  readonly #base: Partial<FlowPacket>;
  #sequence: number;
  #id: number;
  #count = 0;

  constructor(base: Partial<FlowPacket> = {}) {
    this.#base = base;
    this.#sequence = base.sequence ?? 0xffff_fc00;
    this.#id = base.id ?? 0xfffe;
  }

  /** `change` is of this packet alone. */
  next(payloadBytes = 1400, change: Partial<FlowPacket> = {}): Uint8Array {
    const number = this.#count++;
    const payload = new Uint8Array(payloadBytes).map((_, i) => (i * 31 + number * 7 + this.#sequence) % 256);
    const place = { id: this.#id++, sequence: this.#sequence, payload };
    this.#sequence = (this.#sequence + payloadBytes) % 0x1_0000_0000;
    return flowPacket({ ...this.#base, ...place, ...change });
  }
}
