/**
 * The native addon's surface: system calls on memory that TypeScript owns, and nothing else. Every function that can fail in the
 * kernel returns the negated errno, EINTR is retried, and "nothing waits" or "no room now" (EAGAIN, ENOBUFS) is 0. Wrong argument
 * types or ranges throw a TypeError with `code` ERR_INVALID_ARG_TYPE or ERR_OUT_OF_RANGE before any system call. No function blocks
 * except `poll` and `wait`. Columns, `layout` and `pieces` are as in batch.ts; `from`/`to`/`capacity` index them, at most CALL_PACKETS_MAX packets a call.
 */
export interface Native {
  /** Attaches to (or makes) TUN device `name`, IFF_NO_PI, non-blocking, close-on-exec. Returns a file descriptor: one queue. */
  tunOpen(name: string, flags: number): number;
  /** Keeps (or no longer keeps) the device when the last queue is closed. */
  tunPersist(fd: number, persist: boolean): number;
  /** TUNSETOFFLOAD with `features` (TUN_F_*); needs TUN_FLAG.VNET_HEADER. */
  tunOffload(fd: number, features: number): number;
  /**
   * Reads into the slots of `layout` until the queue is empty, or `capacity` packets or 256 KiB are in; writes `at[i]` and `length[i]`.
   * The `headerBytes` of a vnet header (0 without) go right before `at[i]`. A checksum that the kernel left undone is completed here,
   * except in a packet that is to be cut (`segment` does that).
   */
  tunReceive(
    fd: number,
    bytes: Uint8Array,
    at: Int32Array,
    length: Int32Array,
    layout: Int32Array,
    capacity: number,
    headerBytes: number,
  ): number;
  /**
   * Writes until the device takes no more; stops at the first refused packet. `headerBytes` before `at[i]` are written too. The pairs of
   * `pieces` begin at cell `at.length`.
   */
  tunSend(
    fd: number,
    bytes: Uint8Array,
    at: Int32Array,
    length: Int32Array,
    pieces: Int32Array,
    from: number,
    to: number,
    headerBytes: number,
  ): number;

  /**
   * Prepares entries 0 … `count` - 1, received inner packets whose headers were checked, for `tunSend`; no system call. Writes the vnet
   * header before each: a checksum that was left undone (CHECKSUM_PARTIAL) is completed by the kernel, and a TCP packet above `mtu`
   * bytes, which GRO has merged, is cut again. Then it merges consecutive packets of a flow, by the flush rules of the kernel's GRO, into
   * one entry with `pieces`, whose `packets` and `innerBytes` are the sums. Entries keep the order of their first packets.
   *
   * A checksum is verified before a packet is merged or cut. A wrong one is never merged; where the kernel would have to cut (and would
   * bless what it cuts), the packet is dropped. Returns the entries that are left, plus the dropped ones times COALESCE.DROPPED: these
   * stand behind the others, with their peers. `features` are the COALESCE bits of what the device takes besides TCP.
   */
  coalesce(
    bytes: Uint8Array,
    at: Int32Array,
    length: Int32Array,
    peer: Int32Array,
    packets: Int32Array,
    innerBytes: Int32Array,
    pieces: Int32Array,
    count: number,
    mtu: number,
    features: number,
  ): number;

