/** Every code an operator can meet, with the exit status it leads to when it ends the process. docs/errors.md is made from this table. */
export const ERROR_CODES = {
  ISTHMUS_ERR_USAGE: { exit: 2, meaning: 'the command line is wrong' },
  ISTHMUS_ERR_CONFIG: {
    exit: 2,
    meaning: 'the configuration is wrong; the message names file, line and field',
  },
  ISTHMUS_ERR_ADDRESS: { exit: 2, meaning: 'an address or CIDR is not valid' },
  ISTHMUS_ERR_PRIVILEGE: {
    exit: 3,
    meaning: 'a capability is missing; the message names it and how to grant it',
  },
  ISTHMUS_ERR_KERNEL: { exit: 3, meaning: 'the kernel lacks a feature or a setting that forwarding needs' },
  ISTHMUS_ERR_ADDON: {
    exit: 3,
    meaning: 'the native addon, or the optional package raw-socket, cannot be loaded',
  },
  ISTHMUS_ERR_IO: { exit: 1, meaning: 'a system call failed' },
  ISTHMUS_ERR_CAPACITY: { exit: 1, meaning: 'a table with a fixed limit is full' },
  ISTHMUS_ERR_STATE: { exit: 1, meaning: 'the snapshot on disk cannot be read or written' },
  ISTHMUS_ERR_ADMIN: { exit: 1, meaning: 'the running gateway cannot be reached or refused the request' },
  ISTHMUS_ERR_KUBERNETES: {
    exit: 1,
    meaning: 'a Kubernetes API server cannot be reached or refuses, or the kubeconfig for it is wrong',
  },
  ISTHMUS_ERR_JOIN: {
    exit: 1,
    meaning: 'two clusters cannot be joined as they are; nothing of others is overwritten',
  },
  ISTHMUS_ERR_ETCD: { exit: 1, meaning: 'etcd cannot be reached, refuses a request or makes no sense' },
  ISTHMUS_ERR_BENCH: {
    exit: 1,
    meaning: 'no path of a benchmark can be opened, or its other side cannot be reached, refuses or is lost',
  },
  ISTHMUS_ERR_WORKER: { exit: 1, meaning: 'a packet worker died' },
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** An operating error: what failed, the value, what to do. `code` is stable across releases. */
export class GatewayError extends Error {
  override readonly name: string = 'GatewayError';
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
  get exitCode(): number {
    return ERROR_CODES[this.code].exit;
  }
}

/** A system call that failed: `errno` is its name (`EPERM`), `syscall` the call, `subject` the device, file or address. */
export class IoError extends GatewayError {
  override readonly name = 'IoError';
  readonly syscall: string;
  readonly errno: string;
  readonly subject: string;
  constructor(syscall: string, errno: string, subject: string, advice = '') {
    super('ISTHMUS_ERR_IO', `${syscall} ${subject}: ${errno}${advice === '' ? '' : `; ${advice}`}`);
    this.syscall = syscall;
    this.errno = errno;
    this.subject = subject;
  }
}

/** The text of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
