import { GatewayError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { HostProblem } from './sysctl.ts';

/** What is wrong now without stopping the gateway, for status and metrics; each is logged once, when it begins. */
export class ProblemLog {
  readonly #logger: Logger;
  readonly #failures = new Map<string, string>();
  #host: readonly HostProblem[] = [];

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Settings of the host that hinder forwarding. */
  get host(): readonly HostProblem[] {
    return this.#host;
  }

  /** Everything that is wrong, in sentences. */
  list(): string[] {
    return [...this.#host.map(({ message }) => message), ...this.#failures.values()];
  }

  has(what: string): boolean {
    return this.#failures.has(what);
  }

  /** `text`: what of a part fails, or undefined when it works (again). */
  note(what: string, text: string | undefined): void {
    if (text === undefined) {
      this.#failures.delete(what);
      return;
    }
    if (this.#failures.get(what) !== text) this.#logger.error({ what }, text);
    this.#failures.set(what, text);
  }

  /** All problems of the host there are. Throws ISTHMUS_ERR_KERNEL for a fatal one where that is wished. */
  setHost(problems: readonly HostProblem[], checks: 'enforce' | 'warn' | 'off', isStarting: boolean): void {
    const fatal = problems.find((problem) => problem.isFatal);
    if (checks === 'enforce' && fatal !== undefined && isStarting)
      throw new GatewayError('ISTHMUS_ERR_KERNEL', fatal.message);
    const known = new Set(this.#host.map((problem) => problem.message));
    const counted = checks === 'off' ? [] : problems;
    for (const problem of counted) {
      if (!known.has(problem.message)) this.#logger.error({ setting: problem.setting }, problem.message);
    }
    this.#host = counted;
  }
}
