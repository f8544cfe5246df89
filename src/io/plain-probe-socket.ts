import { createSocket, type Socket } from 'node:dgram';
import { formatAddress, type IpAddress, parseIpAddress } from '../base/address.ts';
import { PROBE_PORT } from '../base/limits.ts';

/**
 * Probes without the tunnel around them: plain UDP between the underlay addresses, to tell a gateway that cannot be reached from one that
 * only IP protocol 4 does not get to. Nothing else depends on it, so whatever fails here is only not known.
 */
export class PlainProbeSocket {
  readonly #onMessage: (source: IpAddress, payload: Uint8Array) => void;
  #socket: Socket | undefined;
  #address: IpAddress | undefined;

  constructor(onMessage: (source: IpAddress, payload: Uint8Array) => void) {
    this.#onMessage = onMessage;
  }

  /** Sends and hears as `address` from now on. */
  bind(address: IpAddress): void {
    if (address === this.#address) return;
    this.close();
    this.#address = address;
    const socket = createSocket(typeof address === 'number' ? 'udp4' : 'udp6');
    // Another program may have the port, and an address that is not here yet comes with the next change.
    socket.on('error', () => {
      socket.close();
      if (this.#socket === socket) this.#socket = undefined;
    });
    socket.on('message', (payload, from) => this.#onMessage(parseIpAddress(from.address), payload));
    socket.bind(PROBE_PORT, formatAddress(address));
    socket.unref();
    this.#socket = socket;
  }

  send(destination: IpAddress, payload: Uint8Array): void {
    // A socket that is not bound yet would take a port of its own, and one that cannot send says so later.
    this.#socket?.send(payload, PROBE_PORT, formatAddress(destination), ignore);
  }

  close(): void {
    this.#socket?.close();
    this.#socket = undefined;
    this.#address = undefined;
  }
}

function ignore(): void {}
