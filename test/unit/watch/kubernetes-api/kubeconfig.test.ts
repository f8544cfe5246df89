import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { stringify } from 'yaml';
import { GatewayError } from '../../../../src/base/errors.ts';
import { type KubeconfigOptions, parseKubeconfig } from '../../../../src/watch/kubernetes-api/kubeconfig.ts';

const PEM = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n';
const base64 = (text: string) => Buffer.from(text).toString('base64');

interface Parts {
  readonly cluster?: Record<string, unknown>;
  readonly user?: Record<string, unknown>;
  readonly more?: Record<string, unknown>;
}

function text({ cluster = {}, user = {}, more = {} }: Parts = {}): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'west',
    contexts: [
      { name: 'other', context: { cluster: 'other', user: 'nobody' } },
      { name: 'west', context: { cluster: 'c', user: 'u' } },
    ],
    clusters: [
      { name: 'other', cluster: { server: 'https://other:6443' } },
      { name: 'c', cluster: { server: 'https://10.0.0.1:6443', ...cluster } },
    ],
    users: [
      { name: 'nobody', user: null },
      { name: 'u', user },
    ],
    ...more,
  });
}

function refuses(
  message: RegExp,
  config: string,
  options: KubeconfigOptions = { describe: 'Secret isthmus-system/west' },
): void {
  assert.throws(
    () => parseKubeconfig(config, options),
    (thrown) => {
      assert.ok(thrown instanceof GatewayError);
      assert.equal(thrown.code, 'ISTHMUS_ERR_KUBERNETES');
      assert.match(thrown.message, message);
      return true;
    },
  );
}

