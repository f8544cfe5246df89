import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';

/** An HTTP proxy that knows CONNECT and nothing else. */
export class FakeProxy {
  /** host:port of each tunnel that was asked for. */
  readonly targets: string[] = [];
  /** What `Proxy-Authorization` has to be. */
  authorization: string | undefined;
  /** Answers this instead of 200 when set. */
  refuseWith: number | undefined;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor() {
    this.#server = createServer((_request, response) => {
      response.writeHead(405);
      response.end();
    });
    this.#server.on('connect', (request, client: Socket) => {
      this.targets.push(request.url ?? '');
      this.#keep(client);
      const refused =
        this.authorization !== undefined && request.headers['proxy-authorization'] !== this.authorization;
      const status = refused ? 407 : this.refuseWith;
      if (status !== undefined) {
        client.end(`HTTP/1.1 ${status} Refused\r\n\r\n`);
        return;
      }
      const [host = '', port = '0'] = (request.url ?? '').split(':');
      const server = connect(Number(port), host, () => {
        client.write('HTTP/1.1 200 Connection established\r\n\r\n');
        client.pipe(server).pipe(client);
      });
      this.#keep(server);
      client.on('close', () => server.destroy());
      server.on('close', () => client.destroy());
    });
  }

  static async start(): Promise<FakeProxy> {
    const proxy = new FakeProxy();
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    this.#server.closeAllConnections();
    await closed;
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
  }
}
