import type { Encapsulation } from './sent-headers.ts';

/** What the main thread hands a worker: descriptors it keeps owning, and shared memory. */
export interface WorkerSetup {
  readonly engine: number;
  readonly engines: number;
  readonly deviceName: string;
  readonly deviceDescriptor: number;
  readonly underlayDescriptor: number;
  /** Of protocol 41; undefined where IPv6 comes in by the one above. */
  readonly underlayIpv6Descriptor: number | undefined;
  /** Packets for the underlay leave by this one. */
  readonly underlaySendDescriptor: number;
  /** Packets with a known next hop leave by this one instead. */
  readonly packetSocket: { readonly descriptor: number; readonly nextHops: SharedArrayBuffer } | undefined;
  /** The main thread makes it readable to stop this worker. */
  readonly wakeDescriptor: number;
  /** This worker makes it readable when its ICMP queue has something for the slow path. */
  readonly icmpDescriptor: number;
  readonly encapsulation: Encapsulation;
  /** Longest time to look for packets without sleeping; see busy-poll.ts. */
  readonly spinMaxUs: number;
  /** COALESCE bits: what the device takes merged besides TCP. */
  readonly coalesceFeatures: number;
  readonly image: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  readonly icmpQueue: SharedArrayBuffer;
  readonly sentHeaders: SharedArrayBuffer;
  /** Cell CONTROL_CELL of Int32: 0 run, 1 stop, as `CONTROL`. */
  readonly control: SharedArrayBuffer;
}

export const CONTROL = { RUN: 0, STOP: 1 } as const;

/** In the middle of a buffer of CONTROL_BYTES: a worker reads it in each turn, so nobody else's memory may share its cache line. */
export const CONTROL_CELL = 16;
export const CONTROL_BYTES = 192;
