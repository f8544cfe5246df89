import { IoError } from '../base/errors.ts';
import { errnoName } from './errno.ts';
import type { Native } from './native.ts';
import {
  type Message,
  MessageReader,
  MessageWriter,
  malformed,
  NLM_F,
  NLMSG,
  REQUEST_BYTES_MAX,
} from './netlink-wire.ts';

/** The kernel answers while the request is sent; this only bounds the wait for another dump that holds a lock. */
const ANSWER_TIMEOUT_MS = 5000;

/** A dump that something changed underneath is asked for again; this often means routes arrive by the thousand right now. */
const DUMP_ATTEMPTS_MAX = 10;

/** Acknowledgements wait in the socket's buffer, about 1 KiB of kernel memory each; the buffer holds several times this many. */
export const BATCH_MESSAGES_MAX = 128;

/** Holds BATCH_MESSAGES_MAX requests of 256 bytes; of larger ones, such as routes with many gateways, fewer go at a time. */
const REQUEST_BYTES = BATCH_MESSAGES_MAX * 256;

/** The kernel fills dump datagrams up to 32 KiB, a single link with many virtual functions can exceed that. */
const ANSWER_BYTES = 256 * 1024;

const RECEIVE_BUFFER_BYTES = 1 << 20;

/** NLMSGERR_ATTR_MSG: the kernel's own words about what was wrong. */
const ERROR_TEXT = 1;

/** What the kernel answered one request of a batch with. */
export interface RequestFailure {
  readonly index: number;
  /** As `EEXIST`. */
  readonly errno: string;
  /** What the kernel says about it, '' when it says nothing. */
  readonly text: string;
}

export interface Request {
  readonly type: number;
  readonly flags: number;
  readonly fixedBytes: number;
  /** Fills the fixed part at `fixed` and appends attributes. */
  readonly write: (writer: MessageWriter, fixed: number) => void;
}

/**
 * A socket for requests. Everything is synchronous: rtnetlink answers within the system call that asks, so waiting on the event loop
 * would only add latency and a state to keep. Notices have a socket of their own, see netlink-subscription.ts.
 */
export class NetlinkSocket {
  readonly #native: Native;
  readonly #writer = new MessageWriter(REQUEST_BYTES);
  readonly #answer = new Uint8Array(ANSWER_BYTES);
  readonly #poll = new Int32Array(1);
  #fd: number;
  #sequence = 0;

