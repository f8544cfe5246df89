import { rawSocketLacks } from '../../../src/io/raw-socket-package.ts';
import type { ConfigurationChange } from '../../../src/measure/shipped-gateway.ts';

/** The ways a gateway moves packets: whatever holds for one must hold for all. */
export interface Variant {
  readonly name: string;
  readonly change: ConfigurationChange;
  /** What status must then say. */
  readonly socket: 'batch' | 'raw-socket';
  readonly workers: number;
  /** Why it cannot run here. */
  readonly skip?: string | undefined;
}

export const BATCH: Variant = {
  name: 'batch socket, one worker',
  change: { tunnel: { workers: 1 } },
  socket: 'batch',
  workers: 1,
};

export const TWO_WORKERS: Variant = {
  name: 'batch socket, two workers',
  change: { tunnel: { workers: 2 } },
  socket: 'batch',
  workers: 2,
};

export const PACKET: Variant = {
  name: 'batch socket, packets straight to the next hop',
  change: { tunnel: { workers: 1, transmit: 'packet' } },
  socket: 'batch',
  workers: 1,
};

export const RAW_SOCKET: Variant = {
  name: 'package raw-socket',
  change: { tunnel: { underlaySocket: 'raw-socket' } },
  socket: 'raw-socket',
  workers: 1,
  skip: rawSocketLacks(),
};
