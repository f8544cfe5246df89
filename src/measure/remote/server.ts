import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { GatewayError, messageOf } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';
import { describeMachine } from '../describe.ts';
import { LineReader } from './line-reader.ts';
import { type Load, startLoad } from './load-process.ts';
import {
  CHALLENGE_BYTES,
  helloOfVersion1Schema,
  helloSchema,
  LINE_BYTES_MAX,
  LOST_MS,
  PROTOCOL_VERSION,
  ProtocolError,
  readAs,
  readCall,
  readJson,
} from './protocol.ts';
import { Session } from './session.ts';
import { isProof } from './token.ts';

export interface BenchServerOptions {
  /** An IPv4 address of this host, or 0.0.0.0. */
  readonly host: string;
  readonly port: number;
  /** Null: whoever can connect may measure. */
  readonly token: string | null;
  /** Ends after the first session. */
  readonly once: boolean;
  readonly program: string;
  readonly log: (line: string) => void;
  readonly start?: () => Promise<Load>;
}

/** Of a session there are two at most; the others wait to be told that one runs. */
const CONNECTIONS_MAX = 16;
/** Nobody keeps a place without saying hello. */
const HELLO_MS = 5000;
/** Answers that a controller does not read are not kept for it. */
const UNREAD_BYTES_MAX = 1 << 20;
/** A message of a failed socket or of a stranger, as far as it is repeated. */
const REASON_CHARACTERS_MAX = 300;

/** The far side of `isthmus bench run`: serves one controller at a time, and goes on whatever a connection does. */
export class BenchServer {
  /** Resolves when the server has ended: after `close`, or after the first session with `once`. */
  readonly ended: Promise<unknown>;
  readonly #options: BenchServerOptions;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  #session: Session | undefined;

