import { LOAD } from '../../io/native.ts';

/**
 * Sizes are bytes of the whole inner IPv4 packet. 1480 is what fits an Ethernet of 1,500 behind an outer header of 20. `imix` is the
 * simple IMIX of the router makers, seven small packets to four of 576 to one large: 64 and 1,480 here instead of their 40 and 1,500,
 * which no UDP packet with our head and no tunnel could carry. 353 bytes on average.
 */
export const SIZES = ['64', '128', '256', '512', '1024', '1480', 'imix'] as const;
export const IMIX: readonly number[] = [64, 576, 64, 64, 576, 64, 1480, 64, 576, 64, 64, 576];

const UDP_HEADERS_BYTES = 28;
const TCP_HEADERS_BYTES = 40;
/** The kernel takes no smaller MSS. */
const MSS_MIN = 88;
export const SIZE_MIN = UDP_HEADERS_BYTES + LOAD.HEAD_BYTES;
export const SIZE_MAX = UDP_HEADERS_BYTES + LOAD.PAYLOAD_BYTES_MAX;

/** Whether it is `imix` or a whole number of bytes that a packet of the generator can have. */
export function isSize(text: string): boolean {
  if (text === 'imix') return true;
  return /^\d+$/.test(text) && Number(text) >= SIZE_MIN && Number(text) <= SIZE_MAX;
}

/** UDP payload of the packets of a size, to be sent in turn. */
export function payloadsOf(size: string): number[] {
  const packets = size === 'imix' ? IMIX : [Number(size)];
  return packets.map((bytes) => bytes - UDP_HEADERS_BYTES);
}

/** The MSS that makes packets of that size; undefined where no TCP does: a mix, or too small. */
export function mssOf(size: string): number | undefined {
  const mss = Number(size) - TCP_HEADERS_BYTES;
  return mss >= MSS_MIN ? mss : undefined;
}
