import { randomBytes } from 'node:crypto';
import { familyOf, formatAddress, type IpAddress } from '../base/address.ts';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Config } from '../config/schema.ts';
import type { TakeProbe } from '../dataplane/icmp-queue.ts';
import type { Fib } from '../fib/fib.ts';
import type { Native } from '../io/native.ts';
import { PlainProbeSocket } from '../io/plain-probe-socket.ts';
import { ProbeSocket } from '../io/probe-socket.ts';
import type { PathMtuTable } from './path-mtu.ts';
import type { PeerHealthState } from './peer-probes.ts';
import { type Probe, probePayload, writeProbe, writeProbe6 } from './probe-packet.ts';
import { type ProbeCounts, Prober, type ProbeSettings } from './prober.ts';

export interface PeerHealthSetup {
  readonly fib: Fib;
  readonly pathMtu: PathMtuTable;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The configuration in force. */
  readonly config: () => Config;
  /** Our underlay address, and the MTU of its device. */
  readonly underlay: () => { readonly address: IpAddress; readonly mtuBytes: number } | undefined;
}

/** The probing of the running gateway: a socket, the prober, and what the packet path is told of its findings. */
export class PeerHealth {
  readonly #setup: PeerHealthSetup;
  readonly #prober: Prober;
  readonly #plain: PlainProbeSocket;
  #socket: ProbeSocket | undefined;
  /** Peers of which it was said that they are not used: the packet path is told more often than people are. */
  readonly #unused = new Set<IpAddress>();
  #deaf = false;

  constructor(setup: PeerHealthSetup) {
    this.#setup = setup;
    const { clock, underlay } = setup;
    this.#prober = new Prober({
      clock,
      random: () => randomBytes(4).readUInt32BE(),
      settings: () => this.#settings(),
      linkMtuBytes: () => underlay()?.mtuBytes ?? 0,
      canReflect: () => this.#listens(),
      send: (peer, probe, bytes) => this.#send(peer, probe, bytes),
      sendPlain: (peer, probe) => this.#plain.send(peer, probePayload(probe)),
      isNeeded: (peer) => setup.fib.isNeeded(peer),
      onUse: (peer, isUsed, health) => this.#use(peer, isUsed, health),
      onPathMtu: (peer, pathMtuBytes) => this.#pathFound(peer, pathMtuBytes),
      onGone: (peer) => {
        this.#setup.pathMtu.forgetProbed(peer);
        this.#unused.delete(peer);
      },
    });
    this.#plain = new PlainProbeSocket((source, payload) => this.#prober.receivedPlain(source, payload));
  }

  /** From now on the gateways of the FIB image are probed. Returns why they are not, if they cannot be. */
  open(native: Native): string | undefined {
    try {
      const address = this.#setup.underlay()?.address;
      this.#socket = new ProbeSocket(native, address === undefined ? 'ipv4' : familyOf(address));
      this.#bindPlain();
      return undefined;
    } catch (thrown) {
      return messageOf(thrown);
    }
  }

  /** The gateways of the packet path may be others now. */
  peersChanged(): void {
    if (this.#socket === undefined) return;
    const { fib } = this.#setup;
    this.#prober.setPeers(Array.from(fib.peerAddresses(), ({ address }) => address));
  }

  /** The configuration or the underlay is another one now. */
  configure(): void {
    if (this.#socket === undefined) return;
    const { fib, pathMtu } = this.#setup;
    const { mode, searchesPath } = this.#settings();
    // What nobody confirms any more may have become wrong.
    if (mode === 'off' || !searchesPath) {
      for (const { peer } of [...pathMtu.learned()])
        if (pathMtu.forgetProbed(peer)) fib.setPeer(peer, { pathMtuBytes: 0 });
    }
    this.#bindPlain();
    this.#prober.configure();
  }

  /** Takes what the engines found to be a probe. */
  readonly onProbe: TakeProbe = (gateway, outerBytes, inner) =>
    this.#prober.received(gateway, outerBytes, inner);

  health(peer: IpAddress): PeerHealthState | undefined {
    return this.#prober.health(peer);
  }

  get counts(): ProbeCounts & { readonly unsent: number } {
    return { ...this.#prober.counts, unsent: this.#socket?.failed ?? 0 };
  }

  /** Whether what routers say about the path to this peer is passed over, because it was wrong of late. */
  distrustsReports(peer: IpAddress): boolean {
    return this.#prober.distrustsReports(peer);
  }

  /** A router said what the path to this peer carries; probes will tell. */
  pathReported(peer: IpAddress, pathMtuBytes: number): void {
    this.#prober.pathReported(peer, pathMtuBytes);
  }

  close(): void {
    this.#prober.stop();
    this.#socket?.close();
    this.#socket = undefined;
    this.#plain.close();
  }

  #bindPlain(): void {
    const address = this.#setup.underlay()?.address;
    if (address === undefined || this.#settings().mode === 'off') this.#plain.close();
    else this.#plain.bind(address);
  }

  #settings(): ProbeSettings {
    const { probes, interval, deadAfter, hold, pathMtu } = this.#setup.config().health;
    return {
      mode: probes,
      intervalMs: interval,
      deadAfterMs: deadAfter,
      holdMs: hold,
      searchesPath: pathMtu,
    };
  }

  /** Only where some peer does not answer by itself: the kernel then asks the filter about each packet that comes in. */
  #listens(): boolean {
    if (this.#deaf || this.#socket === undefined) return false;
    try {
      this.#socket.listen((inner) => this.#prober.reflected(inner));
      return true;
    } catch (thrown) {
      this.#deaf = true;
      this.#setup.logger.warn(
        { reason: messageOf(thrown) },
        'gateways that are no Isthmus cannot be probed: what they reflect is not heard',
      );
      return false;
    }
  }

  #send(peer: IpAddress, probe: Probe, bytes: number): void {
    const source = this.#setup.underlay()?.address;
    const socket = this.#socket;
    if (source === undefined || socket === undefined) return;
    const { ttl, dscp } = this.#setup.config().tunnel;
    const outer = { ttl, dscp, udpPort: this.#setup.fib.udpPortOf(peer) };
    const { view, bytes: room } = socket;
    if (typeof source === 'number' && typeof peer === 'number')
      socket.send(source, peer, writeProbe(view, room, source, peer, probe, bytes, outer));
    else if (typeof source === 'bigint' && typeof peer === 'bigint')
      socket.send(source, peer, writeProbe6(view, room, source, peer, probe, bytes, outer));
  }

  #use(peer: IpAddress, isUsed: boolean, health: PeerHealthState): void {
    const { fib, logger } = this.#setup;
    if (!fib.setPeer(peer, { alive: isUsed }) || this.#unused.has(peer) === !isUsed) return;
    if (isUsed) this.#unused.delete(peer);
    else this.#unused.add(peer);
    const fields = { peer: formatAddress(peer), state: health.state };
    if (isUsed) logger.info(fields, 'the gateway answers: flows go to it');
    else logger.warn(fields, 'the gateway does not answer: its flows go to others, if there are any');
  }

  #pathFound(peer: IpAddress, pathMtuBytes: number): void {
    const { fib, pathMtu, logger } = this.#setup;
    const before = pathMtu.known(peer);
    pathMtu.probed(peer, pathMtuBytes);
    fib.setPeer(peer, { pathMtuBytes });
    if (before !== pathMtuBytes)
      logger.info({ peer: formatAddress(peer), pathMtuBytes }, 'path MTU found by probes');
  }
}