  /**
   * Raw IPv4 socket of `protocol`, non-blocking, close-on-exec, IP_HDRINCL, IP_MTU_DISCOVER = IP_PMTUDISC_PROBE (our own path MTU
   * state decides, not the kernel's), buffers as asked (SO_*BUFFORCE where permitted, else SO_*BUF; 0 is the system's default).
   * Protocol 255 (IPPROTO_RAW) makes one that only sends: the kernel hands it no packet.
   */
  rawOpen(protocol: number, receiveBufferBytes: number, sendBufferBytes: number): number;
  /** Looks up routes as one who sends from `address` (host order), and receives only what is addressed to it; 0 takes both back. Again and again. */
  rawBind(fd: number, address: number): number;
  /** Attaches a classic BPF program: pairs of u32, (code | jt << 16 | jf << 24) then k. Replaces the earlier one atomically. */
  rawFilter(fd: number, program: Uint32Array): number;
  rawReceive(
    fd: number,
    bytes: Uint8Array,
    at: Int32Array,
    length: Int32Array,
    layout: Int32Array,
    capacity: number,
  ): number;
  rawSend(
    fd: number,
    bytes: Uint8Array,
    at: Int32Array,
    length: Int32Array,
    pieces: Int32Array,
    address: Uint32Array,
    from: number,
    to: number,
  ): number;
  /**
   * The same of IPv6. One that receives gets what is behind the IPv6 header and its extension headers, a whole packet where that came in
   * fragments: `rawReceive6` writes an IPv6 header in front of it, from what the kernel says of the one that was there, with `protocol`
   * as its next header. One of protocol 255 sends packets that have their headers (IPV6_HDRINCL), each to the destination in it, by
   * `rawSend`, whose `address` does not count for them.
   */
  rawOpen6(protocol: number, receiveBufferBytes: number, sendBufferBytes: number): number;
  /** `address`: four words, host order; all 0 takes it back. */
  rawBind6(fd: number, address: Uint32Array): number;
  rawReceive6(
    fd: number,
    bytes: Uint8Array,
    at: Int32Array,
    length: Int32Array,
    layout: Int32Array,
    capacity: number,
    protocol: number,
  ): number;
  /** Packets the kernel dropped because this socket's receive buffer was full, since it was opened: a u32 that wraps (SO_MEMINFO). */
  rawOverflow(fd: number): number;
  /**
   * A UDP socket that has `port` of every address of this host and receives nothing: raw sockets see the datagrams, and without it the
   * kernel would answer each with ICMP port unreachable.
   */
  udpHold(port: number): number;

  /**
   * Cuts the packet that `request` describes (SEGMENT) into entries `from` … `to - 1`, or as many as it has left, and returns how many. Each
   * entry is a header slot of the arena, that of its number, and one piece: its payload inside the packet. Lengths, IDs, sequence numbers,
   * flags and checksums are those of inet_gso_segment, tcp_gso_segment and __udp_gso_segment in the kernel. No system call. A packet that
   * is no TCP or UDP over IPv4 or IPv6 with payload throws: the caller has looked at it before.
   */
  segment(
    bytes: Uint8Array,
    request: Int32Array,
    at: Int32Array,
    length: Int32Array,
    pieces: Int32Array,
    from: number,
    to: number,
  ): number;

  /** A packet socket (AF_PACKET, SOCK_DGRAM) that receives nothing. `sendBufferBytes` as of `rawOpen`. */
  linkOpen(sendBufferBytes: number): number;
  /** From now on it receives the packets of an EtherType that come in on any device and that its filter (`rawFilter`) lets through; `rawReceive` reads them. */
  linkListen(fd: number, etherType: number): number;
  /**
   * Sends packets whose outer headers are complete to the next hops that `hops` (the words of a NextHopTable) has for `peer[i]` and
   * `address[i]`, up to the first that it does not know: -EDESTADDRREQ when that is packet `from`. A packet for which the device's queue
   * has no room is lost and counts as sent, as with `rawSend`; a full send buffer is 0.
   */
  linkSend(
    fd: number,
    bytes: Uint8Array,
    at: Int32Array,
    length: Int32Array,
    pieces: Int32Array,
    address: Uint32Array,
    peer: Int32Array,
    hops: Uint32Array,
    from: number,
    to: number,
  ): number;

