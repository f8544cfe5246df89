import type { EtcdAccess } from '../etcd-api/access.ts';
import type { KubernetesObject } from '../kubernetes-api/resource.ts';
import type { Malformed } from '../last-good.ts';
import { fieldAt, misfit, textAt, wellFormed } from '../object-fields.ts';

/** How the Secret of a RemoteCluster says that the cluster is reached. */
export type ClusterCredentials =
  | { readonly kind: 'kubernetes'; readonly kubeconfig: string }
  | { readonly kind: 'etcd'; readonly access: EtcdAccess };

/** As many as the configuration allows. */
const ENDPOINTS_MAX = 16;

/**
 * A Secret with `kubeconfig`, or with what Calico Enterprise's RemoteClusterConfiguration wants. No sentence on it quotes what is inside: it
 * would end up in status and in the log.
 */
export function credentialsOf(object: KubernetesObject): ClusterCredentials | Malformed {
  const { namespace, name } = object.metadata;
  return wellFormed(`Secret ${namespace}/${name}`, () => {
    const type = entryOf(object, 'datastoreType');
    if (type === 'etcdv3') return { kind: 'etcd', access: etcdAccessOf(object) };
    if (type !== undefined && type !== 'kubernetes')
      throw misfit('data.datastoreType', 'something else', 'kubernetes or etcdv3');
    const kubeconfig = entryOf(object, 'kubeconfig');
    if (kubeconfig === undefined) throw misfit('data.kubeconfig', undefined, 'a kubeconfig');
    return { kind: 'kubernetes', kubeconfig };
  });
}

function etcdAccessOf(object: KubernetesObject): EtcdAccess {
  const list = entryOf(object, 'etcdEndpoints') ?? '';
  const endpoints = list
    .split(',')
    .map((endpoint) => endpoint.trim().replace(/\/+$/, ''))
    .filter((endpoint) => endpoint !== '');
  const expected = `1 to ${ENDPOINTS_MAX} addresses such as https://10.0.0.5:2379, with commas between them`;
  if (endpoints.length === 0 || endpoints.length > ENDPOINTS_MAX)
    throw misfit('data.etcdEndpoints', `a list of ${endpoints.length}`, expected);
  const wrong = endpoints.findIndex((endpoint) => !isEndpoint(endpoint));
  if (wrong >= 0) throw misfit(`data.etcdEndpoints (number ${wrong + 1})`, 'something else', expected);
  const username = entryOf(object, 'etcdUsername');
  const password = entryOf(object, 'etcdPassword');
  const ca = entryOf(object, 'etcdCACert');
  const cert = entryOf(object, 'etcdCert');
  const key = entryOf(object, 'etcdKey');
  return {
    endpoints,
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
  };
}

/** A name and password in the address would be shown with it. */
function isEndpoint(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password } = new URL(text);
  return (protocol === 'http:' || protocol === 'https:') && username === '' && password === '';
}

/** One entry of `data`, decoded; undefined where it is missing or empty. */
function entryOf(object: KubernetesObject, name: string): string | undefined {
  const path = `data.${name}`;
  if (typeof (fieldAt(object, path) ?? '') !== 'string') throw misfit(path, 'no text', 'text in base64');
  const encoded = textAt(object, path, 'text in base64');
  const text = Buffer.from(encoded ?? '', 'base64').toString('utf8');
  return text === '' ? undefined : text;
}
