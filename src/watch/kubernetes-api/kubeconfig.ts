import { dirname, isAbsolute, resolve } from 'node:path';
import { parse, YAMLParseError } from 'yaml';
import { GatewayError } from '../../base/errors.ts';
import { fieldOf } from './resource.ts';

/** PEM text or a token, or the file that has it and may be replaced while we run. */
export type Material =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'file'; readonly path: string };

/** What one context of a kubeconfig says. */
export interface Kubeconfig {
  /** URL without a slash at the end; a path is kept (Rancher and other front ends have one). */
  readonly server: string;
  readonly ca: Material | undefined;
  /** Name in the server's certificate, where it is not the host of `server`. */
  readonly tlsServerName: string | undefined;
  readonly insecureSkipTlsVerify: boolean;
  readonly proxyUrl: string | undefined;
  readonly clientCertificate: { readonly certificate: Material; readonly key: Material } | undefined;
  readonly token: Material | undefined;
  readonly basic: { readonly username: string; readonly password: string } | undefined;
  /** `Impersonate-…` headers. */
  readonly impersonation: Readonly<Record<string, string | string[]>>;
}

export interface KubeconfigOptions {
  /** For messages: `/etc/isthmus/west.kubeconfig`. */
  readonly describe?: string;
  /** Folder that relative paths start from; without one, the text may not refer to files. */
  readonly baseFolder?: string | undefined;
  /** Other than `current-context`. */
  readonly context?: string | undefined;
}

/** A Secret holds no more either. */
export const KUBECONFIG_BYTES_MAX = 1 << 20;

/**
 * Reads what a pod or a Secret can hold: token, client certificate, CA, proxy. Throws ISTHMUS_ERR_KUBERNETES naming the field, what was
 * expected and what is there. A text without a folder may not name files: whoever can write a Secret could otherwise have any file
 * that the gateway can read sent to a server of their own, as a token.
 */
export function parseKubeconfig(text: string, options: KubeconfigOptions = {}): Kubeconfig {
  const reader = new KubeconfigReader(text, options);
  return reader.read();
}

/** `parseKubeconfig` of a file's text; relative paths start from its folder, as for kubectl. */
export function parseKubeconfigFile(text: string, path: string, context: string | undefined): Kubeconfig {
  return parseKubeconfig(text, { describe: path, baseFolder: dirname(resolve(path)), context });
}

class KubeconfigReader {
  readonly #text: string;
  readonly #describe: string;
  readonly #baseFolder: string | undefined;
  readonly #context: string | undefined;

  constructor(text: string, { describe = 'kubeconfig', baseFolder, context }: KubeconfigOptions) {
    this.#text = text;
    this.#describe = describe;
    this.#baseFolder = baseFolder;
    this.#context = context;
  }

  read(): Kubeconfig {
    const root = this.#parse();
    const contextName = this.#context ?? this.#string(root, 'current-context', 'current-context');
    if (contextName === undefined || contextName === '')
      throw this.#wrong('current-context', 'expected the name of a context, it is not set');
    const context = this.#named(root, 'contexts', 'context', contextName);
    const contextField = `contexts[${contextName}].context`;
    const clusterName = this.#string(context, 'cluster', `${contextField}.cluster`);
    if (clusterName === undefined) throw this.#wrong(`${contextField}.cluster`, 'it is missing');
    const userName = this.#string(context, 'user', `${contextField}.user`);
    const cluster = this.#named(root, 'clusters', 'cluster', clusterName);
    const user =
      userName === undefined || userName === '' ? {} : this.#named(root, 'users', 'user', userName);
    return {
      ...this.#cluster(cluster, `clusters[${clusterName}].cluster`),
      ...this.#user(user, `users[${userName}].user`),
    };
  }