describe('a kubeconfig', () => {
  it('gives server, CA, token, proxy and the name in the certificate', () => {
    const config = parseKubeconfig(
      text({
        cluster: {
          server: 'https://rancher.example/k8s/clusters/c-1/',
          'certificate-authority-data': base64(PEM),
          'tls-server-name': 'kubernetes',
          'proxy-url': 'http://proxy:3128',
        },
        user: { token: 'secret', as: 'gw', 'as-uid': '7', 'as-groups': ['a', 'b'] },
      }),
    );
    assert.deepEqual(config, {
      server: 'https://rancher.example/k8s/clusters/c-1',
      ca: { kind: 'text', text: PEM },
      tlsServerName: 'kubernetes',
      insecureSkipTlsVerify: false,
      proxyUrl: 'http://proxy:3128',
      clientCertificate: undefined,
      token: { kind: 'text', text: 'secret' },
      basic: undefined,
      impersonation: { 'Impersonate-User': 'gw', 'Impersonate-Uid': '7', 'Impersonate-Group': ['a', 'b'] },
    });
  });

  it('gives files relative to its own folder, and the token file before the token', () => {
    const config = parseKubeconfig(
      text({
        cluster: { 'certificate-authority': 'pki/ca.crt', 'insecure-skip-tls-verify': true },
        user: {
          'client-certificate': '/pki/gw.crt',
          'client-key': 'gw.key',
          token: 'old',
          tokenFile: 'token',
        },
      }),
      { baseFolder: '/etc/isthmus' },
    );
    assert.deepEqual(config.ca, { kind: 'file', path: '/etc/isthmus/pki/ca.crt' });
    assert.deepEqual(config.clientCertificate, {
      certificate: { kind: 'file', path: '/pki/gw.crt' },
      key: { kind: 'file', path: '/etc/isthmus/gw.key' },
    });
    assert.deepEqual(config.token, { kind: 'file', path: '/etc/isthmus/token' });
    assert.equal(config.insecureSkipTlsVerify, true);
  });

  it('takes data before a file, a user name with a password, and the context that it is told', () => {
    const data = {
      'client-certificate-data': base64(PEM),
      'client-certificate': 'x',
      'client-key-data': base64(PEM),
    };
    const config = parseKubeconfig(text({ user: { ...data, username: 'gw', password: 'p' } }));
    assert.deepEqual(config.clientCertificate?.certificate, { kind: 'text', text: PEM });
    assert.deepEqual(config.basic, { username: 'gw', password: 'p' });
    assert.equal(parseKubeconfig(text(), { context: 'other' }).server, 'https://other:6443');
  });

  it('that is wrong is refused with the name of the field', () => {
    refuses(/^Secret isthmus-system\/west: it is neither YAML nor JSON/, '{');
    refuses(/current-context: expected the name of a context/, 'kind: Config');
    refuses(/current-context: expected a string, got a number/, 'current-context: 7');
    refuses(
      /contexts: none is called "x"; there are: other, west/,
      text({ more: { 'current-context': 'x' } }),
    );
    refuses(/contexts: expected a list, got a mapping/, text({ more: { contexts: {} } }));
    refuses(
      /contexts\[west\]\.context\.cluster: it is missing/,
      text({ more: { contexts: [{ name: 'west' }] } }),
    );
    refuses(/clusters: none is called "c"; there are: none/, text({ more: { clusters: null } }));
    refuses(
      /clusters\[c\]\.cluster: expected a mapping/,
      text({ more: { clusters: [{ name: 'c', cluster: 'x' }] } }),
    );
    refuses(/clusters\[c\]\.cluster\.server: it is missing/, text({ cluster: { server: null } }));
    refuses(
      /cluster\.server: expected a URL such as .*, got "10\.0\.0\.1"/,
      text({ cluster: { server: '10.0.0.1' } }),
    );
    refuses(
      /insecure-skip-tls-verify: expected true or false, got a string/,
      text({ cluster: { 'insecure-skip-tls-verify': 'yes' } }),
    );
    refuses(
      /certificate-authority-data: expected PEM in base64/,
      text({ cluster: { 'certificate-authority-data': 'AAAA' } }),
    );
    refuses(/users\[u\]\.user\.token: expected a string, got a list/, text({ user: { token: ['x'] } }));
    refuses(
      /users\[u\]\.user\.client-key-data: certificate and key/,
      text({ user: { 'client-certificate-data': base64(PEM) } }),
    );
    refuses(/as-groups: expected a list of strings/, text({ user: { 'as-groups': [7] } }));
    refuses(/expected at most 1048576 bytes/, ' '.repeat((1 << 20) + 1));
  });

  it('that needs a program is refused with what to use instead', () => {
    refuses(
      /users\[u\]\.user\.exec: it runs a program .*ServiceAccount/,
      text({ user: { exec: { command: 'aws' } } }),
    );
    refuses(/users\[u\]\.user\.auth-provider: /, text({ user: { 'auth-provider': { name: 'gcp' } } }));
  });

  it('from a Secret may not have files of the gateway read and sent to its server', () => {
    const advice = /cannot be read from here; put its content inline, as `kubectl config view --flatten/;
    refuses(advice, text({ user: { tokenFile: '/var/run/secrets/kubernetes.io/serviceaccount/token' } }));
    refuses(advice, text({ cluster: { 'certificate-authority': '/etc/shadow' } }));
    refuses(advice, text({ user: { 'client-certificate': 'a', 'client-key': 'b' } }));
  });

  it('never shows a secret that stands in the wrong place', () => {
    assert.throws(
      () => parseKubeconfig(text({ user: { token: { inner: 'hunter2' } } })),
      (thrown) => thrown instanceof GatewayError && !thrown.message.includes('hunter2'),
    );
    for (const broken of [
      'users: [{user: {token: hunter2: x}}]',
      'users:\n- user:\n    token: hunter2: x\n',
      'users:\n- user:\n    token: *hunter2\n',
      'users:\n- user:\n    token: "hunter2\n  x: y\n',
      text({ cluster: { server: 'https://admin:hunter2@10.0.0.1:6443' } }),
    ]) {
      assert.throws(
        () => parseKubeconfig(broken),
        (thrown) => thrown instanceof GatewayError && !inspect(thrown).includes('hunter2'),
        broken,
      );
    }
    refuses(/it is neither YAML nor JSON \(line 3, column 12\)$/, 'users:\n- user:\n    token: hunter2: x\n');
  });
});
