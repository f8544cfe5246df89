import { fieldOf, type KubernetesObject } from '../watch/kubernetes-api/resource.ts';
import {
  mergeExternalNodes,
  REMOTE_CLUSTERS,
  recordedExternalNodes,
  updateExternalNodes,
  updatePools,
} from './calico.ts';
import type { ClusterApi } from './cluster-api.ts';
import { resumable } from './join.ts';
import type { Ledger } from './ledger.ts';
import {
  accessObjects,
  accessSecret,
  crdObjects,
  isOurs,
  NAMESPACE,
  namespaceObject,
  objectPath,
} from './objects.ts';
import { calicoGroup } from './survey.ts';
import { Writer } from './writer.ts';

export interface Departure {
  /** The cluster that forgets. */
  readonly name: string;
  readonly api: ClusterApi;
  /** The cluster that is forgotten. */
  readonly peer: string;
}

/** Removes from one cluster what joining it with `peer` made, and nothing else. */
export async function leaveCluster({ name, api, peer }: Departure, ledger: Ledger): Promise<void> {
  const writer = new Writer(name, api, ledger);
  await resumable(ledger, async () => {
    const group = await calicoGroup(api);
    if (group !== undefined) {
      // First, because what is to be taken out of the list is written on the RemoteCluster.
      const { recorded, others } = await recordedExternalNodes(api, peer);
      if (recorded.length > 0) {
        await updateExternalNodes(
          writer,
          group,
          (list) => mergeExternalNodes(list, recorded, others, []).list,
        );
      }
      await updatePools(writer, group, peer, []);
    }
    await writer.remove(remoteClusterNamed(peer));
    await writer.remove(accessSecret(peer, ''));
    for (const object of accessObjects(peer).toReversed()) await writer.remove(object);
    await removeCommon(writer);
  });
}

function remoteClusterNamed(name: string): KubernetesObject {
  return { apiVersion: 'isthmus.network/v1alpha1', kind: 'RemoteCluster', metadata: { name } };
}

/** Namespace and CRDs, once nobody uses them and if join made them. */
async function removeCommon(writer: Writer): Promise<void> {
  const { api, ledger, cluster } = writer;
  const namespace = await api.find(objectPath(namespaceObject()));
  const isPresent = namespace !== undefined && namespace.metadata.deletionTimestamp === undefined;
  const users = [
    ...(await namesOf(api, REMOTE_CLUSTERS, 'RemoteCluster')),
    ...(await namesOf(api, '/apis/isthmus.network/v1alpha1/tunnelgateways', 'TunnelGateway')),
    ...(isPresent ? await inhabitants(api) : []),
  ];
  if (users.length > 0) {
    ledger.note(cluster, `Namespace ${NAMESPACE} and the CRDs stay, because of ${shown(users)}`);
    return;
  }
  for (const crd of crdObjects()) await writer.remove(crd);
  if (isPresent && isOurs(namespace)) await writer.remove(namespaceObject());
  else if (isPresent) ledger.step(cluster, 'kept', `Namespace/${NAMESPACE}`, 'not made by join');
}

const INHABITANTS: readonly (readonly [string, string])[] = [
  ['DaemonSet', `/apis/apps/v1/namespaces/${NAMESPACE}/daemonsets`],
  ['Deployment', `/apis/apps/v1/namespaces/${NAMESPACE}/deployments`],
  ['Pod', `/api/v1/namespaces/${NAMESPACE}/pods`],
  ['ServiceAccount', `/api/v1/namespaces/${NAMESPACE}/serviceaccounts`],
  ['Secret', `/api/v1/namespaces/${NAMESPACE}/secrets`],
  ['ConfigMap', `/api/v1/namespaces/${NAMESPACE}/configmaps`],
];

/** What Kubernetes puts into every namespace. */
const EVERYWHERE =
  /^(?:ServiceAccount\/default|Secret\/default-token-[a-z0-9]+|ConfigMap\/kube-root-ca\.crt)$/;

async function inhabitants(api: ClusterApi): Promise<string[]> {
  const names: string[] = [];
  for (const [kind, path] of INHABITANTS) names.push(...(await namesOf(api, path, kind)));
  return names.filter((name) => !EVERYWHERE.test(name));
}

async function namesOf(api: ClusterApi, path: string, kind: string): Promise<string[]> {
  const objects = (await api.list(path)) ?? [];
  return objects
    .filter(({ metadata }) => fieldOf(metadata, 'deletionTimestamp') === undefined)
    .map(({ metadata }) => `${kind}/${metadata.name}`);
}

const NAMES_SHOWN_MAX = 5;

function shown(names: readonly string[]): string {
  const more = names.length - NAMES_SHOWN_MAX;
  return `${names.slice(0, NAMES_SHOWN_MAX).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
