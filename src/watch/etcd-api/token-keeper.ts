import { type EtcdAccess, secretText } from './access.ts';
import { EtcdError } from './error.ts';
import { Refusal, type Transport } from './transport.ts';
import { shaped } from './wire.ts';

/** The token of our user, asked for when it is first needed and again when etcd has forgotten it (restart, 300 s unused). */
export class TokenKeeper {
  readonly #access: EtcdAccess;
  readonly #transport: Transport;
  #token: string | undefined;
  /** etcd answered that it asks nobody for a name. */
  #unneeded = false;
  #asking: Promise<void> | undefined;

  constructor(access: EtcdAccess, transport: Transport) {
    this.#access = access;
    this.#transport = transport;
  }

  get hasUser(): boolean {
    return this.#access.username !== undefined;
  }

  /** The token to send; undefined where there is no user, or etcd asks for none. */
  async token(endpoint: string): Promise<string | undefined> {
    if (!this.hasUser || this.#unneeded || this.#token !== undefined) return this.#token;
    // One for all that wait: etcd spends 0.1 s of a core on each (bcrypt).
    this.#asking ??= this.#authenticate(endpoint).finally(() => {
      this.#asking = undefined;
    });
    await this.#asking;
    return this.#token;
  }

  /** It is asked for anew the next time, unless somebody has got a newer one than `stale` meanwhile. */
  forget(stale: string | undefined = this.#token): void {
    if (this.#token === stale) this.#token = undefined;
    this.#unneeded = false;
  }

  async #authenticate(endpoint: string): Promise<void> {
    const { username = '', password = '' } = this.#access;
    const body = JSON.stringify({ name: username, password: secretText(password) });
    // Without the signal of whoever asked first: the others wait for the same token.
    const answer = await this.#transport.unary({
      ...{ endpoint, path: '/v3/auth/authenticate', body },
      ...{ token: undefined, signal: undefined },
    });
    if (!(answer instanceof Refusal)) {
      this.#token = shaped('token', answer).token;
    } else if (/authentication is not enabled/.test(answer.message)) {
      this.#unneeded = true;
    } else {
      const passing = answer.status >= 500;
      throw new EtcdError(`as user "${username}": ${answer.status} ${answer.message}`, {
        ...{ status: answer.status, passing },
      });
    }
  }
}

/** Whether another token would help. */
export function isTokenTrouble({ status, message }: { status?: number; message: string }): boolean {
  return (
    status === 401 || /invalid auth token|user name is empty|revision of auth store is old/.test(message)
  );
}