  private constructor(options: BenchServerOptions) {
    this.#options = options;
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.maxConnections = CONNECTIONS_MAX;
    this.ended = new Promise((resolve) => this.#server.once('close', resolve));
  }

  static async listen(options: BenchServerOptions): Promise<BenchServer> {
    const server = new BenchServer(options);
    try {
      server.#server.listen({ host: options.host, port: options.port });
      await once(server.#server, 'listening');
      // Out of file descriptors, say: this connection is lost, the next may come.
      server.#server.on('error', (error) => options.log(`accept: ${messageOf(error)}`));
    } catch (error) {
      throw new GatewayError(
        'ISTHMUS_ERR_BENCH',
        `cannot listen on ${options.host}:${options.port}: ${messageOf(error)}`,
      );
    }
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get options(): BenchServerOptions {
    return this.#options;
  }

  async close(): Promise<void> {
    this.#server.close();
    for (const connection of this.#connections) connection.end();
    await this.#endSession();
    await this.ended;
  }

  /** The session of a controller, at once: a connection that is lost before it is ready ends it too. Throws why it gets none. */
  join(id: string, owner: string): Session {
    if (this.#session !== undefined && this.#session.id !== id) {
      throw new ProtocolError(`another session runs, of ${this.#session.owner}; try again when it is over`);
    }
    if (this.#session === undefined) {
      this.#session = new Session(id, owner, this.port + 1, this.#options.start ?? startLoad);
      this.#options.log(`${owner}: session begins`);
    }
    return this.#session;
  }

  /** Any connection of a session that is lost ends all of it: its controller counts on both. */
  left(connection: Connection): void {
    this.#connections.delete(connection);
    const { session } = connection;
    if (session === undefined || session !== this.#session) return;
    for (const other of this.#connections) if (other.session === session) other.end();
    void this.#endSession();
  }

  async #endSession(): Promise<void> {
    const session = this.#session;
    if (session === undefined) return;
    await session.end();
    // Only now: the next session's agent takes the same port for traffic.
    if (this.#session !== session) return;
    this.#session = undefined;
    this.#options.log(`${session.owner}: session over, ${session.measurements} commands`);
    if (!this.#options.once) return;
    this.#server.close();
    for (const other of this.#connections) other.end();
  }

  #accept(socket: Socket): void {
    this.#connections.add(new Connection(this, socket));
  }
}

/** One connection: greeting, hello, then calls until it ends. */
class Connection {
  session: Session | undefined;
  readonly #server: BenchServer;
  readonly #socket: Socket;
  readonly #address: string;
  readonly #name: string;
  readonly #lines = new LineReader(LINE_BYTES_MAX);
  readonly #challenge = randomBytes(CHALLENGE_BYTES).toString('hex');
  #state: 'hello' | 'joining' | 'calls' | 'over' = 'hello';

  constructor(server: BenchServer, socket: Socket) {
    this.#server = server;
    this.#socket = socket;
    this.#address = socket.remoteAddress ?? '';
    this.#name = `${this.#address}:${socket.remotePort}`;
    const hello = setTimeout(() => this.#refuse(`no hello within ${HELLO_MS} ms`), HELLO_MS);
    socket.setNoDelay(true);
    socket.setTimeout(LOST_MS, () => this.#lost(`nothing heard for ${LOST_MS} ms`));
    socket.on('data', (chunk) => this.#take(chunk));
    // Its end comes as 'close' as well.
    socket.on('error', () => {});
    socket.on('close', () => {
      clearTimeout(hello);
      this.#state = 'over';
      server.left(this);
    });
    const needsToken = server.options.token !== null;
    this.#say({ isthmus: 'bench', version: PROTOCOL_VERSION, challenge: this.#challenge, needsToken });
    this.#helloTimer = hello;
  }

  readonly #helloTimer: NodeJS.Timeout;

  end(): void {
    this.#state = 'over';
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    try {
      for (const line of this.#lines.take(chunk)) this.#takeLine(line);
    } catch (error) {
      this.#refuse(messageOf(error));
    }
  }

  #takeLine(line: string): void {
    if (this.#state === 'hello') {
      clearTimeout(this.#helloTimer);
      this.#state = 'joining';
      void this.#join(line);
    } else if (this.#state === 'joining') throw new ProtocolError('a request before the welcome');
    else if (this.#state === 'calls') void this.#answer(line);
  }

  async #join(line: string): Promise<void> {
    try {
      this.session = this.#server.join(this.#admit(line), this.#name);
      await this.session.ready();
      // The connection may have ended while the load agent was started.
      if (this.#state !== 'joining') return;
      this.#state = 'calls';
      const { program } = this.#server.options;
      const machine = describeMachine();
      this.#say({ welcome: { program, trafficPort: this.#server.port + 1, machine } });
    } catch (error) {
      this.#refuse(messageOf(error));
    }
  }

  /** The session of a hello that is right; throws what is wrong with it. */
  #admit(line: string): string {
    let value: unknown;
    let version: number;
    try {
      value = readJson(line);
      ({ version } = readAs(helloSchema, value, 'hello'));
    } catch {
      throw new ProtocolError('this is isthmus bench serve; expected the hello of isthmus bench run');
    }
    if (version !== PROTOCOL_VERSION) {
      throw new ProtocolError(
        `version ${version} of the protocol, here it is ${PROTOCOL_VERSION}; use the same isthmus on both sides`,
      );
    }
    const { session, proof } = readAs(helloOfVersion1Schema, value, 'hello');
    const { token } = this.#server.options;
    if (token === null) return session;
    if (proof === null) throw new ProtocolError('a token is needed here: --token-file');
    if (!isProof(token, this.#challenge, session, proof)) throw new ProtocolError('the token is wrong');
    return session;
  }

  async #answer(line: string): Promise<void> {
    try {
      const call = readCall(line);
      this.#say({ id: call.id, answer: await this.session!.answer(call, this.#address) });
    } catch (error) {
      if (error instanceof ProtocolError && error.id !== null) {
        this.#say({ id: error.id, error: shortened(error.message) });
      } else this.#refuse(messageOf(error));
    }
  }

  #refuse(reason: string): void {
    if (this.#state === 'over') return;
    this.#server.options.log(`${this.#name}: refused: ${printable(shortened(reason))}`);
    this.#say({ refused: shortened(reason) });
    this.#state = 'over';
    this.#socket.end();
    // Whoever does not close its end keeps no place either.
    this.#socket.setTimeout(HELLO_MS, () => this.#socket.destroy());
  }

  #lost(reason: string): void {
    this.#server.options.log(`${this.#name}: lost: ${reason}`);
    this.end();
  }

  #say(message: object): void {
    if (this.#state === 'over') return;
    if (this.#socket.writableLength > UNREAD_BYTES_MAX) this.#lost('answers are not read');
    else this.#socket.write(`${JSON.stringify(message)}\n`);
  }
}

function shortened(text: string): string {
  return text.length <= REASON_CHARACTERS_MAX ? text : `${text.slice(0, REASON_CHARACTERS_MAX)}…`;
}
