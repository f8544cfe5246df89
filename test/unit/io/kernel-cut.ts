import assert from 'node:assert/strict';
import { get16, get32, put16, put32, sealHeader } from '../../sim/oracle/wire.ts';
import { checkAt, FLAG, protocolOf, pseudoSumOf, sealTransport, transportAt } from './flow-packets.ts';

/** struct virtio_net_hdr, field by field. */
export interface Vnet {
  readonly flags: number;
  readonly gsoType: number;
  readonly headerLength: number;
  readonly gsoSize: number;
  readonly checksumStart: number;
  readonly checksumOffset: number;
}

export const NO_WORK: Vnet = {
  ...{ flags: 0, gsoType: 0, headerLength: 0, gsoSize: 0, checksumStart: 0, checksumOffset: 0 },
};

export const GSO = { TCP4: 1, TCP6: 4, UDP: 5, ECN: 0x80 } as const;

/**
 * What the kernel makes of a packet that was written to a TUN device: it completes the checksum where it is told to (skb_checksum_help),
 * and cuts as tcp_gso_segment, __udp_gso_segment and inet_gso_segment of Linux do. Slowly, byte by byte, and it insists on what those
 * functions need to find.
 */
export function cutByKernel(vnet: Vnet, packet: Uint8Array): Uint8Array[] {
  if (vnet.flags === 0) {
    assert.deepEqual(vnet, NO_WORK);
    return [packet];
  }
  assert.equal(vnet.flags, 1);
  assert.equal(vnet.checksumStart, transportAt(packet));
  assert.equal(vnet.checksumStart + vnet.checksumOffset, checkAt(packet));
  assert.equal(
    get16(packet, checkAt(packet)),
    pseudoSumOf(packet),
    'the kernel starts from the pseudo-header sum',
  );
  if (vnet.gsoType === 0) {
    assert.deepEqual([vnet.headerLength, vnet.gsoSize], [0, 0]);
    return [sealTransport(packet.slice())];
  }
  const isTcp = protocolOf(packet) === 6;
  const hasCwr = isTcp && (packet[transportAt(packet) + 13]! & FLAG.CWR) !== 0;
  const kind = isTcp ? (packet[0]! >= 0x60 ? GSO.TCP6 : GSO.TCP4) : GSO.UDP;
  assert.equal(vnet.gsoType, kind + (hasCwr ? GSO.ECN : 0));
  const headers = transportAt(packet) + (isTcp ? Math.floor(packet[transportAt(packet) + 12]! / 16) * 4 : 8);
  assert.equal(vnet.headerLength, headers);
  assert.ok(vnet.gsoSize > 0);
  assert.ok(packet.length > headers + vnet.gsoSize, 'there is something to cut');
  return payloadsOf(packet.subarray(headers), vnet.gsoSize).map((payload, index, all) =>
    segment(packet, headers, payload, { index, isLast: index === all.length - 1, size: vnet.gsoSize }),
  );
}

function payloadsOf(payload: Uint8Array, size: number): Uint8Array[] {
  const count = Math.ceil(payload.length / size);
  return Array.from({ length: count }, (_, index) => payload.subarray(index * size, (index + 1) * size));
}

interface Place {
  readonly index: number;
  readonly isLast: boolean;
  readonly size: number;
}

function segment(packet: Uint8Array, headers: number, payload: Uint8Array, place: Place): Uint8Array {
  const bytes = Uint8Array.from([...packet.subarray(0, headers), ...payload]);
  const transport = transportAt(packet);
  if (packet[0]! >= 0x60) put16(bytes, 4, bytes.length - 40);
  else {
    put16(bytes, 2, bytes.length);
    put16(bytes, 4, (get16(packet, 4) + place.index) % 0x1_0000);
    sealHeader(bytes);
  }
  if (protocolOf(packet) === 6) {
    put32(bytes, transport + 4, (get32(packet, transport + 4) + place.index * place.size) % 0x1_0000_0000);
    if (!place.isLast) bytes[transport + 13]! &= ~(FLAG.FIN | FLAG.PSH);
    if (place.index > 0) bytes[transport + 13]! &= ~FLAG.CWR;
  } else put16(bytes, transport + 4, bytes.length - transport);
  return sealTransport(bytes);
}
