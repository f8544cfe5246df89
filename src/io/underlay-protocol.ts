import { IoError } from '../base/errors.ts';
import { PROTOCOL } from '../packet/ipv4.ts';
import { errnoName, NEGATED } from './errno.ts';
import type { Native } from './native.ts';

/** What the underlay sockets take: IP protocol 4, or UDP to this port, with the same packets in it (fou). */
export type UnderlayProtocol = 'ipip' | { readonly udpPort: number };

/** The protocol number of the raw sockets. */
export function protocolNumber(protocol: UnderlayProtocol): number {
  return protocol === 'ipip' ? PROTOCOL.IPIP : PROTOCOL.UDP;
}

export interface HeldPort {
  readonly close: () => void;
}

/** Holds the UDP port for as long as raw sockets receive what comes to it; undefined with IPIP. Throws an IoError. */
export function holdPort(native: Native, protocol: UnderlayProtocol): HeldPort | undefined {
  if (protocol === 'ipip') return undefined;
  const fd = native.udpHold(protocol.udpPort);
  if (fd >= 0) return { close: () => native.close(fd) };
  const who = fd === NEGATED.EADDRINUSE ? ', which another program or the kernel (ip fou show) has' : '';
  throw new IoError('bind', errnoName(fd), `UDP port ${protocol.udpPort} of tunnel.fouPort${who}`);
}
