import { packetVector } from './packet-vector.ts';

/** The worked example of the memo that defines the checksum: eight bytes whose unfolded sum is 0x2ddf0, folded 0xddf2. */
export const RFC_1071_EXAMPLE = packetVector('RFC 1071 §3, "Numerical Examples"', '0001 f203 f4f5 f6f7');

/**
 * The example on which the equation of RFC 1141 fails: a word goes from 0x5555 to 0x3285 under the checksum 0xdd2f. Right is 0x0000,
 * the older equation gives 0xffff.
 */
export const RFC_1624_EXAMPLE = {
  source: 'RFC 1624 §4, "Examples"',
  check: 0xdd2f,
  oldWord: 0x5555,
  newWord: 0x3285,
  expected: 0x0000,
} as const;

/** The header that most people have checked their first implementation against. */
export const WIKIPEDIA_HEADER = packetVector(
  'Wikipedia, "Internet checksum", worked example',
  `
  4500 0073 0000 4000 # IHL 5, total length 115, DF
  4011 b861           # TTL 64, UDP, checksum b861
  c0a8 0001 c0a8 00c7 # 192.168.0.1 > 192.168.0.199
`,
);

/** The other widely copied example, a TCP packet between two hosts in 172.16/12. */
export const TEXTBOOK_HEADER = packetVector(
  'the IP header checksum example that tutorials have copied from each other since the 2000s',
  `
  4500 003c 1c46 4000 # IHL 5, total length 60, DF
  4006 b1e6           # TTL 64, TCP, checksum b1e6
  ac10 0a63 ac10 0a0c # 172.16.10.99 > 172.16.10.12
`,
);
