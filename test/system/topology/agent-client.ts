import { fileURLToPath } from 'node:url';
import type { AgentCommands } from './agent-commands.ts';
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

/** The test's end of an agent: a Node process in a machine's namespace that makes and checks traffic. */
export class Agent {
  static readonly PROGRAM = fileURLToPath(new URL('./agent.js', import.meta.url));
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

  call<C extends keyof AgentCommands>(
    command: C,
    request: AgentCommands[C]['request'],
  ): Promise<AgentCommands[C]['answer']> {
    const id = this.#nextId++;
    const answer = new Promise<AgentCommands[C]['answer']>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (answer: unknown) => void, reject });
      this.daemon.child.send({ id, command, request }, (error) => {
        if (error !== null) this.#settle({ id, error: error.message });
      });
    });
    // A test that fails while a series still runs never awaits it, and its end must not hide why the test failed.
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
