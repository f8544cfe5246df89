import type { IpAddress } from '../../base/address.ts';
import { formatAddress } from '../../base/address.ts';
import { messageOf } from '../../base/errors.ts';
import { Backoff } from '../backoff.ts';
import type { WatchEnvironment } from '../environment.ts';
import type { EtcdApi, EtcdEntry } from '../etcd-api/api.ts';
import { EtcdError } from '../etcd-api/error.ts';
import { isMalformed } from '../last-good.ts';
import type { StreamState } from '../stream-state.ts';
import { Wake } from '../wake.ts';
import { decodeRecord, encodeRecord, RECORD_BYTES_MAX, recordKey } from './record.ts';

/** Of three chances to keep a lease alive two may be lost. */
const BEATS_PER_LEASE = 3;
/** etcd grants none that is shorter. */
const LEASE_SECONDS_MIN = 2;
/** Stopping as a whole has two seconds. */
export const REVOKE_MS_MAX = 1_000;
/** Somebody who writes our key at the same time as we do is met once or twice, not for ever. */
const WRITE_TRIES = 3;

export interface RegistrationParts {
  readonly api: EtcdApi;
  readonly prefix: string;
  readonly leaseMs: number;
  readonly weight: number;
  readonly environment: WatchEnvironment;
  /** Shown beside the list-watch: what keeps us from being registered. */
  readonly stream: StreamState;
}

/** What we want to stand in etcd. */
interface Wanted {
  readonly key: string;
  readonly name: string;
  readonly address: IpAddress;
  readonly value: string;
}

/**
 * Keeps this gateway's record in etcd, under a lease that ends when we do. It looks at the record at every beat and puts right what others did
 * to it; a name that another living gateway holds is not fought for. Never throws.
 */
export class Registration {
  readonly #parts: RegistrationParts;
  readonly #wake = new Wake();
  readonly #backoff: Backoff;
  readonly #beatMs: number;
  #lease: string | undefined;
  /** The key that has been ours under the present lease. */
  #held: string | undefined;
  /** The last problem that was logged, null for none. */
  #told: string | null | undefined;

  constructor(parts: RegistrationParts) {
    this.#parts = parts;
    this.#beatMs = parts.leaseMs / BEATS_PER_LEASE;
    this.#backoff = new Backoff({ random: parts.environment.random, maxMs: Math.max(this.#beatMs, 1000) });
  }

  /** Somebody changed a record that may be ours: look at once. */
  nudge(): void {
    this.#wake.ring();
  }

  /** Registers and stays registered until the signal aborts. The record stays behind; see `withdraw`. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, own } = this.#parts.environment;
    const ring = (): void => this.#wake.ring();
    const unsubscribe = own.onChange(ring);
    signal.addEventListener('abort', ring, { once: true });
    try {
      while (!signal.aborted) {
        const timer = clock.after(await this.#beat(signal), ring);
        if (!signal.aborted) await this.#wake.wait();
        timer.cancel();
      }
    } finally {
      unsubscribe();
      signal.removeEventListener('abort', ring);
    }
  }

  /** Ends the lease, so that all others learn at once that we are gone. Never rejects; given up after REVOKE_MS_MAX. */
  async withdraw(): Promise<void> {
    const lease = this.#lease;
    if (lease === undefined) return;
    this.#lease = undefined;
    const { api, environment } = this.#parts;
    const abort = new AbortController();
    const timer = environment.clock.after(REVOKE_MS_MAX, () => abort.abort());
    try {
      await api.revoke(lease, abort.signal);
    } catch (thrown) {
      const reason = messageOf(thrown);
      environment.logger.warn({ reason }, 'this gateway stays registered in etcd until its lease ends');
    } finally {
      timer.cancel();
    }
  }