  #parse(): unknown {
    if (this.#text.length > KUBECONFIG_BYTES_MAX)
      throw this.#wrong('', `expected at most ${KUBECONFIG_BYTES_MAX} bytes, got ${this.#text.length}`);
    try {
      return parse(this.#text, { prettyErrors: false });
    } catch (thrown) {
      throw this.#wrong('', `it is neither YAML nor JSON${placeOf(thrown, this.#text)}`);
    }
  }

  #cluster(cluster: unknown, field: string) {
    const server = this.#string(cluster, 'server', `${field}.server`);
    if (server === undefined) throw this.#wrong(`${field}.server`, 'it is missing');
    const url = URL.canParse(server) ? new URL(server) : undefined;
    if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:'))
      throw this.#wrong(`${field}.server`, `expected a URL such as https://10.0.0.1:6443, got "${server}"`);
    // The server's URL is what status and messages name it by.
    if (url.username !== '' || url.password !== '')
      throw this.#wrong(
        `${field}.server`,
        'a name and password in the URL are not sent; put them under users',
      );
    const insecure = fieldOf(cluster, 'insecure-skip-tls-verify');
    if (insecure !== undefined && typeof insecure !== 'boolean')
      throw this.#wrong(`${field}.insecure-skip-tls-verify`, `expected true or false, got ${show(insecure)}`);
    return {
      server: url.href.replace(/\/+$/, ''),
      ca: this.#pem(cluster, 'certificate-authority', field),
      tlsServerName: this.#string(cluster, 'tls-server-name', `${field}.tls-server-name`),
      insecureSkipTlsVerify: insecure === true,
      proxyUrl: this.#string(cluster, 'proxy-url', `${field}.proxy-url`),
    };
  }

  #user(user: unknown, field: string) {
    for (const plugin of ['exec', 'auth-provider']) {
      if (fieldOf(user, plugin) === undefined || fieldOf(user, plugin) === null) continue;
      throw this.#wrong(
        `${field}.${plugin}`,
        'it runs a program of your workstation, which the gateway cannot; use a token of a ServiceAccount, as `isthmus join` makes, or a client certificate',
      );
    }
    const certificate = this.#pem(user, 'client-certificate', field);
    const key = this.#pem(user, 'client-key', field);
    if ((certificate === undefined) !== (key === undefined)) {
      const missing = certificate === undefined ? 'client-certificate' : 'client-key';
      throw this.#wrong(`${field}.${missing}-data`, 'certificate and key are needed together, it is missing');
    }
    const username = this.#string(user, 'username', `${field}.username`);
    const password = this.#string(user, 'password', `${field}.password`);
    return {
      clientCertificate: certificate && key && { certificate, key },
      token: this.#token(user, field),
      basic: username === undefined ? undefined : { username, password: password ?? '' },
      impersonation: this.#impersonation(user, field),
    };
  }

  /** The file goes before the text, as in client-go: it is what gets rotated. */
  #token(user: unknown, field: string): Material | undefined {
    const file = this.#string(user, 'tokenFile', `${field}.tokenFile`);
    if (file !== undefined && file !== '') return this.#file(file, `${field}.tokenFile`);
    const text = this.#string(user, 'token', `${field}.token`);
    return text === undefined || text === '' ? undefined : { kind: 'text', text };
  }

  #impersonation(user: unknown, field: string): Record<string, string | string[]> {
    const headers: Record<string, string | string[]> = {};
    const as = this.#string(user, 'as', `${field}.as`);
    if (as !== undefined) headers['Impersonate-User'] = as;
    const uid = this.#string(user, 'as-uid', `${field}.as-uid`);
    if (uid !== undefined) headers['Impersonate-Uid'] = uid;
    const groups = fieldOf(user, 'as-groups');
    if (groups === undefined || groups === null) return headers;
    if (!Array.isArray(groups) || !groups.every((group) => typeof group === 'string'))
      throw this.#wrong(`${field}.as-groups`, `expected a list of strings, got ${show(groups)}`);
    headers['Impersonate-Group'] = groups;
    return headers;
  }

  /** `name-data` in base64 goes before the file `name`, as in client-go. */
  #pem(holder: unknown, name: string, field: string): Material | undefined {
    const data = this.#string(holder, `${name}-data`, `${field}.${name}-data`);
    if (data !== undefined && data !== '') {
      const text = Buffer.from(data, 'base64').toString('utf8');
      if (!text.includes('-----BEGIN '))
        throw this.#wrong(`${field}.${name}-data`, 'expected PEM in base64, got something else');
      return { kind: 'text', text };
    }
    const file = this.#string(holder, name, `${field}.${name}`);
    return file === undefined || file === '' ? undefined : this.#file(file, `${field}.${name}`);
  }

  #file(path: string, field: string): Material {
    if (this.#baseFolder === undefined)
      throw this.#wrong(
        field,
        `a file (${path}) cannot be read from here; put its content inline, as \`kubectl config view --flatten --minify\` does`,
      );
    return { kind: 'file', path: isAbsolute(path) ? path : resolve(this.#baseFolder, path) };
  }

  #named(root: unknown, list: string, inner: string, name: string): unknown {
    const entries = fieldOf(root, list) ?? [];
    if (!Array.isArray(entries)) throw this.#wrong(list, `expected a list, got ${show(entries)}`);
    const entry = entries.find((one) => fieldOf(one, 'name') === name);
    if (entry === undefined) {
      const names = entries.map((one) => fieldOf(one, 'name')).filter((one) => typeof one === 'string');
      throw this.#wrong(list, `none is called "${name}"; there are: ${names.join(', ') || 'none'}`);
    }
    const value = fieldOf(entry, inner) ?? {};
    if (typeof value !== 'object')
      throw this.#wrong(`${list}[${name}].${inner}`, `expected a mapping, got ${show(value)}`);
    return value;
  }

  #string(holder: unknown, name: string, field: string): string | undefined {
    const value = fieldOf(holder, name) ?? undefined;
    if (value === undefined || typeof value === 'string') return value;
    throw this.#wrong(field, `expected a string, got ${show(value)}`);
  }

  #wrong(field: string, what: string): GatewayError {
    const place = field === '' ? this.#describe : `${this.#describe}: ${field}`;
    return new GatewayError('ISTHMUS_ERR_KUBERNETES', `${place}: ${what}`);
  }
}

/** Where a text stops being YAML, without a word of the parser: it quotes the line, which may be the one with the token. */
function placeOf(thrown: unknown, text: string): string {
  if (!(thrown instanceof YAMLParseError)) return '';
  const before = text.slice(0, thrown.pos[0]);
  return ` (line ${before.split('\n').length}, column ${before.length - before.lastIndexOf('\n')})`;
}

/** The kind of a value and no more: what stands in the wrong place may be a secret. */
function show(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  return value === null ? 'null' : typeof value === 'object' ? 'a mapping' : `a ${typeof value}`;
}
