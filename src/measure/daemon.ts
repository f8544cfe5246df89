import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

/** Lines kept of what a process wrote: enough for the story of a failed test. */
const LOG_LINES_MAX = 2000;

/** A process that runs beside the test: its output is kept, and it is ended when the topology closes. */
export class Daemon {
  readonly name: string;
  readonly child: ChildProcess;
  /** Resolves with the exit status, or the signal's name, once the process is gone and its output read. */
  readonly exited: Promise<number | NodeJS.Signals>;
  readonly #lines: string[] = [];
  readonly #stdout: string[] = [];
  #running = true;

  constructor(name: string, command: readonly string[], options: SpawnOptions) {
    this.name = name;
    this.child = spawn(command[0]!, command.slice(1), {
      ...options,
      stdio: options.stdio ?? ['ignore', 'pipe', 'pipe'],
    });
    this.#keep(this.child.stdout, this.#stdout);
    this.#keep(this.child.stderr);
    this.exited = new Promise((resolve) => {
      this.child.once('error', (error) => {
        this.#lines.push(`could not be started: ${error.message}`);
        this.#running = false;
        resolve(127);
      });
      this.child.once('close', (status, signal) => {
        this.#running = false;
        resolve(signal ?? status ?? 1);
      });
    });
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error(`${this.name} was not started: ${this.log()}`);
    return this.child.pid;
  }

  get isRunning(): boolean {
    return this.#running;
  }

  /** Everything it wrote to stdout and stderr, in the order it arrived. */
  log(): string {
    return this.#lines.join('\n');
  }

  stdout(): string {
    return this.#stdout.join('\n');
  }

  /** Sends a signal and waits for the end. */
  async kill(signal: NodeJS.Signals): Promise<number | NodeJS.Signals> {
    if (this.#running) this.child.kill(signal);
    return this.exited;
  }

  #keep(stream: Readable | null, also?: string[]): void {
    if (stream === null) return;
    createInterface({ input: stream }).on('line', (line) => {
      this.#lines.push(line);
      also?.push(line);
      if (this.#lines.length > LOG_LINES_MAX) this.#lines.shift();
    });
  }
}
