import { packetVector } from './packet-vector.ts';

const LINUX = 'Linux 6.18, read from a TUN device in an otherwise empty network namespace';

/** A UDP datagram to a closed port: the error quotes the whole of it, 32 bytes. */
export const LINUX_PORT_UNREACHABLE = packetVector(
  LINUX,
  `
  45c0 003c 0e4e 0000 4001 57af 0a01 0001 0a01 0002 # TOS c0: precedence 6; ICMP, 10.1.0.1 > 10.1.0.2
  0303 4f0e 0000 0000                               # type 3 code 3
  4500 0020 0001 0000 4011 66c8 0a01 0002 0a01 0001 # quoted: UDP, 10.1.0.2 > 10.1.0.1
  cf08 0009 000c 0000 7069 6e67                     # port 53000 > 9, "ping"
`,
);

/** An IPIP packet whose outer TTL ran out on the underlay. Linux quotes enough to find the sender inside. */
export const LINUX_IPIP_TIME_EXCEEDED = packetVector(
  LINUX,
  `
  45c0 0050 0f2f 0000 4001 56ba 0a01 0001 0a01 0002 # ICMP, 10.1.0.1 > 10.1.0.2
  0b00 4711 0000 0000                               # type 11 code 0
  4500 0034 0009 4000 0104 656d 0a01 0002 0a01 004d # quoted outer: IPIP, DF, TTL 1, 10.1.0.2 > 10.1.0.77
  4500 0020 0007 0000 3f11 67b8 0a01 0005 0a02 0007 # quoted inner: UDP, TTL 63, 10.1.0.5 > 10.2.0.7
  cf08 0009 000c 0000 7069 6e67                     # port 53000 > 9, "ping"
`,
);

/** The same tunnel over a link of 1400 bytes with an outer packet of 1448: 576 bytes in all, as RFC 1812 allows. */
export const LINUX_IPIP_FRAGMENTATION_NEEDED = packetVector(
  LINUX,
  `
  45c0 0240 0f36 0000 4001 54c3 0a01 0001 0a01 0002 # total length 576, ICMP, 10.1.0.1 > 10.1.0.2
  0304 7e54 0000 0578                               # type 3 code 4, next-hop MTU 1400
  4500 05a8 0009 4000 4004 213c 0a01 0002 0a09 0002 # quoted outer: total length 1448, IPIP, DF, TTL 64
  4500 0594 0007 0000 3f11 6244 0a01 0005 0a02 0007 # quoted inner: UDP, 10.1.0.5 > 10.2.0.7
  cf08 0009 0580 0000                               # port 53000 > 9
  0001 0203 0405 0607 0809 0a0b 0c0d 0e0f 1011 1213 1415 1617 1819 1a1b 1c1d 1e1f
  2021 2223 2425 2627 2829 2a2b 2c2d 2e2f 3031 3233 3435 3637 3839 3a3b 3c3d 3e3f
  4041 4243 4445 4647 4849 4a4b 4c4d 4e4f 5051 5253 5455 5657 5859 5a5b 5c5d 5e5f
  6061 6263 6465 6667 6869 6a6b 6c6d 6e6f 7071 7273 7475 7677 7879 7a7b 7c7d 7e7f
  8081 8283 8485 8687 8889 8a8b 8c8d 8e8f 9091 9293 9495 9697 9899 9a9b 9c9d 9e9f
  a0a1 a2a3 a4a5 a6a7 a8a9 aaab acad aeaf b0b1 b2b3 b4b5 b6b7 b8b9 babb bcbd bebf
  c0c1 c2c3 c4c5 c6c7 c8c9 cacb cccd cecf d0d1 d2d3 d4d5 d6d7 d8d9 dadb dcdd dedf
  e0e1 e2e3 e4e5 e6e7 e8e9 eaeb eced eeef f0f1 f2f3 f4f5 f6f7 f8f9 fafb fcfd feff
  0001 0203 0405 0607 0809 0a0b 0c0d 0e0f 1011 1213 1415 1617 1819 1a1b 1c1d 1e1f
  2021 2223 2425 2627 2829 2a2b 2c2d 2e2f 3031 3233 3435 3637 3839 3a3b 3c3d 3e3f
  4041 4243 4445 4647 4849 4a4b 4c4d 4e4f 5051 5253 5455 5657 5859 5a5b 5c5d 5e5f
  6061 6263 6465 6667 6869 6a6b 6c6d 6e6f 7071 7273 7475 7677 7879 7a7b 7c7d 7e7f
  8081 8283 8485 8687 8889 8a8b 8c8d 8e8f 9091 9293 9495 9697 9899 9a9b 9c9d 9e9f
  a0a1 a2a3 a4a5 a6a7 a8a9 aaab acad aeaf b0b1 b2b3 b4b5 b6b7 b8b9 babb bcbd bebf
  c0c1 c2c3 c4c5 c6c7 c8c9 cacb cccd cecf d0d1 d2d3 d4d5 d6d7 d8d9 dadb dcdd dedf
  e0e1 e2e3 e4e5 e6e7 e8e9 eaeb eced eeef f0f1 f2f3
`,
);
