import type { Native } from '../../../src/io/native.ts';
import { MessageReader, MessageWriter } from '../../../src/io/netlink-wire.ts';

export interface SentMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** The message's bytes, header included. */
  readonly bytes: Uint8Array;
}

/** A datagram, a negated errno, or nothing (0). */
export type Answer = Uint8Array | number;

/** An addon whose netlink socket answers what `answer` makes of each datagram that was sent. */
export function scriptedKernel(answer: (sent: SentMessage[]) => Answer[]): {
  native: Native;
  sends: SentMessage[][];
} {
  const waiting: Answer[] = [];
  const sends: SentMessage[][] = [];
  const calls: Partial<Native> = {
    netlinkOpen: () => 9,
    netlinkSend(_fd, message, length) {
      const reader = new MessageReader(message.slice(), length);
      const sent = [...reader.messages()].map(({ type, flags, sequence, at, end }) => {
        return { type, flags, sequence, bytes: message.slice(at - 16, end) };
      });
      sends.push(sent);
      waiting.push(...answer(sent));
      return length;
    },
    netlinkReceive(_fd, message) {
      const next = waiting.shift() ?? 0;
      if (typeof next === 'number') return next;
      message.set(next);
      return next.length;
    },
    poll: () => 0,
    wait: () => 0,
    close: () => 0,
  };
  return { native: calls as Native, sends };
}

/** One message of the kernel. */
export function message(
  type: number,
  flags: number,
  sequence: number,
  fixedBytes: number,
  write: (writer: MessageWriter, fixed: number) => void,
): Uint8Array {
  const writer = new MessageWriter(65_536);
  write(writer, writer.begin(type, flags, sequence, fixedBytes));
  writer.end();
  return writer.bytes.slice(0, writer.length);
}

/** NLMSG_ERROR as the kernel answers when requests are not repeated (NETLINK_CAP_ACK): errno, the request's header, the kernel's words. */
export function acknowledgement(sequence: number, errno = 0, words = ''): Uint8Array {
  return message(2, 0x100 | (words === '' ? 0 : 0x200), sequence, 20, (writer, fixed) => {
    writer.u32(fixed, -errno >>> 0);
    if (words !== '') writer.attributeText(1, words);
  });
}

export function done(sequence: number, flags = 2): Uint8Array {
  return message(3, flags, sequence, 4, () => {});
}
