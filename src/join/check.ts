import { GatewayError } from '../base/errors.ts';
import type { Ledger } from './ledger.ts';
import { refuseOverlaps } from './prefixes.ts';
import type { Side } from './side.ts';
import { type Survey, surveyCluster } from './survey.ts';

export interface Surveyed {
  readonly side: Side;
  readonly survey: Survey;
}

/** Looks at both clusters and refuses what cannot be joined, before anything is written. */
export async function examine(a: Side, b: Side): Promise<[Surveyed, Surveyed]> {
  if (a.name === b.name) {
    throw new GatewayError(
      'ISTHMUS_ERR_USAGE',
      `both clusters are called "${a.name}"; give each its own name`,
    );
  }
  for (const [side, peer] of [
    [a, b],
    [b, a],
  ] as const) {
    serverOf(side, peer.name);
  }
  const [ours, theirs] = await Promise.all([surveyCluster(a), surveyCluster(b)]);
  if (ours.uid === theirs.uid) {
    throw new GatewayError(
      'ISTHMUS_ERR_USAGE',
      `${a.name} (context "${a.api.login.context}") and ${b.name} (context "${b.api.login.context}") are the same cluster`,
    );
  }
  refuseOverlaps({ name: a.name, cidrs: cidrsOf(ours) }, { name: b.name, cidrs: cidrsOf(theirs) });
  return [
    { side: a, survey: ours },
    { side: b, survey: theirs },
  ];
}

export function cidrsOf({ podCidrs, serviceCidrs }: Survey) {
  return [...podCidrs, ...serviceCidrs];
}

/** The address of the API that gateways of `peer` are given. */
export function serverOf({ name, server, api: { login } }: Side, peer: string): string {
  const url = server ?? login.server;
  // A person may have a forwarded port; the gateways of another cluster have not.
  const isLoopback = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(new URL(url).hostname);
  if (server === undefined && isLoopback) {
    throw new GatewayError(
      'ISTHMUS_ERR_USAGE',
      `the kubeconfig for ${name} leads to ${url}, which the gateways of ${peer} cannot reach; name an address that they can with --server or --peer-server`,
    );
  }
  return url.replace(/\/+$/, '');
}

/** What a person should know about a cluster that can be joined all the same. */
export function noteGaps(ledger: Ledger, { side, survey }: Surveyed, peer: string): void {
  const { name } = side;
  if (survey.podCidrs.length === 0) {
    ledger.note(
      name,
      `its API tells no pod CIDRs yet (source ${survey.source}); ${peer} has no routes until it does`,
    );
  }
  if (survey.serviceCidrs.length === 0) {
    ledger.note(
      name,
      `its API has no ServiceCIDR objects (before Kubernetes 1.33), so ${peer} does not reach its services; name their range with --service-cidrs or --peer-service-cidrs`,
    );
  }
  if (survey.gateways.length === 0) {
    ledger.note(name, `none of its nodes is a gateway yet; ${peer} has no routes until one is`);
  }
}
