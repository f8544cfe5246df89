import { Daemon } from './daemon.ts';

interface Reply {
  readonly id: number;
  readonly answer?: unknown;
  readonly error?: string;
}

interface Waiting {
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

/** What an agent can be asked: for each command what goes in and what comes out. Both travel as JSON. */
export type CommandTable<C> = {
  readonly [K in keyof C]: { readonly request: unknown; readonly answer: unknown };
};

/** A program that answers the commands of `C` over its IPC channel, after `{ id: 0 }` to say that it is ready. */
export interface AgentProgram<C> {
  /** The compiled file that Node runs. */
  readonly file: string;
  /** For the type only; never there. */
  readonly commands?: C;
}

/** Our end of an agent: a Node process, mostly in a machine's namespace, that makes and checks traffic. */
export class Agent<C extends CommandTable<C>> {
  readonly daemon: Daemon;
  /** Resolves when the agent takes commands. */
  readonly ready: Promise<unknown>;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;

  constructor(name: string, command: readonly string[]) {
    this.daemon = new Daemon(name, command, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    this.ready = new Promise((resolve, reject) => this.#waiting.set(0, { resolve, reject }));
    this.daemon.child.on('message', (message) => this.#settle(message as Reply));
    void this.daemon.exited.then((status) =>
      this.#fail(`${name} ended with ${status}:\n${this.daemon.log()}`),
    );
  }

  call<K extends keyof C & string>(command: K, request: C[K]['request']): Promise<C[K]['answer']> {
    const id = this.#nextId++;
    const answer = new Promise<C[K]['answer']>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (answer: unknown) => void, reject });
      this.daemon.child.send({ id, command, request }, (error) => {
        if (error !== null) this.#settle({ id, error: error.message });
      });
    });
    // Who fails while a series still runs never awaits it, and its end must not hide the failure.
    answer.catch(() => {});
    return answer;
  }

  /** Ends the agent and whatever it had open. */
  async close(): Promise<void> {
    await this.daemon.kill('SIGKILL');
  }

  #settle(reply: Reply): void {
    const waiting = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if (reply.error !== undefined) waiting?.reject(new Error(`${this.daemon.name}: ${reply.error}`));
    else waiting?.resolve(reply.answer);
  }

  #fail(message: string): void {
    for (const { reject } of this.#waiting.values()) reject(new Error(message));
    this.#waiting.clear();
  }
}
