import { GatewayError, IoError } from '../base/errors.ts';
import { VNET } from '../packet/vnet.ts';
import type { Batch } from './batch.ts';
import { errnoName, NEGATED } from './errno.ts';
import { CALL_PACKETS_MAX, DEVICE_RECEIVE_BYTES_MAX, type Native, TUN_FLAG } from './native.ts';
import type { PacketIo } from './packet-io.ts';

/** TUN_F_* of linux/if_tun.h: what the kernel may leave undone in packets that it hands over. */
export const TUN_OFFLOAD = {
  CHECKSUM: 1,
  TSO4: 2,
  TSO6: 4,
  TSO_ECN: 8,
  UFO: 16,
  USO4: 32,
  USO6: 64,
} as const;

/** IFNAMSIZ - 1. */
export const DEVICE_NAME_BYTES_MAX = 15;

export interface TunOptions {
  readonly name: string;
  /** Several queues, one a worker: the kernel spreads flows over them. All queues of a device must ask for it. */
  readonly multiQueue?: boolean;
  /** A vnet header before each packet, as VNET of src/packet/vnet.ts: needed for what was merged, and for offloads. */
  readonly vnetHeader?: boolean;
}

/**
 * Attaches one queue to TUN device `name`, which is made when it does not exist and vanishes with its last queue unless it is kept
 * (`keep`). Throws ISTHMUS_ERR_PRIVILEGE, ISTHMUS_ERR_KERNEL or an IoError with advice.
 */
export function openTun(native: Native, options: TunOptions): Tun {
  const { name } = options;
  // The kernel would put a number for %d, and nobody would know the device's name.
  if (
    !/^[^\s/%]{1,15}$/.test(name) ||
    Buffer.byteLength(name) > DEVICE_NAME_BYTES_MAX ||
    /^\.\.?$/.test(name)
  ) {
    throw new IoError(
      'tunOpen',
      'EINVAL',
      `"${name}"`,
      'a device name has 1 to 15 bytes without space, "/" and "%"',
    );
  }
  const flags =
    (options.multiQueue === true ? TUN_FLAG.MULTI_QUEUE : 0) |
    (options.vnetHeader === true ? TUN_FLAG.VNET_HEADER : 0);
  const fd = native.tunOpen(name, flags);
  if (fd < 0) throw tunOpenError(name, fd);
  return new Tun(native, name, fd, options.vnetHeader === true);
}

function tunOpenError(name: string, result: number): GatewayError {
  const errno = errnoName(result);
  switch (errno) {
    case 'EPERM':
      return new GatewayError(
        'ISTHMUS_ERR_PRIVILEGE',
        `TUN device ${name} cannot be opened (EPERM): CAP_NET_ADMIN is missing. ${HOW_TO_GRANT} (CAP_NET_ADMIN). In a container, its device rules must allow /dev/net/tun too`,
      );
    // Only the file's mode or a security module gives this: capabilities are asked for later, and then it is EPERM.
    case 'EACCES':
      return new GatewayError(
        'ISTHMUS_ERR_PRIVILEGE',
        `TUN device ${name} cannot be opened (EACCES): this user may not read and write /dev/net/tun; udev's usual mode is 0666: chmod 0666 /dev/net/tun`,
      );
    case 'ENOENT':
    case 'ENODEV':
    case 'ENXIO':
      return new GatewayError(
        'ISTHMUS_ERR_KERNEL',
        `TUN device ${name} cannot be opened (${errno}): /dev/net/tun is missing. Run "modprobe tun"; in a container, mount the host's /dev/net/tun as a character device`,
      );
    case 'EBUSY':
      return new IoError(
        'tunOpen',
        errno,
        name,
        'another process holds the device, or it is no multi-queue device; stop that process (fuser /dev/net/tun shows it)',
      );
    case 'EINVAL':
      return new IoError(
        'tunOpen',
        errno,
        name,
        'a device of that name exists and is no TUN device, or has another queue mode or header; remove it with "ip link delete" or choose another tunnel.device',
      );
    case 'E2BIG':
      return new IoError('tunOpen', errno, name, 'the device has no free queue; lower tunnel.workers');
    default:
      return new IoError('tunOpen', errno, name);
  }
}

