import { assert } from '../base/assert.ts';
import { IoError } from '../base/errors.ts';

/**
 * Netlink messages as bytes (RFC 3549, linux/netlink.h). Numbers are in host order, addresses in network order; messages and attributes
 * begin at multiples of four.
 *
 *   nlmsghdr                                                  attribute
 *   | length u32 | type u16 | flags u16 | sequence u32 | port u32 |  fixed part  | length u16 | type u16 | value | pad | ...
 *   |<---------------------- 16 bytes --------------------------->|              |<---- 4 bytes ------->|
 */
export const MESSAGE_HEADER_BYTES = 16;
export const ATTRIBUTE_HEADER_BYTES = 4;

/** More than the largest request that we build: a route with 256 ways of 16 bytes each, and 128 bytes for all else. */
export const REQUEST_BYTES_MAX = 8192;

export const NLMSG = { ERROR: 2, DONE: 3 } as const;

export const NLM_F = {
  REQUEST: 1,
  ACK: 4,
  DUMP_INTERRUPTED: 0x10,
  DUMP: 0x300,
  REPLACE: 0x100,
  EXCLUSIVE: 0x200,
  CREATE: 0x400,
  /** On an error message: the request is not repeated in it; attributes follow. */
  CAPPED: 0x100,
  ACK_ATTRIBUTES: 0x200,
} as const;

/** NLA_F_NESTED and NLA_F_NET_BYTEORDER are flags in the attribute type. */
const ATTRIBUTE_TYPE_MASK = 0x3fff;
const NESTED = 0x8000;

const IS_LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

function align(length: number): number {
  return (length + 3) & ~3;
}

/** Builds one or many messages in one buffer that is used again and again. */
export class MessageWriter {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  #start = 0;
  #end = 0;

  constructor(capacityBytes: number) {
    this.bytes = new Uint8Array(capacityBytes);
    this.#view = new DataView(this.bytes.buffer);
  }

  /** Bytes written so far: what to send. */
  get length(): number {
    return this.#end;
  }

  clear(): void {
    this.#end = 0;
  }

