import { connect, createServer, type Server, type Socket } from 'node:net';

/** A way to etcd that a test can cut, or on which watches fall silent, as happens between two machines. */
export class EtcdRelay {
  readonly #target: URL;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  /** The etcd side of connections that carry a watch. */
  readonly #watches = new Set<Socket>();
  #server: Server | undefined;
  #port = 0;

  private constructor(target: string) {
    this.#target = new URL(target);
  }

  static async to(target: string): Promise<EtcdRelay> {
    const relay = new EtcdRelay(target);
    await relay.restore();
    return relay;
  }

  get endpoint(): string {
    return `${this.#target.protocol}//127.0.0.1:${this.#port}`;
  }

  /** Connections end, and nobody answers at the port. */
  async cut(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
    await new Promise((resolve) => (server === undefined ? resolve(undefined) : server.close(resolve)));
  }

  /** Watches that run stay connected and are told nothing more. All else is as before. */
  silenceWatches(): void {
    for (const far of this.#watches) far.unpipe().resume();
  }

  async restore(): Promise<void> {
    if (this.#server !== undefined) return;
    const server = createServer((near) => this.#join(near));
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#port, '127.0.0.1', () => resolve());
    });
    this.#port = (server.address() as { port: number }).port;
  }

  #join(near: Socket): void {
    const far = connect(Number(this.#target.port), this.#target.hostname);
    const pair = [near, far] as const;
    this.#pairs.add(pair);
    near.pipe(far);
    // A watch has a connection of its own and is the first thing on it.
    near.once('data', (head) => {
      if (head.includes('POST /v3/watch ')) this.#watches.add(far);
    });
    far.pipe(near);
    const end = (): void => {
      this.#pairs.delete(pair);
      this.#watches.delete(far);
      near.destroy();
      far.destroy();
    };
    for (const socket of pair) socket.on('error', end).on('close', end);
  }
}
