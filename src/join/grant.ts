import { noteGaps, type Surveyed, serverOf } from './check.ts';
import { describeAccess, describeGrant } from './document.ts';
import { kubeconfigFor } from './introduce.ts';
import { noteExpiry, resumable } from './join.ts';
import type { Ledger } from './ledger.ts';
import { accessObjects, namespaceObject } from './objects.ts';
import type { Side } from './side.ts';
import { surveyCluster } from './survey.ts';
import { obtainToken } from './token.ts';
import { Writer } from './writer.ts';

/**
 * One half of a join, where nobody holds both clusters: makes the account by which `peer` reads ours, and returns the YAML that its administrator
 * applies. Each administrator does so for the other.
 */
export async function grantAccess(side: Side, peer: string, ledger: Ledger): Promise<string> {
  const host = await look(side, peer);
  noteGaps(ledger, host, peer);
  let document = '';
  await resumable(ledger, async () => {
    const writer = new Writer(side.name, side.api, ledger);
    await writer.ensure(namespaceObject());
    for (const object of accessObjects(peer)) await writer.apply(object);
    const token = await obtainToken(side.api, side.name, peer, undefined);
    noteExpiry(ledger, side.name, peer, token);
    document = describeGrant(host, peer, kubeconfigFor(host, peer, token));
  });
  return document;
}

/** What `grantAccess` would make. */
export async function describeGranting(side: Side, peer: string): Promise<string> {
  return describeAccess(await look(side, peer), peer);
}

async function look(side: Side, peer: string): Promise<Surveyed> {
  serverOf(side, peer);
  return { side, survey: await surveyCluster(side) };
}
