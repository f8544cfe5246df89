import { stringify } from 'yaml';
import type { KubernetesObject } from '../watch/kubernetes-api/resource.ts';
import {
  entriesOf,
  mergeExternalNodes,
  readExternalNodes,
  recordedExternalNodes,
  wantedPools,
} from './calico.ts';
import { cidrsOf, examine, type Surveyed } from './check.ts';
import { hintFor, kubeconfigFor } from './introduce.ts';
import {
  accessName,
  accessObjects,
  accessSecret,
  crdObjects,
  felixConfiguration,
  NAMESPACE,
  namespaceObject,
  remoteCluster,
} from './objects.ts';
import type { Side } from './side.ts';
import { dataOf, filledToken, type Token } from './token.ts';

/** Joining as YAML, for those who want to read it first, keep it in a repository, or have somebody else apply it. */

/** Comment lines, then the objects. */
export function yamlOf(comments: readonly string[], objects: readonly KubernetesObject[]): string {
  const head = comments.map((line) => `# ${line}\n`).join('');
  return (
    head +
    objects
      .map((object) => `---\n${stringify(object, { lineWidth: 0, aliasDuplicateObjects: false })}`)
      .join('')
  );
}

/** Both sides of a join that is not carried out. Nothing is written to either cluster. */
export async function describeJoin(a: Side, b: Side, showsSecrets: boolean): Promise<string> {
  const [ours, theirs] = await examine(a, b);
  return [
    await describeSide(ours, theirs, showsSecrets),
    await describeSide(theirs, ours, showsSecrets),
  ].join('');
}

async function describeSide(host: Surveyed, other: Surveyed, showsSecrets: boolean): Promise<string> {
  const { side, survey } = host;
  const { login } = side.api;
  const objects = [
    namespaceObject(),
    ...crdObjects(),
    ...accessObjects(other.side.name),
    await secretFor(host, other, showsSecrets),
    ...(await introduction(host, other)),
  ];
  const calico =
    survey.calico === undefined
      ? []
      : [
          'FelixConfiguration has the list as it is now, with what is added: join merges it again when it writes.',
        ];
  return yamlOf(
    [
      '='.repeat(80),
      `Cluster ${side.name}: context "${login.context}", ${login.server}`,
      `CRDs first: an object of a kind that is not served yet is refused. An object that somebody else made is left alone by join.`,
      ...calico,
    ],
    objects,
  );
}

async function secretFor(host: Surveyed, other: Surveyed, showsSecrets: boolean): Promise<KubernetesObject> {
  const { name, api } = other.side;
  const secret = accessSecret(name, '');
  if (!showsSecrets) return placeholder(secret, other, host.side.name);
  const there = await host.side.api.find(`/api/v1/namespaces/${NAMESPACE}/secrets/${secret.metadata.name}`);
  const kubeconfig = dataOf(there, 'kubeconfig');
  if (kubeconfig !== undefined) return accessSecret(name, kubeconfig);
  // A token that exists is shown; none is made for a run that writes nothing.
  const token = await filledToken(api, host.side.name);
  return token === undefined
    ? placeholder(secret, other, host.side.name)
    : accessSecret(name, kubeconfigFor(other, host.side.name, token));
}

function placeholder(secret: KubernetesObject, other: Surveyed, peer: string): KubernetesObject {
  const token: Token = {
    token: `<token of ServiceAccount ${accessName(peer)} of ${other.side.name}>`,
    expiresAt: undefined,
    ca: undefined,
  };
  const { data: _data, ...rest } = secret;
  return { ...rest, stringData: { kubeconfig: kubeconfigFor(other, peer, token) } };
}

async function introduction(host: Surveyed, other: Surveyed): Promise<KubernetesObject[]> {
  const group = host.survey.calico;
  if (group === undefined) return [remoteCluster(other.side, other.survey)];
  const { api } = host.side;
  const { name } = other.side;
  const wanted = entriesOf(other.survey.gateways, name);
  const { recorded, others } = await recordedExternalNodes(api, name);
  const { list, ours } = mergeExternalNodes(await readExternalNodes(api, group), recorded, others, wanted);
  return [
    remoteCluster(other.side, other.survey, ours),
    felixConfiguration(group, list),
    ...(await wantedPools(api, group, name, cidrsOf(other.survey))),
  ];
}

/** What the administrator of `peer` applies to read `host`. */
export function describeGrant(host: Surveyed, peer: string, kubeconfig: string): string {
  const { name } = host.side;
  return yamlOf(
    [
      `For the administrator of ${peer}: kubectl apply -f - of this makes ${name} known to its gateways. It holds a credential: keep it as one.`,
      'The CRDs come first, with the gateways: kubectl apply -k deploy/base of isthmus.',
      'On a Calico cluster also:',
      ...hintFor(host).map((line) => `- ${line}`),
    ],
    [namespaceObject(), accessSecret(name, kubeconfig), remoteCluster(host.side, host.survey)],
  );
}

/** What `grant` would make on our own side. */
export function describeAccess(host: Surveyed, peer: string): string {
  const { name, api } = host.side;
  return yamlOf(
    [
      `Cluster ${name}: context "${api.login.context}", ${api.login.server}. The account by which ${peer} reads it.`,
    ],
    [namespaceObject(), ...accessObjects(peer)],
  );
}
