import { fileURLToPath } from 'node:url';
import { Daemon } from '../../src/measure/daemon.ts';
import { poll } from '../../src/measure/topology.ts';
import type { KubeApiServer } from '../fixtures/kube-api-server.ts';
import type { KubeObject } from '../fixtures/kube-client.ts';

/** What the tests of join, grant and leave share. */

const PROGRAM = fileURLToPath(new URL('../../src/main.js', import.meta.url));
export const OURS = '/apis/isthmus.network/v1alpha1';

export interface Ended {
  readonly status: number | string;
  readonly stdout: string;
  readonly log: string;
}

export async function isthmus(...words: readonly string[]): Promise<Ended> {
  const env: NodeJS.ProcessEnv = { ...process.env, KUBECONFIG: '/dev/null', NO_PROXY: '*', no_proxy: '*' };
  delete env.NODE_TEST_CONTEXT;
  const daemon = new Daemon(`isthmus ${words[0]}`, [process.execPath, PROGRAM, ...words], { env });
  const status = await daemon.exited;
  return { status, stdout: daemon.stdout(), log: daemon.log() };
}

/** Everything there is of a cluster, but for what changes by itself: what a run has to leave alone. */
export async function everything(server: KubeApiServer): Promise<string[]> {
  const collections = [
    ...['/api/v1/namespaces', '/api/v1/secrets', '/api/v1/serviceaccounts', '/api/v1/nodes'],
    ...['clusterroles', 'clusterrolebindings'].map(
      (plural) => `/apis/rbac.authorization.k8s.io/v1/${plural}`,
    ),
    ...['ippools', 'felixconfigurations'].map((plural) => `/apis/crd.projectcalico.org/v1/${plural}`),
    '/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
    ...['remoteclusters', 'tunnelgateways'].map((plural) => `${OURS}/${plural}`),
  ];
  const found: string[] = [];
  for (const path of collections) {
    const { status, body } = await server.admin.request('GET', path);
    if (status === 404) continue;
    for (const { metadata } of (body as { items: KubeObject[] }).items) {
      // The server's own roles are many, and a failure has to be readable.
      if (metadata.name.startsWith('system:')) continue;
      // Without a controller-manager a Namespace stays in deletion for ever.
      if (metadata.deletionTimestamp === undefined)
        found.push(`${path} ${metadata.name} ${metadata.resourceVersion}`);
    }
  }
  return found;
}

export const withoutVersions = (lines: readonly string[]) => lines.map((line) => line.replace(/ \d+$/, ''));

/** Fills in Secrets of type service-account-token until it is stopped, as kube-controller-manager does. */
export function tokenController(server: KubeApiServer): () => Promise<void> {
  let stopped = false;
  const done = poll('the end of the test', 120_000, async () => {
    const secrets = await server.admin.items('/api/v1/secrets');
    for (const { metadata, type, data } of secrets) {
      if (type !== 'kubernetes.io/service-account-token' || (data as object | undefined) !== undefined)
        continue;
      const annotations = metadata.annotations as Record<string, string>;
      const account = annotations['kubernetes.io/service-account.name']!;
      const token = await server.serviceAccountToken(metadata.namespace!, account);
      const encode = (text: string): string => Buffer.from(text).toString('base64');
      await server.admin.patch(`/api/v1/namespaces/${metadata.namespace}/secrets/${metadata.name}`, {
        data: { token: encode(token), 'ca.crt': encode(server.ca) },
      });
    }
    return stopped;
  });
  return async () => {
    stopped = true;
    await done;
  };
}
