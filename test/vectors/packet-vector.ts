/** A packet with its story: `source` says where it is from, so that a reader can check it. */
export interface PacketVector {
  readonly source: string;
  readonly bytes: Uint8Array;
}

/** Reads hex digits in any grouping; `#` begins a comment that ends with the line. Throws on anything else. */
export function bytesOfHex(text: string): Uint8Array {
  const digits = text.replace(/#.*$/gm, '').replace(/\s+/g, '');
  if (!/^([0-9a-f]{2})*$/i.test(digits)) throw new Error(`not whole bytes of hex: "${digits.slice(0, 40)}…"`);
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

export function packetVector(source: string, hex: string): PacketVector {
  return { source, bytes: bytesOfHex(hex) };
}
