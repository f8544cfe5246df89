import { packetVector } from './packet-vector.ts';

const LINUX = 'Linux 6.18, read from a TUN device in an otherwise empty network namespace';

/** What connect() sends: MSS 1460, SACK, timestamps and window scale, the options in the order that most hosts use. */
export const LINUX_SYN = packetVector(
  LINUX,
  `
  4500 003c 1ef8 4000           # total length 60, DF
  4006 07c0 0a01 0001 0a01 0002 # TTL 64, TCP, 10.1.0.1 > 10.1.0.2
  ea9a 01bb 2579 93fb 0000 0000 # port 60058 > 443, sequence number
  a002 faf0 200c 0000           # data offset 10, SYN, window, checksum
  0204 05b4                     # MSS 1460
  0402                          # SACK permitted
  080a ebfa 8736 0000 0000      # timestamps
  01                            # NOP
  0303 0a                       # window scale 10
`,
);

/** The answer of a listening socket to a SYN that offered nothing but an MSS: so does the answer. */
export const LINUX_SYN_ACK = packetVector(
  LINUX,
  `
  4500 002c 0000 4000 4006 26c8 0a01 0001 0a01 0002 # total length 44, TTL 64, TCP, 10.1.0.1 > 10.1.0.2
  0050 9c40 e147 52ff 0000 0002                     # port 80 > 40000, sequence and acknowledgement number
  6012 faf0 b847 0000                               # data offset 6, SYN ACK, window, checksum
  0204 05b4                                         # MSS 1460
`,
);