  /** An eventfd: `wakeSignal` from any thread makes it readable until `wakeDrain`. */
  wakeOpen(): number;
  wakeSignal(fd: number): number;
  wakeDrain(fd: number): number;
  /**
   * poll(2) for reading on `fds[0..count)`, at most POLL_MAX; negative ones are passed over. Returns a bit mask of the readable ones
   * (also set on error or hang-up). EINTR gives 0. A `timeoutMs` of -1 waits for ever.
   */
  poll(fds: Int32Array, count: number, timeoutMs: number): number;
  /**
   * As `poll`, but looks without sleeping for the first `spinMicroseconds` (at most SPIN_MAX_US), with a sched_yield(2) between two
   * looks, and sleeps only then. Writes WAIT_CELL into `spent`.
   */
  wait(
    fds: Int32Array,
    count: number,
    timeoutMs: number,
    spinMicroseconds: number,
    spent: Int32Array,
  ): number;
  /**
   * Calls `ready` on this thread's event loop whenever `fd` is readable, until `unwatch`. Level-triggered. Keeps the loop alive.
   * Throws an Error with `code` (EEXIST: watched already; EPERM: a file that cannot be polled): its result is no number.
   */
  watch(fd: number, ready: () => void): object;
  /** Before `fd` is closed. Idempotent. */
  unwatch(watcher: object): void;

  /** A NETLINK_ROUTE socket, non-blocking, joined to the RTMGRP_* bits of `groups`. */
  netlinkOpen(groups: number, receiveBufferBytes: number): number;
  /** Sends `message[0..length)`, one or more netlink messages. Here EAGAIN is an error: nothing was taken. */
  netlinkSend(fd: number, message: Uint8Array, length: number): number;
  /**
   * One datagram of the kernel into `message`; returns its length, 0 when none waits. -EMSGSIZE: it did not fit and is lost.
   * -ENOBUFS: the socket's buffer overflowed, so notices were lost.
   */
  netlinkReceive(fd: number, message: Uint8Array): number;

  /**
   * Load of `isthmus bench` (load.h). These block their thread, at most 200 ms a call: until `untilNs`, a moment of CLOCK_MONOTONIC in
   * nanoseconds like all others here. The payload of each packet begins with 24 bytes that hold `run`, flow and sequence number.
   *
   * A UDP socket bound to an address and port in host order (0: any), connected unless `remotePort` is 0, non-blocking.
   */
  udpOpen(
    localAddress: number,
    localPort: number,
    remoteAddress: number,
    remotePort: number,
    bufferBytes: number,
  ): number;
  /** A raw socket that receives ICMP echo replies from `address`. */
  icmpOpen(address: number): number;
  /**
   * Sends datagrams of `payloadBytes` in turn (at most 64 sizes of 24 to 8,972 bytes) over the connected sockets in turn (at most 64, one
   * flow each) at the rate in `progress` (SEND). `sequence` holds the next number of each flow.
   */
  loadSend(
    fds: Int32Array,
    payloadBytes: Int32Array,
    sequence: Uint32Array,
    progress: Float64Array,
    run: number,
    untilNs: number,
  ): number;
  /** Receives datagrams and counts those of `run` in `counts` (COUNT). `flows`: LOAD.FLOW_WORDS for each flow, all 0 at first. */
  loadReceive(fd: number, flows: Uint32Array, counts: Float64Array, run: number, untilNs: number): number;
  /** Sends each datagram of `run` back where it came from. Returns how many. */
  echoServe(fd: number, run: number, untilNs: number): number;
  /**
   * Sends probes at a pace (TRIP), over UDP or ICMP (`kind`), and writes the round-trip time of each that is answered into its cell of
   * `microseconds`, all -1 at first. Returns before `untilNs` when all have been.
   */
  roundTrips(
    fd: number,
    kind: number,
    payloadBytes: number,
    run: number,
    progress: Float64Array,
    microseconds: Float64Array,
    untilNs: number,
  ): number;
  /** A listening TCP socket, non-blocking. */
  tcpListen(address: number, port: number): number;
  /** Begins a TCP connection with a congestion control, and an MSS of 88 to 32,767 (0: of the path). */
  tcpConnect(address: number, port: number, mss: number, congestion: string): number;
  /** Writes to all connections whatever they take; adds what they took to `bytes[0]`. Fails with the error of the first that broke. */
  streamSend(fds: Int32Array, bytes: Float64Array, untilNs: number): number;
  /**
   * Accepts connections of `listener` into the cells of `fds` that are -1, and reads from all; adds what came to `bytes[0]`. A connection
   * that ended is closed and its cell -1 again; those left belong to the caller.
   */
  streamReceive(listener: number, fds: Int32Array, bytes: Float64Array, untilNs: number): number;

