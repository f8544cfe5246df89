import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Config } from '../config/schema.ts';
import type { Netlink } from '../io/netlink.ts';
import { lockDevice } from './device-lock.ts';
import { isDirectRow } from './direct-routes.ts';
import { writeFileAtomically } from './snapshot-file.ts';

/** What a gateway puts into the kernel: what a successor with another configuration has to clean up. */
interface Footprint {
  readonly device: string;
  readonly protocol: number;
  /** Of the kernel routes to the tunnel. Absent in a note of a gateway that knew no routes past it. */
  readonly table?: number;
  readonly metric?: number;
}

const FILE_NAME = 'footprint.json';

/**
 * Removes what a predecessor left under another name: its device, when the configuration now names another one, and its routes, when
 * their protocol number is another one. What has the present names is adopted elsewhere. Never throws: a leftover is a nuisance, not a
 * reason not to start.
 */
async function cleanFormer(
  directory: string,
  present: Footprint,
  netlink: Netlink,
  logger: Logger,
): Promise<void> {
  try {
    const former = readFootprint(directory);
    if (former === undefined) return;
    removeDirectRoutes(former, present, netlink, logger);
    const link = netlink.links().find((candidate) => candidate.name === former.device);
    if (link === undefined) return;
    if (former.device !== present.device) {
      if (link.kind !== 'tun') return;
      // Another gateway may have taken the name over meanwhile: then the device is its own.
      const lock = await lockDevice(former.device).catch(() => undefined);
      if (lock === undefined) return;
      netlink.deleteLink(link.index);
      lock.close();
      logger.warn({ device: former.device }, 'removed the device that an earlier configuration left');
    } else if (former.protocol !== present.protocol) {
      const leftovers = netlink
        .routes({ protocol: former.protocol })
        .filter((route) => route.deviceIndex === link.index);
      netlink.removeRoutes(leftovers);
      logger.warn({ routes: leftovers.length }, 'removed the routes that an earlier configuration left');
    }
  } catch (thrown) {
    logger.warn({ reason: messageOf(thrown) }, 'what an earlier configuration left cannot be removed');
  }
}

/** Routes past the tunnel do not go with the device. Those with the present names are adopted elsewhere. */
function removeDirectRoutes(former: Footprint, present: Footprint, netlink: Netlink, logger: Logger): void {
  const { protocol, table, metric } = former;
  if (table === undefined || metric === undefined) return;
  if (protocol === present.protocol && table === present.table && metric === present.metric) return;
  const leftovers = netlink
    .routes({ protocol, table })
    .filter((route) => isDirectRow(route, table, metric))
    .map((route) => ({ cidr: route.cidr, deviceIndex: 0, table, metric: route.metric, protocol }));
  if (leftovers.length === 0) return;
  netlink.removeRoutes(leftovers);
  logger.warn(
    { routes: leftovers.length },
    'removed the routes past the tunnel that an earlier configuration left',
  );
}

/**
 * Cleans up what a gateway with an earlier configuration left under other names, and leaves a note for the next one. Never throws; returns why
 * the note could not be written.
 */
export async function replaceFootprint(
  { state, tunnel, routes }: Config,
  netlink: Netlink,
  logger: Logger,
): Promise<string | undefined> {
  if (state.directory === 'none') return undefined;
  const { protocol, table, metric } = routes;
  const footprint: Footprint = { device: tunnel.device, protocol, table, metric };
  await cleanFormer(state.directory, footprint, netlink, logger);
  try {
    writeFileAtomically(join(state.directory, FILE_NAME), `${JSON.stringify(footprint)}\n`);
    return undefined;
  } catch (thrown) {
    return `the state directory cannot be written: ${messageOf(thrown)}`;
  }
}

function readFootprint(directory: string): Footprint | undefined {
  let text: string;
  try {
    text = readFileSync(join(directory, FILE_NAME), 'utf8');
  } catch {
    return undefined;
  }
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null) return undefined;
  const { device, protocol, table, metric } = value as Record<string, unknown>;
  if (typeof device !== 'string' || typeof protocol !== 'number') return undefined;
  if (typeof table !== 'number' || typeof metric !== 'number') return { device, protocol };
  return { device, protocol, table, metric };
}
