import {
  bothWays,
  firstLacking,
  IPV4_BYTES,
  type Recipe,
  SOCKET_BUFFER_BYTES,
  type TunnelEnd,
  UDP_BYTES,
  UNDERLAY_MTU_BYTES,
} from './recipe.ts';

const MTU_BYTES = UNDERLAY_MTU_BYTES - IPV4_BYTES - UDP_BYTES;
const PORT = 11_443;
/** One packet at a time: a larger block would only be cleared or copied for nothing. */
const BLOCK_BYTES = 2048;

export const SOCAT: Recipe = {
  name: 'socat TUN-UDP',
  kind: 'peer',
  mtuBytes: MTU_BYTES,
  lacks: () => firstLacking(['socat', 'socat']),
  setUp: (a, b) => bothWays(a, b, (end) => ({ files: [], daemon: socatCommand(end) })),
};

/** UDP-DATAGRAM and not UDP: a connected socket would end socat when the other end is not yet there and the kernel says so. */
export function socatCommand(end: TunnelEnd): string[] {
  const buffers = `sndbuf=${SOCKET_BUFFER_BYTES},rcvbuf=${SOCKET_BUFFER_BYTES}`;
  return [
    'socat',
    '-b',
    String(BLOCK_BYTES),
    `TUN,tun-name=${end.device},tun-type=tun,iff-no-pi`,
    `UDP4-DATAGRAM:${end.remoteUnderlay}:${PORT},bind=${end.underlay}:${PORT},${buffers}`,
  ];
}
