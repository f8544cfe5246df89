import { isDeepStrictEqual } from 'node:util';
import type { Clock, Timer } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { type DeviceFacts, nearDevices } from './nat-devices.ts';
import type { NatProgram } from './nat-program.ts';
import { type NatWish, natTableName, nearScript, needsNat, removalScript, tableScript } from './nat-table.ts';

export interface NatSetup {
  /** The TUN device; the table is named after it. */
  readonly device: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** `runNft` of nat-program.ts. */
  readonly program: NatProgram;
  /** `readDeviceFacts` of nat-devices.ts. May throw. */
  readonly facts: (underlayDevice: string) => DeviceFacts;
  /** Calls `changed` whenever any device came, went or changed, until it is closed. May throw. */
  readonly watchLinks: (changed: () => void) => { close(): void };
  /** `release()` of node:os. */
  readonly kernel: string;
  /** One sentence on what is wrong, undefined when nothing is any more. Called only when that changes. */
  readonly onProblem: (problem: string | undefined) => void;
}

/** Pods come and go in bursts: one change of the set for all of them. */
const SETTLE_MS = 100;

/**
 * nftables tells only its own listeners of a flush, by a kind of netlink that the addon does not open; a listing takes 5 ms of another
 * core, 80 ms with 10,000 own CIDRs.
 */
export const NAT_CHECK_INTERVAL_MS = 10_000;

/**
 * Keeps our table of NAT rules in the kernel as wished, and puts it back when somebody flushes it. Touches no other table.
 *
 *     const nat = new NatRules({ device, clock, logger, program: runNft, kernel: release(),
 *       facts: (underlay) => readDeviceFacts(netlink, device, underlay), watchLinks, onProblem });
 *     nat.apply(wish);       after start, on reload, when own CIDRs or the underlay changed: as often as you like
 *     await nat.remove();    last; with tunnel.keepOnExit as well, since nothing would ever remove the rules of a gateway that is not started again
 *
 * A first `apply` removes what a predecessor that was killed left, also when nothing is wished.
 */
export class NatRules {
  readonly #setup: NatSetup;
  #wish: NatWish | undefined;
  /** What the kernel has from us: `near` may be changed by itself. */
  #done: { readonly wish: NatWish; readonly near: readonly string[]; readonly listing: string } | undefined;
  /** The table is known not to be there. */
  #isAbsent = false;
  #problem: string | undefined;
  #work: Promise<void> = Promise.resolve();
  #isDue = false;
  #isDrifted = false;
  #timer: Timer | undefined;
  #settling: Timer | undefined;
  #links: { close(): void } | undefined;
  #removed = false;

  constructor(setup: NatSetup) {
    this.#setup = setup;
  }

