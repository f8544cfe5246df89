import { isDeepStrictEqual } from 'node:util';
import type { Config } from './schema.ts';

/** Fields that a running gateway takes over at once; all others hold a socket, a device or a thread and need a restart. */
export const LIVE_FIELDS: ReadonlySet<string> = new Set([
  'cluster.cidrs',
  'tunnel.fouPeers',
  'tunnel.ttl',
  'tunnel.dscp',
  'tunnel.ecn',
  'tunnel.fragment',
  'tunnel.clampMss',
  'tunnel.keepOnExit',
  'tunnel.mode',
  'tunnel.gatewayGrace',
  'clusters',
  'watch',
  'security.decapsulateFrom',
  'security.innerSource',
  'security.protect',
  'security.transit',
  'services.cidrs',
  'services.masquerade',
  'services.keepSource',
  'host.checks',
  'health.probes',
  'health.interval',
  'health.deadAfter',
  'health.hold',
  'health.allDead',
  'health.pathMtu',
  'log.level',
]);

export interface ReloadPlan {
  /** Fields that changed and take effect now. */
  readonly changed: string[];
  /** Fields that changed and take effect after a restart. */
  readonly restartNeeded: string[];
  /** The new configuration, with the old values of the fields that need a restart: what is in force from now on. */
  readonly effective: Config;
}

/** Compares field by field, lists as wholes. */
export function planReload(old: Config, next: Config): ReloadPlan {
  const changed: string[] = [];
  const restartNeeded: string[] = [];
  const effective: Record<string, unknown> = { ...next };
  for (const [section, value] of Object.entries(next)) {
    const before: unknown = old[section as keyof Config];
    if (Array.isArray(value)) {
      if (!isDeepStrictEqual(before, value)) changed.push(section);
      continue;
    }
    const merged: Record<string, unknown> = { ...(value as object) };
    for (const [field, after] of Object.entries(merged)) {
      const name = `${section}.${field}`;
      const was = (before as Record<string, unknown>)[field];
      if (isDeepStrictEqual(was, after)) continue;
      if (LIVE_FIELDS.has(name)) {
        changed.push(name);
      } else {
        restartNeeded.push(name);
        merged[field] = was;
      }
    }
    effective[section] = merged;
  }
  return { changed, restartNeeded, effective: effective as Config };
}
