import { VERDICT } from '../../../src/packet/verdict.ts';
import { get16, headerLength, onesSum, put16 } from './wire.ts';

const TCP = 6;
const UDP = 17;
const UNCUT_FLAGS = [2, 4, 32];

export interface Merged {
  readonly verdict: number;
  /** FORWARD only. */
  readonly packet?: Uint8Array;
}

/**
 * What the device gets of a packet whose transport checksum is left to the kernel: one larger than its MTU that it is to segment, and one
 * that came with the pseudo-header's sum. `received` is the packet as it came, `packet` the same with its segment size clamped.
 */
export function predictMerged(
  received: Uint8Array,
  packet: Uint8Array,
  deviceMtuBytes: number,
  linkMtuBytes: number,
): Merged {
  const forward = { verdict: VERDICT.FORWARD, packet };
  const header = headerLength(received);
  const transport = received.subarray(header);
  const isTcp = received[9] === TCP;
  const isWhole = get16(received, 6) % 0x4000 === 0;
  if (!isWhole || transport.length < (isTcp ? 20 : 8) || (!isTcp && received[9] !== UDP)) return forward;

  const checkAt = header + (isTcp ? 16 : 6);
  const pseudo = [...received.subarray(12, 20), 0, received[9] as number, 0, 0];
  put16Of(pseudo, 10, transport.length);
  const isRight = onesSum(Uint8Array.from([...pseudo, ...transport])) === 0xffff;
  const left = onesSum(Uint8Array.from(pseudo));
  const isLeft = !isRight && get16(received, checkAt) === left;
  const isCut = isTcp && received.length > deviceMtuBytes && canBeCut(transport, deviceMtuBytes - header);
  if (!isTcp && isLeft && received.length + 20 > linkMtuBytes) return { verdict: VERDICT.MERGED_DATAGRAMS };
  if (isCut && !isRight && !isLeft) return { verdict: VERDICT.INNER_CHECKSUM };
  if (!isCut && !isLeft) return forward;
  const marked = packet.slice();
  put16(marked, checkAt, left);
  return { verdict: VERDICT.FORWARD, packet: marked };
}

function put16Of(numbers: number[], at: number, value: number): void {
  numbers[at] = Math.floor(value / 256);
  numbers[at + 1] = value % 256;
}

function canBeCut(tcp: Uint8Array, room: number): boolean {
  const header = Math.floor((tcp[12] as number) / 16) * 4;
  const flags = tcp[13] as number;
  const isPlain = UNCUT_FLAGS.every((bit) => Math.floor(flags / bit) % 2 === 0);
  return isPlain && header >= 20 && header < tcp.length && header < room;
}