  /** One datagram of at most 4,095 bytes to the unix socket at `path` (a leading @ means the abstract namespace): systemd's readiness protocol. */
  unixDatagram(path: string, text: string): number;
  /** Once, by the owner. Never retried on EINTR: the number may already be another's. */
  close(fd: number): number;
  /** Index of a network device, or -ENODEV. */
  deviceIndex(name: string): number;
}

export const TUN_FLAG = { MULTI_QUEUE: 1, VNET_HEADER: 2 } as const;

/** Of `coalesce`. UDP: the device takes merged datagrams (VIRTIO_NET_HDR_GSO_UDP_L4, Linux 6.2). */
export const COALESCE = { UDP: 1, DROPPED: 0x1_0000 } as const;

/** The cells of `request` of `Native.segment`. */
export const SEGMENT = {
  /** Of the inner header. The template of the outer one lies right before it. */
  PACKET_AT: 0,
  PACKET_BYTES: 1,
  /** Payload bytes of each segment but the last. */
  SEGMENT_SIZE: 2,
  /** Entry `i` has its headers at ARENA_AT + i * ARENA_STRIDE. */
  ARENA_AT: 3,
  ARENA_STRIDE: 4,
  /** Outer IDs are ID_FIRST + u, u from 0 to ID_COUNT - 1 and round again; the last one used is in IDS_USED, which is written. */
  ID_FIRST: 5,
  ID_COUNT: 6,
  IDS_USED: 7,
  /** The segment to begin with; where to go on is written. */
  NEXT: 8,
  /** Of headers before the packet: 20, 28 with a UDP header, or 40 of IPv6. */
  OUTER_BYTES: 9,
  CELLS: 10,
} as const;

/** Most packets that one call receives or sends: the addon keeps their iovecs on the stack. */
export const CALL_PACKETS_MAX = 256;

/** Most descriptors that one `poll` takes: the result is a non-negative 32-bit mask. */
export const POLL_MAX = 31;

/** A `tunReceive` reads no further once this many bytes, vnet headers included, are in. */
export const DEVICE_RECEIVE_BYTES_MAX = 256 * 1024;

/** What `wait` cost: system calls, and microseconds from its begin to its end. */
export const WAIT_CELL = { CALLS: 0, MICROSECONDS: 1 } as const;

/** Longest spin of one `wait`. */
export const SPIN_MAX_US = 10_000;

/** Cells of `progress` of loadSend. PER_SECOND 0: as many as the kernel takes. REFUSED counts calls that it took nothing of. */
export const SEND = { START_NS: 0, PER_SECOND: 1, SENT: 2, REFUSED: 3, CURSOR: 4, CELLS: 5 } as const;

/** Cells of `counts` of loadReceive. PACKETS are without DUPLICATES; BYTES are of payload; REORDERED came behind a later one. */
export const COUNT = {
  PACKETS: 0,
  BYTES: 1,
  DUPLICATES: 2,
  REORDERED: 3,
  FOREIGN: 4,
  CELLS: 5,
} as const;

/** Cells of `progress` of roundTrips, and its kinds. */
export const TRIP = { START_NS: 0, INTERVAL_NS: 1, SENT: 2, RECEIVED: 3, CELLS: 4, UDP: 0, ICMP: 1 } as const;

export const LOAD = { HEAD_BYTES: 24, PAYLOAD_BYTES_MAX: 8972, FLOWS_MAX: 64, FLOW_WORDS: 9 } as const;
