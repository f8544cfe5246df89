/**
 * The native addon's surface: system calls on memory that TypeScript owns, and nothing else. Every function that can fail in the
 * kernel returns the negated errno; wrong argument types or ranges throw a TypeError. No function blocks except `poll`.
 * Columns are as in batch.ts; `from`/`to`/`capacity` index them.
 */
export interface Native {
  /** Attaches to (or makes) TUN device `name`, IFF_NO_PI, non-blocking, close-on-exec. Returns a file descriptor: one queue. */
  tunOpen(name: string, flags: number): number;
  /** Keeps (or no longer keeps) the device when the last queue is closed. */
  tunPersist(fd: number, persist: boolean): number;
  /** TUNSETOFFLOAD with `features` (TUN_F_*); needs TUN_FLAG.VNET_HEADER. */
  tunOffload(fd: number, features: number): number;
  /** Reads until the queue is empty or `capacity` packets are in. Slots hold `roomBytes`. */
  tunReceive(
    fd: number,
    bytes: Uint8Array,
    at: Int32Array,
    length: Int32Array,
    capacity: number,
    roomBytes: number,
  ): number;
  tunSend(
    fd: number,
    bytes: Uint8Array,
    at: Int32Array,
    length: Int32Array,
    from: number,
    to: number,
  ): number;

  /**
   * Raw IPv4 socket of `protocol`, non-blocking, close-on-exec, IP_HDRINCL, IP_MTU_DISCOVER = IP_PMTUDISC_PROBE (our own path MTU
   * state decides, not the kernel's), buffers as asked (SO_*BUFFORCE where permitted, else SO_*BUF).
   */
  rawOpen(protocol: number, receiveBufferBytes: number, sendBufferBytes: number): number;
  /** Receives only what is addressed to `address` (host order). */
  rawBind(fd: number, address: number): number;
  /** Attaches a classic BPF program: pairs of u32, (code | jt << 16 | jf << 24) then k. Replaces the earlier one atomically. */
  rawFilter(fd: number, program: Uint32Array): number;
  rawReceive(
    fd: number,
    bytes: Uint8Array,
    at: Int32Array,
    length: Int32Array,
    capacity: number,
    roomBytes: number,
  ): number;
  rawSend(
    fd: number,
    bytes: Uint8Array,
    at: Int32Array,
    length: Int32Array,
    address: Uint32Array,
    from: number,
    to: number,
  ): number;
  /** Packets the kernel dropped because this socket's receive buffer was full, since the last call (SO_MEMINFO / SO_RXQ_OVFL). */
  rawOverflow(fd: number): number;

  /** An eventfd: `wakeSignal` from any thread makes it readable until `wakeDrain`. */
  wakeOpen(): number;
  wakeSignal(fd: number): number;
  wakeDrain(fd: number): number;
  /** poll(2) for reading on `fds[0..count)`. Returns a bit mask of the readable ones (also set on error or hang-up). EINTR gives 0. */
  poll(fds: Int32Array, count: number, timeoutMs: number): number;
  /** Calls `ready` on this thread's event loop whenever `fd` is readable, until `unwatch`. Level-triggered. Keeps the loop alive. */
  watch(fd: number, ready: () => void): object;
  unwatch(watcher: object): void;

  /** A NETLINK_ROUTE socket, non-blocking, joined to the RTMGRP_* bits of `groups`. */
  netlinkOpen(groups: number, receiveBufferBytes: number): number;
  netlinkSend(fd: number, message: Uint8Array, length: number): number;
  /** One datagram into `message`; returns its length, 0 when none waits. */
  netlinkReceive(fd: number, message: Uint8Array): number;

  /** One datagram to the unix socket at `path` (a leading @ means the abstract namespace): systemd's readiness protocol. */
  unixDatagram(path: string, text: string): number;
  close(fd: number): number;
  /** Index of a network device, or -ENODEV. */
  deviceIndex(name: string): number;
}

export const TUN_FLAG = { MULTI_QUEUE: 1, VNET_HEADER: 2 } as const;
