import type { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { connect, isIPv6, type Socket } from 'node:net';
import { GatewayError, messageOf } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';
import { monotonicNs } from '../load/monotonic.ts';
import { LineReader } from './line-reader.ts';
import {
  ALIVE_MS,
  ANSWER_BYTES_MAX,
  ANSWERS,
  greetingSchema,
  LOST_MS,
  PROTOCOL_VERSION,
  ProtocolError,
  type RemoteAnswer,
  type RemoteCommand,
  type RemoteRequest,
  readAs,
  readJson,
  refusedSchema,
  replySchema,
  type Welcome,
  welcomeSchema,
} from './protocol.ts';
import { proofOf } from './token.ts';

export interface ClientOptions {
  /** An IPv4 address or a name that has one. */
  readonly host: string;
  readonly port: number;
  readonly token: string | null;
  /** What connections that belong together have in common. */
  readonly session: string;
}

/** The clock of the other end as we see it, in whole nanoseconds. */
export interface ClockReading {
  /** To add to a moment of ours. */
  readonly offsetNs: number;
  /** Of the control connection, at its fastest. */
  readonly roundTripNs: number;
}

interface Waiting {
  readonly command: RemoteCommand;
  resolve(answer: never): void;
  reject(error: Error): void;
}

const CONNECT_MS = 5000;
/** Of these the fastest is used: it has waited the least in queues, in either direction. */
const CLOCK_READINGS = 5;

/**
 * Our end of a connection to `isthmus bench serve`. Every failure is an ISTHMUS_ERR_BENCH that names the other end; once the connection
 * is lost, so is every call.
 */
export class BenchClient {
  readonly name: string;
  readonly #socket: Socket;
  readonly #options: ClientOptions;
  readonly #lines = new LineReader(ANSWER_BYTES_MAX);
  readonly #calls = new Map<number, Waiting>();
  readonly #welcomed: Promise<Welcome>;
  #settleWelcome!: { resolve(welcome: Welcome): void; reject(error: Error): void };
  #welcome: Welcome | undefined;
  #state: 'greeting' | 'hello' | 'calls' = 'greeting';
  #hasHeard = false;
  #nextId = 1;
  #alive: NodeJS.Timeout | undefined;
  readonly #lost = new AbortController();
  #failure: GatewayError | undefined;

  private constructor(socket: Socket, options: ClientOptions) {
    this.name = `${options.host}:${options.port}`;
    this.#socket = socket;
    this.#options = options;
    this.#welcomed = new Promise((resolve, reject) => {
      this.#settleWelcome = { resolve, reject };
    });
    // Awaited only once it is connected; it may fail before.
    this.#welcomed.catch(() => {});
    socket.setNoDelay(true);
    socket.setTimeout(CONNECT_MS, () => this.#fail('no answer'));
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('error', (error) => this.#fail(messageOf(error)));
    socket.on('close', () => this.#fail('the other end closed the connection'));
  }

  /** Connects and says hello. */
  static async connect(options: ClientOptions): Promise<BenchClient> {
    if (isIPv6(options.host)) {
      throw new GatewayError(
        'ISTHMUS_ERR_USAGE',
        `${options.host}: test traffic is IPv4; give an IPv4 address`,
      );
    }
    const socket = connect({ host: options.host, port: options.port, family: 4 });
    const client = new BenchClient(socket, options);
    client.#welcome = await client.#welcomed;
    socket.setTimeout(LOST_MS, () => client.#fail(`nothing heard for ${LOST_MS} ms`));
    client.#alive = setInterval(() => void client.call('clock', {}).catch(() => {}), ALIVE_MS);
    return client;
  }

  get welcome(): Welcome {
    return this.#welcome!;
  }

  /** The other end as text: where our traffic goes. */
  get address(): string {
    return this.#socket.remoteAddress!;
  }

  /** Why the connection is of no use any more; undefined while it is. */
  get failure(): GatewayError | undefined {
    return this.#failure;
  }

  /** Aborts when the connection is of no use any more. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  call<C extends RemoteCommand>(command: C, request: RemoteRequest<C>): Promise<RemoteAnswer<C>> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const id = this.#nextId++;
    const answer = new Promise<RemoteAnswer<C>>((resolve, reject) => {
      this.#calls.set(id, { command, resolve, reject });
    });
    // One of two that belong together may fail while the other is still awaited.
    answer.catch(() => {});
    this.#say({ id, command, request });
    return answer;
  }

  /** As if both directions took equally long; by half a round trip it can be wrong. */
  async readClock(): Promise<ClockReading> {
    let best: ClockReading = { offsetNs: 0, roundTripNs: Number.POSITIVE_INFINITY };
    for (let reading = 0; reading < CLOCK_READINGS; reading++) {
      const before = monotonicNs();
      const { ns } = await this.call('clock', {});
      const roundTripNs = monotonicNs() - before;
      if (roundTripNs < best.roundTripNs) {
        best = { roundTripNs, offsetNs: Math.round(ns - before - roundTripNs / 2) };
      }
    }
    return best;
  }

  /** Leaves; the server ends the session. */
  async close(): Promise<void> {
    const closed = this.#socket.destroyed ? undefined : once(this.#socket, 'close');
    this.#fail('closed');
    await closed;
  }

  #take(chunk: Buffer): void {
    this.#hasHeard = true;
    try {
      for (const line of this.#lines.take(chunk)) this.#takeLine(readJson(line));
    } catch (error) {
      this.#fail(messageOf(error));
    }
  }

  #takeLine(message: unknown): void {
    const refused = refusedSchema.safeParse(message);
    if (refused.success) this.#fail(`refused: ${printable(refused.data.refused)}`);
    if (this.#failure !== undefined) return;
    if (this.#state === 'greeting') this.#takeGreeting(message);
    else if (this.#state === 'hello') {
      const { welcome } = readAs(welcomeSchema, message, 'welcome');
      this.#state = 'calls';
      this.#settleWelcome.resolve(welcome);
    } else this.#takeReply(message);
  }

  #takeGreeting(message: unknown): void {
    const { version, challenge, needsToken } = readAs(greetingSchema, message, 'greeting');
    const { token, session } = this.#options;
    if (version !== PROTOCOL_VERSION) {
      throw new ProtocolError(
        `version ${version} of the protocol, here it is ${PROTOCOL_VERSION}; use the same isthmus on both sides`,
      );
    }
    if (needsToken && token === null) throw new ProtocolError('a token is needed: --token-file');
    this.#state = 'hello';
    this.#say({ version, session, proof: token === null ? null : proofOf(token, challenge, session) });
  }

  #takeReply(message: unknown): void {
    const reply = readAs(replySchema, message, 'reply');
    const call = this.#calls.get(reply.id);
    if (call === undefined) return;
    this.#calls.delete(reply.id);
    if ('error' in reply) call.reject(new GatewayError('ISTHMUS_ERR_BENCH', `${this.name}: ${reply.error}`));
    else {
      try {
        call.resolve(readAs<unknown>(ANSWERS[call.command], reply.answer, call.command) as never);
      } catch (error) {
        call.reject(new GatewayError('ISTHMUS_ERR_BENCH', `${this.name}: ${messageOf(error)}`));
      }
    }
  }

  #say(message: object): void {
    this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  #fail(reason: string): void {
    if (this.#failure !== undefined) return;
    const what = this.#state === 'calls' ? 'the connection is lost' : 'cannot begin';
    const hint = this.#hasHeard ? '' : '; does isthmus bench serve run there, and is the port open?';
    this.#failure = new GatewayError('ISTHMUS_ERR_BENCH', `${this.name}: ${what}: ${reason}${hint}`);
    clearInterval(this.#alive);
    this.#socket.destroy();
    this.#settleWelcome.reject(this.#failure);
    for (const { reject } of this.#calls.values()) reject(this.#failure);
    this.#calls.clear();
    this.#lost.abort();
  }
}