  /** Brings the rules to `wish`, soon: `settled` resolves then. Never throws; `onProblem` says what fails, and it is tried again. */
  apply(wish: NatWish): void {
    if (this.#removed) return;
    this.#wish = wish;
    this.#schedule();
  }

  #linksChanged(): void {
    if (this.#settling !== undefined || this.#removed) return;
    this.#settling = this.#setup.clock.after(SETTLE_MS, () => {
      this.#settling = undefined;
      this.#schedule();
    });
  }

  /** Resolves when what was asked for so far is done, or has failed. */
  get settled(): Promise<void> {
    return this.#work;
  }

  /** Removes the table and ends the watch over it. Never rejects; idempotent. */
  async remove(): Promise<void> {
    if (this.#removed) return this.#work;
    this.#removed = true;
    this.#timer?.cancel();
    this.#settling?.cancel();
    this.#links?.close();
    this.#work = this.#work.then(() => this.#delete());
    return this.#work;
  }

  /** One pass after another; what is asked for while one waits needs no second. */
  #schedule(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    this.#work = this.#work.then(async () => {
      this.#isDue = false;
      if (this.#removed) return;
      await this.#pass();
      // A check that is due stays due: wishes and pods that come every few seconds would put it off for ever.
      if (!this.#removed) this.#timer ??= this.#setup.clock.after(NAT_CHECK_INTERVAL_MS, () => this.#check());
    });
  }

  #check(): void {
    this.#timer = undefined;
    this.#isDrifted = true;
    this.#schedule();
  }

  /** Compares what the kernel has, where that was asked for, and brings it to the wish. */
  async #pass(): Promise<void> {
    const wish = this.#wish;
    if (wish === undefined) return;
    const mustCompare = this.#isDrifted;
    this.#isDrifted = false;
    if (!needsNat(wish)) {
      await this.#delete();
      return;
    }
    if (mustCompare && this.#done !== undefined && (await this.#list()) !== this.#done.listing) {
      this.#done = undefined;
      this.#setup.logger.warn(
        { table: natTableName(this.#setup.device) },
        'NAT rules were not as wanted; put back',
      );
    }
    try {
      await this.#write(wish);
    } catch (thrown) {
      this.#note(`NAT rules for services are not in force: ${messageOf(thrown)}`);
    }
  }

  async #write(wish: NatWish): Promise<void> {
    const { device, facts, watchLinks, logger } = this.#setup;
    if (this.#removed) return;
    // Before they are read, so that none falls between.
    this.#links ??= watchLinks(() => this.#linksChanged());
    const near = nearDevices(facts(wish.underlayDevice));
    const done = this.#done;
    const isSameWish = done !== undefined && isDeepStrictEqual(done.wish, wish);
    if (isSameWish && isDeepStrictEqual(done.near, near)) return;
    this.#isAbsent = false;
    this.#done = undefined;
    // The smaller change fails where somebody has removed the table meanwhile.
    let failure = isSameWish ? await this.#run(nearScript(device, near)) : 'not there yet';
    if (failure !== undefined) failure = await this.#run(tableScript(device, wish, near));
    if (failure !== undefined) throw new Error(failure);
    this.#done = { wish, near, listing: await this.#list() };
    const { masquerade, keepSource } = wish;
    logger[isSameWish ? 'debug' : 'info'](
      {
        table: natTableName(device),
        masquerade,
        keepSource,
        services: wish.services.length,
        near: near.length,
      },
      'NAT rules are in force',
    );
    this.#note(this.#oldKernel(wish));
  }

  /** Returns what failed. */
  async #run(script: string): Promise<string | undefined> {
    const outcome = await this.#setup.program(['-f', '-'], script);
    return 'failure' in outcome ? outcome.failure : undefined;
  }

  /** `-s` leaves the counters out. A failure gives a text of its own: no table. */
  async #list(): Promise<string> {
    const outcome = await this.#setup.program(
      ['-s', 'list', 'table', 'ip', natTableName(this.#setup.device)],
      '',
    );
    return 'failure' in outcome ? outcome.failure : outcome.output;
  }

  /** Without the program there was nothing that could have made the table. */
  async #delete(): Promise<void> {
    if (this.#isAbsent) return;
    const hadRules = this.#done !== undefined;
    this.#done = undefined;
    const failure = await this.#run(removalScript(this.#setup.device));
    this.#isAbsent = failure === undefined;
    if (failure !== undefined && hadRules)
      this.#note(`NAT rules that are no longer wanted cannot be removed: ${failure}`);
    else this.#note(undefined);
  }

  /** The kernel tells a chain after routing which device a packet came in by from Linux 5.7 on; before, the rule never matches. */
  #oldKernel(wish: NatWish): string | undefined {
    if (wish.services.length === 0) return undefined;
    const [major = 0, minor = 0] = this.#setup.kernel.split('.').map(Number);
    return major > 5 || (major === 5 && minor >= 7)
      ? undefined
      : `services.masquerade needs Linux 5.7, this is ${this.#setup.kernel}: kube-proxy's own rules decide on the source of connections to services`;
  }

  #note(problem: string | undefined): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    if (problem !== undefined) this.#setup.logger.error({}, problem);
    this.#setup.onProblem(problem);
  }
}
