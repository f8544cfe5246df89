import { GatewayError } from '../base/errors.ts';
import { examine, noteGaps, type Surveyed } from './check.ts';
import { introduce, kubeconfigFor, prepare } from './introduce.ts';
import type { Ledger } from './ledger.ts';
import type { Side } from './side.ts';
import { obtainToken, type Token } from './token.ts';
import { Writer } from './writer.ts';

/**
 * Joins two clusters: each gets an account for the other's gateways, which only reads, and learns of the other by a Secret and a RemoteCluster.
 * Nothing is written before both were looked at; a second run changes nothing.
 */
export async function joinClusters(a: Side, b: Side, ledger: Ledger): Promise<void> {
  const [ours, theirs] = await examine(a, b);
  noteGaps(ledger, ours, b.name);
  noteGaps(ledger, theirs, a.name);
  await resumable(ledger, async () => {
    const [here, there] = [new Writer(a.name, a.api, ledger), new Writer(b.name, b.api, ledger)];
    await prepare(here, b.name);
    await prepare(there, a.name);
    await exchange(here, ours, there, theirs);
    await exchange(there, theirs, here, ours);
  });
}

/** Lets `guest` read `host`, and tells it so. */
async function exchange(from: Writer, host: Surveyed, to: Writer, guest: Surveyed): Promise<void> {
  const { name } = host.side;
  const token = await obtainToken(from.api, name, guest.side.name, to.api);
  await introduce(to, guest, host, kubeconfigFor(host, guest.side.name, token));
  noteExpiry(from.ledger, name, guest.side.name, token);
}

export function noteExpiry(ledger: Ledger, name: string, peer: string, { expiresAt }: Token): void {
  if (expiresAt === undefined) return;
  ledger.note(
    name,
    `nothing fills in Secrets of type service-account-token here, so ${peer} reads it by a token that expires at ${expiresAt}; run this again before`,
  );
}

/** What was done stands, and is found done by the next run: says so, next to what went wrong. */
export async function resumable(ledger: Ledger, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (cause) {
    if (!(cause instanceof GatewayError) || ledger.changes === 0) throw cause;
    const done = `what stands above is done (${ledger.summary()}); run the same command again and it goes on from there`;
    throw new GatewayError(cause.code, `${cause.message}; ${done}`, { cause });
  }
}
