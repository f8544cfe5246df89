import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { GatewayError, messageOf } from '../../base/errors.ts';
import { describeAccess, type KubernetesAccess } from './access.ts';
import { type Kubeconfig, type Material, parseKubeconfig, parseKubeconfigFile } from './kubeconfig.ts';
import { environmentProxy } from './proxy.ts';

/** Where the kubelet mounts what a pod needs. */
export const SERVICE_ACCOUNT_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * Files are looked at again at most this often. A bound token is replaced when 80 % of its hour are over and stays valid for the rest, so
 * minutes would do; but an administrator who replaces a file by hand is watching.
 */
export const CREDENTIALS_CHECK_MS = 10_000;

/** All that a connection needs, read from wherever it is kept. */
export interface Credentials {
  /** URL without a slash at the end. */
  readonly server: string;
  readonly ca: string | undefined;
  readonly certificate: string | undefined;
  readonly key: string | undefined;
  readonly tlsServerName: string | undefined;
  readonly insecureSkipTlsVerify: boolean;
  readonly proxyUrl: string | undefined;
  /** Authorization and impersonation. */
  readonly headers: Readonly<Record<string, string | string[]>>;
}

export interface CredentialSurroundings {
  readonly environment: NodeJS.ProcessEnv;
  readonly serviceAccountFolder: string;
}

/** Reads the credentials of one access, and again when a file that they came from has changed. */
export class CredentialStore {
  readonly #access: KubernetesAccess;
  readonly #surroundings: CredentialSurroundings;
  readonly #clock: Clock;
  #current: Credentials | undefined;
  #files = new Map<string, string>();
  #checkedMs = Number.NEGATIVE_INFINITY;
  #loading: Promise<Credentials> | undefined;

  constructor(access: KubernetesAccess, surroundings: CredentialSurroundings, clock: Clock) {
    this.#access = access;
    this.#surroundings = surroundings;
    this.#clock = clock;
  }

  /** As last read; undefined before the first time. */
  get current(): Credentials | undefined {
    return this.#current;
  }

  /**
   * The credentials as they are now. Throws ISTHMUS_ERR_KUBERNETES when they cannot be read for the first time; later the last good ones
   * stay, because a file that is being replaced is whole again in a moment and the server tells soon enough that they are too old.
   */
  async get(): Promise<Credentials> {
    if (this.#current !== undefined && this.#clock.nowMs() - this.#checkedMs < CREDENTIALS_CHECK_MS)
      return this.#current;
    if (this.#current !== undefined && !(await this.#changed())) return this.#current;
    try {
      return await this.reload();
    } catch (thrown) {
      if (this.#current === undefined) throw thrown;
      return this.#current;
    }
  }

  /** Reads everything again. Throws ISTHMUS_ERR_KUBERNETES naming file and field. Callers at the same time share one reading. */
  async reload(): Promise<Credentials> {
    this.#loading ??= this.#load().finally(() => {
      this.#loading = undefined;
    });
    return await this.#loading;
  }

  async #changed(): Promise<boolean> {
    this.#checkedMs = this.#clock.nowMs();
    for (const [path, mark] of this.#files) if ((await markOf(path)) !== mark) return true;
    return false;
  }

  async #load(): Promise<Credentials> {
    // Marks are taken before the files are read: a change in between is seen at the next check.
    const files = new Map<string, string>();
    const read = async (path: string): Promise<string> => {
      files.set(path, await markOf(path));
      try {
        return await readFile(path, 'utf8');
      } catch (cause) {
        throw new GatewayError(
          'ISTHMUS_ERR_KUBERNETES',
          `credentials of ${describeAccess(this.#access)}: ${messageOf(cause)}`,
          { cause },
        );
      }
    };
    const config = await this.#config(read);
    const material = async (from: Material | undefined): Promise<string | undefined> =>
      from?.kind === 'file' ? await read(from.path) : from?.text;
    const token = (await material(config.token))?.trim();
    const next: Credentials = {
      server: config.server,
      ca: await material(config.ca),
      certificate: await material(config.clientCertificate?.certificate),
      key: await material(config.clientCertificate?.key),
      tlsServerName: config.tlsServerName,
      insecureSkipTlsVerify: config.insecureSkipTlsVerify,
      proxyUrl: config.proxyUrl || environmentProxy(new URL(config.server), this.#surroundings.environment),
      headers: { ...config.impersonation, ...authorization(token, config.basic) },
    };
    this.#files = files;
    this.#checkedMs = this.#clock.nowMs();
    this.#current = next;
    return next;
  }

  async #config(read: (path: string) => Promise<string>): Promise<Kubeconfig> {
    const access = this.#access;
    if (access.kind === 'kubeconfig-text') return parseKubeconfig(access.text, { describe: access.describe });
    if (access.kind === 'in-cluster') return inCluster(this.#surroundings);
    return parseKubeconfigFile(await read(access.path), access.path, access.context);
  }
}

function inCluster({ environment, serviceAccountFolder }: CredentialSurroundings): Kubeconfig {
  const host = environment.KUBERNETES_SERVICE_HOST;
  const port = environment.KUBERNETES_SERVICE_PORT;
  if (host === undefined || host === '' || port === undefined || port === '') {
    throw new GatewayError(
      'ISTHMUS_ERR_KUBERNETES',
      'KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is no pod; name a kubeconfig file',
    );
  }
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    ca: { kind: 'file', path: join(serviceAccountFolder, 'ca.crt') },
    token: { kind: 'file', path: join(serviceAccountFolder, 'token') },
    tlsServerName: undefined,
    insecureSkipTlsVerify: false,
    proxyUrl: undefined,
    clientCertificate: undefined,
    basic: undefined,
    impersonation: {},
  };
}

/** A token goes before a password, as in client-go. */
function authorization(token: string | undefined, basic: Kubeconfig['basic']): Record<string, string> {
  if (token !== undefined && token !== '') return { Authorization: `Bearer ${token}` };
  if (basic === undefined) return {};
  const pair = Buffer.from(`${basic.username}:${basic.password}`).toString('base64');
  return { Authorization: `Basic ${pair}` };
}

/** What changes when a file is written, renamed over, or its ConfigMap-like link is swapped. */
async function markOf(path: string): Promise<string> {
  try {
    const { ino, size, mtimeMs } = await stat(path);
    return `${ino}:${size}:${mtimeMs}`;
  } catch {
    return 'absent';
  }
}
