import { constants } from 'node:os';

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(constants.errno).map(([name, number]) => [number, name]),
);

/** What the TUN driver says of a queue whose device is gone. */
const EBADFD = 77;

/** The errno that node:os does not list but TUN devices and netlink sockets return. Numbers of Linux's generic table. */
const LINUX_ONLY: ReadonlyMap<number, string> = new Map([
  [EBADFD, 'EBADFD'],
  [85, 'ERESTART'],
  [100, 'ENETDOWN'],
  [112, 'EHOSTDOWN'],
]);

/** Name of an errno, given positive or negated: 1 and -1 are both `EPERM`. A number without a name is `errno 999`. */
export function errnoName(errno: number): string {
  const number = Math.abs(errno);
  return NAMES.get(number) ?? LINUX_ONLY.get(number) ?? `errno ${number}`;
}

/** The errno numbers that the packet path compares results with; negated, as Native returns them. */
export const NEGATED = {
  EPERM: -constants.errno.EPERM,
  EIO: -constants.errno.EIO,
  EINVAL: -constants.errno.EINVAL,
  EMSGSIZE: -constants.errno.EMSGSIZE,
  ENOBUFS: -constants.errno.ENOBUFS,
  ENETUNREACH: -constants.errno.ENETUNREACH,
  EHOSTUNREACH: -constants.errno.EHOSTUNREACH,
  EACCES: -constants.errno.EACCES,
  ENETDOWN: -constants.errno.ENETDOWN,
  EADDRNOTAVAIL: -constants.errno.EADDRNOTAVAIL,
  EADDRINUSE: -constants.errno.EADDRINUSE,
  EBADF: -constants.errno.EBADF,
  EDESTADDRREQ: -constants.errno.EDESTADDRREQ,
  ENODEV: -constants.errno.ENODEV,
  EBADFD: -EBADFD,
} as const;