  /** Begins a message with a zeroed fixed part and returns the fixed part's offset. */
  begin(type: number, flags: number, sequence: number, fixedBytes: number): number {
    this.#start = this.#end;
    const fixed = this.#grow(MESSAGE_HEADER_BYTES + align(fixedBytes)) + MESSAGE_HEADER_BYTES;
    this.u16(this.#start + 4, type);
    this.u16(this.#start + 6, flags);
    this.u32(this.#start + 8, sequence);
    return fixed;
  }

  /** Ends the message: writes its length. */
  end(): void {
    this.u32(this.#start, this.#end - this.#start);
  }

  u8(at: number, value: number): void {
    this.#view.setUint8(at, value);
  }

  u16(at: number, value: number): void {
    this.#view.setUint16(at, value, IS_LITTLE_ENDIAN);
  }

  u32(at: number, value: number): void {
    this.#view.setUint32(at, value, IS_LITTLE_ENDIAN);
  }

  attributeU32(type: number, value: number): void {
    this.u32(this.#attribute(type, 4), value);
  }

  attributeAddress(type: number, address: number): void {
    this.#view.setUint32(this.#attribute(type, 4), address);
  }

  /** As attributeAddress, of IPv6: sixteen bytes. */
  attributeAddress6(type: number, address: bigint): void {
    const at = this.#attribute(type, 16);
    this.#view.setBigUint64(at, address >> 64n);
    this.#view.setBigUint64(at + 8, BigInt.asUintN(64, address));
  }

  /** NUL-terminated. */
  attributeText(type: number, text: string): void {
    const encoded = Buffer.from(text, 'utf8');
    this.bytes.set(encoded, this.#attribute(type, encoded.length + 1));
  }

  /** Appends zeroed bytes that are no attribute, and returns their offset. */
  room(bytes: number): number {
    return this.#grow(align(bytes));
  }

  /** What is written until `closeNested` lies inside this attribute. */
  openNested(type: number): number {
    return this.#attribute(type | NESTED, 0) - ATTRIBUTE_HEADER_BYTES;
  }

  closeNested(at: number): void {
    this.u16(at, this.#end - at);
  }

  /** Returns the value's offset. */
  #attribute(type: number, valueBytes: number): number {
    const at = this.#grow(align(ATTRIBUTE_HEADER_BYTES + valueBytes));
    this.u16(at, ATTRIBUTE_HEADER_BYTES + valueBytes);
    this.u16(at + 2, type);
    return at + ATTRIBUTE_HEADER_BYTES;
  }

  #grow(bytes: number): number {
    const at = this.#end;
    assert(at + bytes <= this.bytes.length, 'a batch of netlink messages fits its buffer');
    this.bytes.fill(0, at, at + bytes);
    this.#end = at + bytes;
    return at;
  }
}

/** A received message: `at` and `end` bound what follows the header. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly reader: MessageReader;
  readonly at: number;
  readonly end: number;
}

/** Reads received bytes; every access is checked, and what does not fit is an IoError with errno EBADMSG. */
export class MessageReader {
  readonly #view: DataView;

  constructor(bytes: Uint8Array, length: number) {
    assert(length <= bytes.length, 'a received length lies inside its buffer');
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, length);
  }

  u8(at: number): number {
    return this.#view.getUint8(this.#inside(at, 1));
  }

  u16(at: number): number {
    return this.#view.getUint16(this.#inside(at, 2), IS_LITTLE_ENDIAN);
  }

  u32(at: number): number {
    return this.#view.getUint32(this.#inside(at, 4), IS_LITTLE_ENDIAN);
  }

  i32(at: number): number {
    return this.#view.getInt32(this.#inside(at, 4), IS_LITTLE_ENDIAN);
  }

  /** Network order. */
  address(at: number): number {
    return this.#view.getUint32(this.#inside(at, 4));
  }

  /** Network order, of IPv6. */
  address6(at: number): bigint {
    this.#inside(at, 16);
    return (this.#view.getBigUint64(at) << 64n) | this.#view.getBigUint64(at + 8);
  }

  /** Up to the first NUL. */
  text(at: number, length: number): string {
    this.#inside(at, length);
    const bytes = Buffer.from(this.#view.buffer, this.#view.byteOffset + at, length);
    const nul = bytes.indexOf(0);
    return bytes.toString('utf8', 0, nul < 0 ? length : nul);
  }

  *messages(): Generator<Message> {
    for (let at = 0; at < this.#view.byteLength; ) {
      const length = this.u32(at);
      if (length < MESSAGE_HEADER_BYTES) throw malformed(`a message of ${length} bytes`);
      this.#inside(at, length);
      yield {
        type: this.u16(at + 4),
        flags: this.u16(at + 6),
        sequence: this.u32(at + 8),
        reader: this,
        at: at + MESSAGE_HEADER_BYTES,
        end: at + length,
      };
      at += align(length);
    }
  }

  /** Calls `visit` for each attribute in [at, end) with its type, its value's offset and length. */
  attributes(at: number, end: number, visit: (type: number, at: number, length: number) => void): void {
    // Fewer than four bytes at the end are padding, as RTA_OK of linux/rtnetlink.h has it.
    for (let next = at; next + ATTRIBUTE_HEADER_BYTES <= end; ) {
      const length = this.u16(next);
      if (length < ATTRIBUTE_HEADER_BYTES || next + length > end)
        throw malformed(`an attribute of ${length} bytes`);
      visit(
        this.u16(next + 2) & ATTRIBUTE_TYPE_MASK,
        next + ATTRIBUTE_HEADER_BYTES,
        length - ATTRIBUTE_HEADER_BYTES,
      );
      next += align(length);
    }
  }

  /** A fixed part of `bytes`; returns where attributes begin. */
  fixed(message: Message, bytes: number): number {
    if (message.at + bytes > message.end)
      throw malformed(`message type ${message.type} without its fixed part`);
    return message.at + align(bytes);
  }

  #inside(at: number, bytes: number): number {
    if (at < 0 || at + bytes > this.#view.byteLength)
      throw malformed(`${bytes} bytes at ${at} of ${this.#view.byteLength}`);
    return at;
  }
}

/** EBADMSG: the kernel sent what does not fit its own lengths, or this reader is wrong. `what` says where. */
export function malformed(what: string): IoError {
  return new IoError('recvmsg', 'EBADMSG', 'netlink', `malformed message: ${what}`);
}