  /** Does what is due; resolves with the milliseconds until the next time. */
  async #beat(signal: AbortSignal): Promise<number> {
    const { environment, stream } = this.#parts;
    try {
      const wanted = this.#wanted();
      const problem = wanted === undefined ? this.#unknown() : await this.#register(wanted, signal);
      stream.lastEventMs = environment.clock.wallMs();
      this.#backoff.reset();
      this.#tell(problem);
      return this.#beatMs;
    } catch (thrown) {
      if (signal.aborted) return 0;
      this.#tell(messageOf(thrown));
      return this.#backoff.next();
    }
  }

  /** Undefined while our address is not known: what was announced before stays, since it may well come back. */
  #wanted(): Wanted | undefined {
    const { cluster, name, address, cidrs } = this.#parts.environment.own.current;
    if (address === undefined) return undefined;
    const { prefix, weight } = this.#parts;
    const value = encodeRecord({ address, weight, cidrs });
    return { key: recordKey(prefix, cluster, name), name: `${cluster}/${name}`, address, value };
  }

  #unknown(): string {
    return 'this gateway is not announced: its underlay address is not known yet';
  }

  /** The problem that keeps us from it, or undefined. Throws what only needs another try. */
  async #register(wanted: Wanted, signal: AbortSignal): Promise<string | undefined> {
    const { api } = this.#parts;
    const bytes = Buffer.byteLength(wanted.value);
    if (bytes > RECORD_BYTES_MAX)
      return `this gateway is not announced: its CIDRs take ${bytes} bytes, etcd takes ${RECORD_BYTES_MAX}`;
    await this.#keepLease(signal);
    if (this.#held !== undefined && this.#held !== wanted.key) {
      await api.deleteOf(this.#held, this.#lease!, signal);
      this.#held = undefined;
    }
    for (let tries = 0; tries < WRITE_TRIES; tries++) {
      const found = await api.get(wanted.key, signal);
      const isOurs = found !== undefined && found.lease === this.#lease;
      if (isOurs && found.value === wanted.value) return this.#hold(wanted);
      if (found !== undefined && !isOurs) {
        const problem = this.#isTaken(wanted, found);
        if (problem !== undefined) return problem;
      }
      if (await this.#write(wanted, found, signal)) return this.#hold(wanted);
    }
    throw new EtcdError(`${wanted.key} is written by somebody else all the time`, { passing: true });
  }

  async #keepLease(signal: AbortSignal): Promise<void> {
    const { api, leaseMs } = this.#parts;
    if (this.#lease !== undefined && (await api.keepAlive(this.#lease, signal))) return;
    // The record went with the lease, or belongs to whoever has taken the name since.
    this.#held = undefined;
    this.#lease = undefined;
    this.#lease = await api.grant(Math.max(LEASE_SECONDS_MIN, Math.ceil(leaseMs / 1000)), signal);
  }

  /**
   * Why a record that is not under our lease is not ours to replace. One with our own address was left by the process before us. But once
   * this process has held the name, one with our address is that of a second process that was given the same: two that each replace the other
   * would never end.
   */
  #isTaken(wanted: Wanted, found: EtcdEntry): string | undefined {
    const record = decodeRecord(this.#parts.prefix, found.key, found.value);
    const isReadable = record !== undefined && !isMalformed(record);
    if (found.lease === '0' && !isReadable) return undefined;
    if (isReadable && record.address === wanted.address && this.#held === undefined) return undefined;
    const who = isReadable
      ? `a gateway at ${formatAddress(record.address)}`
      : 'somebody whose record cannot be read';
    const until = found.lease === '0' ? 'delete it there' : 'this one takes over when it is gone';
    return `this gateway is not announced: the name ${wanted.name} is taken by ${who}; give one of the two another name (cluster.gateway), or ${until}`;
  }

  async #write(wanted: Wanted, found: EtcdEntry | undefined, signal: AbortSignal): Promise<boolean> {
    const { key, value } = wanted;
    const { api, stream } = this.#parts;
    const written = await api.putIf(
      { key, value, lease: this.#lease!, modRevision: found?.modRevision ?? 0 },
      signal,
    );
    if (written) stream.events++;
    return written;
  }

  #hold({ key }: Wanted): undefined {
    this.#held = key;
  }

  #tell(problem: string | undefined): void {
    const { stream, environment } = this.#parts;
    const { logger } = environment;
    const { source } = stream;
    stream.phase = problem === undefined ? 'watching' : 'waiting';
    stream.objects = this.#held === undefined ? 0 : 1;
    stream.problem = problem ?? null;
    if (problem !== undefined) stream.errors++;
    if (stream.problem === this.#told) return;
    this.#told = stream.problem;
    if (problem === undefined) logger.info({ source, key: this.#held }, 'this gateway is announced in etcd');
    else logger.warn({ source, problem }, 'this gateway is not announced in etcd as it should be');
  }
}
