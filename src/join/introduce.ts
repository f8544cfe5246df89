import {
  calicoHint,
  entriesOf,
  mergeExternalNodes,
  readExternalNodes,
  recordedExternalNodes,
  updateExternalNodes,
  updatePools,
  wantedPools,
} from './calico.ts';
import { cidrsOf, type Surveyed, serverOf } from './check.ts';
import {
  accessObjects,
  accessSecret,
  crdObjects,
  kubeconfigOf,
  namespaceObject,
  remoteCluster,
} from './objects.ts';
import type { Token } from './token.ts';
import type { Writer } from './writer.ts';

/** What every joined cluster needs, and the account by which `peer` reads this one. */
export async function prepare(writer: Writer, peer: string): Promise<void> {
  await writer.ensure(namespaceObject());
  const crds = crdObjects();
  for (const crd of crds) await writer.ensure(crd);
  for (const crd of crds) await writer.served(crd);
  for (const object of accessObjects(peer)) await writer.apply(object);
}

/** The kubeconfig by which gateways of `peer` read the cluster. */
export function kubeconfigFor({ side }: Surveyed, peer: string, { token, ca }: Token): string {
  const { login } = side.api;
  return kubeconfigOf(side.name, {
    server: serverOf(side, peer),
    // That of a person who skips the check says nothing; what the cluster gives its own pods does.
    ca: login.ca ?? (login.skipsTlsVerify ? ca : undefined),
    tlsServerName: login.tlsServerName,
    skipsTlsVerify: login.skipsTlsVerify,
    token,
  });
}

/** Makes `other` known to the cluster of `writer`. */
export async function introduce(
  writer: Writer,
  host: Surveyed,
  other: Surveyed,
  kubeconfig: string,
): Promise<void> {
  const { name } = other.side;
  const group = host.survey.calico;
  await writer.apply(accessSecret(name, kubeconfig), `how ${name} is read`);
  if (group === undefined) {
    await writer.apply(remoteCluster(other.side, other.survey));
    return;
  }
  const { api } = writer;
  const wanted = entriesOf(other.survey.gateways, name);
  const { recorded, others } = await recordedExternalNodes(api, name);
  // Out with the old before they are forgotten, in with the new once they are remembered: whenever this is cut off, leave finds them.
  if (recorded.some((entry) => !wanted.includes(entry))) {
    await updateExternalNodes(writer, group, (list) =>
      mergeExternalNodes(list, recorded, others, wanted).list.filter((entry) => list.includes(entry)),
    );
  }
  const { ours } = mergeExternalNodes(await readExternalNodes(api, group), recorded, others, wanted);
  await writer.apply(remoteCluster(other.side, other.survey, ours));
  await updateExternalNodes(writer, group, (list) => mergeExternalNodes(list, recorded, others, wanted).list);
  await updatePools(writer, group, name, await wantedPools(api, group, name, cidrsOf(other.survey)));
}

/** What the administrator of a Calico cluster does besides applying the YAML. */
export function hintFor(other: Surveyed): string[] {
  return calicoHint(other.survey.gateways, cidrsOf(other.survey));
}