/** What CAP_NET_ADMIN and CAP_NET_RAW have in common when they are missing. */
export const HOW_TO_GRANT =
  'Run as root, or grant it: AmbientCapabilities= in a systemd unit, securityContext.capabilities.add in a pod, setcap on the node binary';

/** One queue of a TUN device. */
export class Tun implements PacketIo {
  readonly name: string;
  readonly vnetHeader: boolean;
  readonly calls = new Float64Array(1);
  readonly #native: Native;
  readonly #headerBytes: number;
  #fd: number;

  /** Takes over descriptor `fd`, also one that another thread of the process opened; `name` is for messages. */
  constructor(native: Native, name: string, fd: number, vnetHeader: boolean) {
    this.#native = native;
    this.name = name;
    this.#fd = fd;
    this.vnetHeader = vnetHeader;
    this.#headerBytes = vnetHeader ? VNET.BYTES : 0;
  }

  /** For `Native.poll` and `Native.watch`; -1 when closed. */
  get fd(): number {
    return this.#fd;
  }

  /** With a vnet header, that of packet `i` lies in the VNET.BYTES before `at[i]`. */
  receive(batch: Batch): number {
    const capacity = Math.min(batch.capacity, CALL_PACKETS_MAX);
    const received = this.#native.tunReceive(
      this.#fd,
      batch.bytes,
      batch.at,
      batch.length,
      batch.layout,
      capacity,
      this.#headerBytes,
    );
    // One read a packet, and one more that finds the queue empty or fails, unless the call was full.
    this.calls[0]! +=
      received < capacity && !this.#isFull(batch, received) ? Math.max(0, received) + 1 : received;
    return received;
  }

  #isFull(batch: Batch, received: number): boolean {
    let bytes = 0;
    for (let i = 0; i < received; i++) bytes += batch.length[i]! + this.#headerBytes;
    return bytes >= DEVICE_RECEIVE_BYTES_MAX;
  }

  /** With a vnet header, the caller has written that of packet `i` into the VNET.BYTES before `at[i]`. */
  send(batch: Batch, from: number, to: number): number {
    const end = Math.min(to, from + CALL_PACKETS_MAX);
    const { bytes, at, length, pieces } = batch;
    const sent = this.#native.tunSend(this.#fd, bytes, at, length, pieces, from, end, this.#headerBytes);
    this.calls[0]! += sent < end - from ? Math.max(0, sent) + 1 : sent;
    return sent;
  }

  /**
   * Keeps (or no longer keeps) the device when its last queue is closed. Does nothing where there is none to keep: closed here, or taken
   * away by somebody else, so that whoever closes down always gets to the end. Throws IoError.
   */
  keep(persist: boolean): void {
    if (this.#fd < 0) return;
    const result = this.#native.tunPersist(this.#fd, persist);
    if (result < 0 && result !== NEGATED.EBADFD)
      throw new IoError('TUNSETPERSIST', errnoName(result), this.name);
  }

  /** What the kernel may leave undone, TUN_OFFLOAD bits; needs a vnet header. Throws IoError. */
  setOffload(features: number): void {
    if (!this.vnetHeader)
      throw new IoError('TUNSETOFFLOAD', 'EINVAL', this.name, 'open it with a vnet header');
    const result = this.#native.tunOffload(this.#fd, features);
    if (result < 0) throw new IoError('TUNSETOFFLOAD', errnoName(result), this.name);
  }

  close(): void {
    if (this.#fd < 0) return;
    this.#native.close(this.#fd);
    this.#fd = -1;
  }
}
