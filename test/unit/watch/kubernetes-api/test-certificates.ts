import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** A CA that lives for one test, made by openssl: no key stands in the repository. */
export class TestCertificates {
  readonly ca: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'isthmus-pki-'));

  constructor() {
    this.ca = this.#request('ca', '/CN=test-ca', []).cert;
  }

  /** For a server on loopback that is also called `kubernetes`. */
  server(): KeyPair {
    return this.#signed('server', '/CN=kubernetes', 'subjectAltName=IP:127.0.0.1,DNS:kubernetes');
  }

  /** For a server that is only called `kubernetes`. */
  namedServer(): KeyPair {
    return this.#signed('named', '/CN=kubernetes', 'subjectAltName=DNS:kubernetes');
  }

  client(name: string): KeyPair {
    return this.#signed(name, `/CN=${name}`, 'extendedKeyUsage=clientAuth');
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #signed(name: string, subject: string, extension: string): KeyPair {
    const ca = ['-CA', join(this.#folder, 'ca.crt'), '-CAkey', join(this.#folder, 'ca.key')];
    return this.#request(name, subject, [...ca, '-addext', extension]);
  }

  #request(name: string, subject: string, more: readonly string[]): KeyPair {
    const [cert, key] = [join(this.#folder, `${name}.crt`), join(this.#folder, `${name}.key`)];
    const fresh = [
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '2',
    ];
    execFileSync('openssl', ['req', ...fresh, '-keyout', key, '-out', cert, '-subj', subject, ...more], {
      stdio: 'pipe',
    });
    return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
  }
}
