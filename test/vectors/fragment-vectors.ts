import { bytesOfHex } from './packet-vector.ts';

/**
 * One packet and the headers of the fragments that Linux 6.18 made of it when it forwarded it to a link of `mtu` bytes, with the length
 * of each. The kernel decremented the TTL to 63 on the way, so `header` carries 63 and a checksum to match. Payload byte i of the
 * packet is a UDP header (port 53000 > 9) up to 7, then (7 * (i - 8) + 3) mod 256.
 */
export interface FragmentVector {
  readonly source: string;
  readonly mtu: number;
  readonly header: Uint8Array;
  readonly payloadBytes: number;
  readonly fragments: readonly { readonly header: Uint8Array; readonly totalBytes: number }[];
}

const LINUX = 'Linux 6.18, forwarded between two TUN devices in an otherwise empty network namespace';

/** A UDP datagram of 1,300 bytes cut for 576: two full fragments of 552 and a rest. */
export const LINUX_FRAGMENTS: FragmentVector = {
  source: LINUX,
  mtu: 576,
  header: bytesOfHex('4500 0528 1234 0000 3f11 5084 0a01 0002 0a09 0002'),
  payloadBytes: 1300,
  fragments: [
    { totalBytes: 572, header: bytesOfHex('4500 023c 1234 2000 3f11 3370 0a01 0002 0a09 0002') },
    { totalBytes: 572, header: bytesOfHex('4500 023c 1234 2045 3f11 332b 0a01 0002 0a09 0002') },
    { totalBytes: 216, header: bytesOfHex('4500 00d8 1234 008a 3f11 544a 0a01 0002 0a09 0002') },
  ],
};

/** A middle fragment (offset 1480, MF set) cut again: the last piece keeps MF. */
export const LINUX_FRAGMENTS_OF_FRAGMENT: FragmentVector = {
  source: LINUX,
  mtu: 576,
  header: bytesOfHex('4500 0524 1234 20b9 3f11 2fcf 0a01 0002 0a09 0002'),
  payloadBytes: 1296,
  fragments: [
    { totalBytes: 572, header: bytesOfHex('4500 023c 1234 20b9 3f11 32b7 0a01 0002 0a09 0002') },
    { totalBytes: 572, header: bytesOfHex('4500 023c 1234 20fe 3f11 3272 0a01 0002 0a09 0002') },
    { totalBytes: 212, header: bytesOfHex('4500 00d4 1234 2143 3f11 3395 0a01 0002 0a09 0002') },
  ],
};
