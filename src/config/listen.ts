import { isIPv4, isIPv6 } from 'node:net';

/** Where the admin API is: a TCP port or a unix socket. */
export type ListenAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

export const LISTEN_EXPECTED = 'host:port such as 127.0.0.1:9461, or unix:/path';

/** sun_path of unix(7) holds 108 bytes with its terminating zero. */
export const SOCKET_PATH_BYTES_MAX = 107;

/** Reads `host:port`, `[ipv6]:port` or `unix:/path`; a string in return says what is wrong. Port 0 is any free port. */
export function parseListen(text: string): ListenAddress | string {
  if (text.startsWith('unix:')) return parseSocketPath(text.slice('unix:'.length));
  const colon = text.lastIndexOf(':');
  if (colon < 0) return 'a port is missing';
  const digits = text.slice(colon + 1);
  const port = Number(digits);
  if (!/^\d{1,5}$/.test(digits) || port > 65535) return `"${digits}" is not a port from 0 to 65535`;
  const host = text.slice(0, colon);
  const bracketed = /^\[(.*)\]$/.exec(host)?.[1];
  if (bracketed !== undefined) {
    return isIPv6(bracketed)
      ? { kind: 'tcp', host: bracketed, port }
      : `"${bracketed}" is not an IPv6 address`;
  }
  if (host === '') return 'a host is missing; 0.0.0.0 stands for every address of this machine';
  if (/^[\d.]+$/.test(host) ? !isIPv4(host) : !/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/i.test(host)) {
    return `"${host}" is neither an address nor a host name`;
  }
  return { kind: 'tcp', host, port };
}

function parseSocketPath(path: string): ListenAddress | string {
  if (!path.startsWith('/')) return 'the path of a unix socket must be absolute';
  if (path.includes('\0')) return 'the path holds a zero byte';
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) {
    return `the path of a unix socket can be ${SOCKET_PATH_BYTES_MAX} bytes at most`;
  }
  return { kind: 'unix', path };
}

export function formatListen(address: ListenAddress): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}
