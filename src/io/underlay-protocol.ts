import { IoError } from '../base/errors.ts';
import { PROTOCOL } from '../packet/ipv4.ts';
import { errnoName, NEGATED } from './errno.ts';
import type { Native } from './native.ts';

/** What an underlay socket takes: IP protocol 4, protocol 41 (IPv6), or UDP to this port, with packets of either in it (fou). */
export type UnderlayProtocol = 'ipip' | 'ipv6' | { readonly udpPort: number };

/** The protocol number of the raw sockets. */
export function protocolNumber(protocol: UnderlayProtocol): number {
  if (protocol === 'ipip') return PROTOCOL.IPIP;
  return protocol === 'ipv6' ? PROTOCOL.IPV6 : PROTOCOL.UDP;
}

export interface HeldPort {
  readonly close: () => void;
}

/** Holds the UDP port for as long as raw sockets receive what comes to it; undefined with IPIP. Throws an IoError. */
export function holdPort(native: Native, protocol: UnderlayProtocol): HeldPort | undefined {
  if (typeof protocol === 'string') return undefined;
  const fd = native.udpHold(protocol.udpPort);
  if (fd >= 0) return { close: () => native.close(fd) };
  const who = fd === NEGATED.EADDRINUSE ? ', which another program or the kernel (ip fou show) has' : '';
  throw new IoError('bind', errnoName(fd), `UDP port ${protocol.udpPort} of tunnel.fouPort${who}`);
}