  constructor(native: Native) {
    this.#native = native;
    this.#fd = native.netlinkOpen(0, RECEIVE_BUFFER_BYTES);
    if (this.#fd < 0) throw new IoError('socket', errnoName(this.#fd), 'netlink');
  }

  /**
   * One request; calls `visit` with each message that answers it. `subject` is for error messages. Throws IoError with the kernel's
   * own words.
   */
  request(request: Request, subject: string, visit: (message: Message) => void = ignore): void {
    const sequence = this.#begin();
    this.#append(request, NLM_F.REQUEST | NLM_F.ACK | request.flags, sequence);
    this.#send(subject);
    this.#collect(sequence, 1, subject, visit, (_index, errno, text) => {
      throw new IoError(messageName(request.type), errno, subject, text);
    });
  }

  /** A dump; returns what `read` made of its messages, without those for which it returned undefined. */
  dump<T>(request: Request, subject: string, read: (message: Message) => T | undefined): T[] {
    for (let attempt = 0; attempt < DUMP_ATTEMPTS_MAX; attempt++) {
      const items: T[] = [];
      if (this.#dumpOnce(request, subject, read, items)) return items;
    }
    const advice = `changed during each of ${DUMP_ATTEMPTS_MAX} attempts to read it`;
    throw new IoError(messageName(request.type), 'EINTR', subject, advice);
  }

  /** Requests that need no answer but success, many in a system call. Returns the refused ones; the others were carried out. */
  batch(requests: Iterable<Request>, subject: string): RequestFailure[] {
    const failures: RequestFailure[] = [];
    let base = 0;
    let sequence = this.#begin();
    let count = 0;
    const flush = (): void => {
      if (count === 0) return;
      const first = base;
      this.#send(subject);
      this.#collect(sequence, count, subject, ignore, (index, errno, text) => {
        failures.push({ index: first + index, errno, text });
      });
      base += count;
      count = 0;
      sequence = this.#begin();
    };
    for (const request of requests) {
      this.#append(request, NLM_F.REQUEST | NLM_F.ACK | request.flags, (sequence + count) >>> 0);
      count++;
      if (count === BATCH_MESSAGES_MAX || this.#writer.length > REQUEST_BYTES - REQUEST_BYTES_MAX) flush();
    }
    flush();
    return failures;
  }

  close(): void {
    if (this.#fd < 0) return;
    this.#native.close(this.#fd);
    this.#fd = -1;
  }

  /** Clears the writer and reserves the sequence numbers of a batch, so that an abandoned answer never looks like a new one. */
  #begin(): number {
    this.#writer.clear();
    this.#sequence = (this.#sequence + BATCH_MESSAGES_MAX) >>> 0;
    return this.#sequence;
  }

  #append(request: Request, flags: number, sequence: number): void {
    const fixed = this.#writer.begin(request.type, flags, sequence, request.fixedBytes);
    request.write(this.#writer, fixed);
    this.#writer.end();
  }

  #send(subject: string): void {
    if (this.#fd < 0) throw new IoError('sendmsg', 'EBADF', subject, 'the netlink socket is closed');
    const sent = this.#native.netlinkSend(this.#fd, this.#writer.bytes, this.#writer.length);
    if (sent < 0) throw new IoError('sendmsg', errnoName(sent), subject);
  }

  /** Reads until each of `count` requests from `sequence` on is acknowledged. */
  #collect(
    sequence: number,
    count: number,
    subject: string,
    visit: (message: Message) => void,
    refused: (index: number, errno: string, text: string) => void,
  ): void {
    for (let acknowledged = 0; acknowledged < count; ) {
      for (const message of this.#receive(subject)) {
        const index = (message.sequence - sequence) >>> 0;
        if (index >= count) continue;
        if (message.type === NLMSG.ERROR) {
          acknowledged++;
          const error = readError(message);
          if (error.number !== 0) refused(index, errnoName(error.number), error.text);
        } else {
          visit(message);
        }
      }
    }
  }

  /** False when the dump was interrupted by a change, and its content is a mixture. */
  #dumpOnce<T>(
    request: Request,
    subject: string,
    read: (message: Message) => T | undefined,
    items: T[],
  ): boolean {
    const sequence = this.#begin();
    this.#append(request, NLM_F.REQUEST | NLM_F.DUMP | request.flags, sequence);
    this.#send(subject);
    let isConsistent = true;
    for (;;) {
      for (const message of this.#receive(subject)) {
        if (message.sequence !== sequence) continue;
        if ((message.flags & NLM_F.DUMP_INTERRUPTED) !== 0) isConsistent = false;
        if (message.type === NLMSG.ERROR || message.type === NLMSG.DONE) {
          const error = readError(message);
          if (error.number !== 0) {
            throw new IoError(messageName(request.type), errnoName(error.number), subject, error.text);
          }
          return isConsistent;
        }
        const item = read(message);
        if (item !== undefined) items.push(item);
      }
    }
  }

  #receive(subject: string): Iterable<Message> {
    let length = this.#native.netlinkReceive(this.#fd, this.#answer);
    if (length === 0) {
      this.#poll[0] = this.#fd;
      this.#native.poll(this.#poll, 1, ANSWER_TIMEOUT_MS);
      length = this.#native.netlinkReceive(this.#fd, this.#answer);
      if (length === 0) throw new IoError('recvmsg', 'ETIMEDOUT', subject, 'the kernel did not answer');
    }
    if (length < 0) throw new IoError('recvmsg', errnoName(length), subject);
    return new MessageReader(this.#answer, length).messages();
  }
}

function ignore(): void {}

/** An error or the end of a dump: a negated errno, 0 for success, then the request (or its header), then attributes. */
export function readError(message: Message): { number: number; text: string } {
  const { reader } = message;
  // An end without a number is one of an old kernel: all went well.
  if (message.at === message.end && message.type === NLMSG.DONE) return { number: 0, text: '' };
  reader.fixed(message, 4);
  const number = reader.i32(message.at);
  if (number > 0) throw malformed(`error number ${number}`);
  let text = '';
  if ((message.flags & NLM_F.ACK_ATTRIBUTES) !== 0) {
    let at = message.at + 4;
    if (message.type === NLMSG.ERROR) {
      const requestBytes = (message.flags & NLM_F.CAPPED) !== 0 ? 16 : reader.u32(at);
      at += (requestBytes + 3) & ~3;
    }
    reader.attributes(at, message.end, (type, valueAt, length) => {
      if (type === ERROR_TEXT) text = reader.text(valueAt, length);
    });
  }
  return { number, text };
}

const MESSAGE_NAMES: Readonly<Record<number, string>> = {
  16: 'RTM_NEWLINK',
  17: 'RTM_DELLINK',
  18: 'RTM_GETLINK',
  20: 'RTM_NEWADDR',
  21: 'RTM_DELADDR',
  22: 'RTM_GETADDR',
  24: 'RTM_NEWROUTE',
  25: 'RTM_DELROUTE',
  26: 'RTM_GETROUTE',
};

export function messageName(type: number): string {
  return MESSAGE_NAMES[type] ?? `netlink message ${type}`;
}
