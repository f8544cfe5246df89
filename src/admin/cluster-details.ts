import type { SourceState } from '../table/route.ts';
import type { ClusterNotes } from '../watch/cluster-notes.ts';
import type { StreamState } from '../watch/stream-state.ts';
import type { ClusterDetail, ClusterRow } from './view.ts';

/** What the running gateway knows that says something about remote clusters. */
export interface ClusterFacts {
  /** Names of the clusters in the configuration file. */
  readonly configured: readonly string[];
  /** Those that have routes. */
  readonly rows: readonly ClusterRow[];
  /** Names of sources, by name of the cluster. */
  readonly sourcesOf: ReadonlyMap<string, ReadonlySet<string>>;
  readonly sources: readonly SourceState[];
  readonly streams: readonly StreamState[];
  readonly notes: ClusterNotes;
}

/** A cluster of 10,000 nodes may have as many objects that are wrong; the first few say what is going on. */
const PROBLEMS_MAX = 20;

/** Joins what routes, sources, list-watches and notes say of each remote cluster; sorted by name. */
export function clusterDetails(facts: ClusterFacts): ClusterDetail[] {
  const rows = new Map(facts.rows.map((row) => [row.name, row]));
  const noted = [...facts.notes.entries()].map(([name]) => name);
  const names = new Set([...facts.configured, ...rows.keys(), ...noted]);
  return [...names].sort().map((name) => detailOf(facts, name, rows.get(name)));
}

function detailOf(facts: ClusterFacts, name: string, row: ClusterRow | undefined): ClusterDetail {
  const note = facts.notes.get(name);
  const names = facts.sourcesOf.get(name) ?? sourcesAfter(facts.sources, name);
  const sources = facts.sources.filter((source) => names.has(source.name));
  const streams = facts.streams.filter((stream) => names.has(stream.source));
  const heard = [...sources.map((source) => source.lastUpdateMs), ...streams.map((s) => s.lastEventMs)];
  const problems = [
    ...(note?.problems ?? []),
    ...sources.flatMap(sourceProblems),
    ...streams.flatMap(({ source, resource, problem }) =>
      problem === null ? [] : [`${source}, ${resource}: ${problem}`],
    ),
  ];
  const isConfigured = facts.configured.includes(name);
  return {
    name,
    state: stateOf(row),
    routes: row?.routes ?? 0,
    gateways: row?.gateways ?? 0,
    gatewaysAlive: row?.gatewaysAlive ?? 0,
    stale: row?.stale ?? false,
    sources: [...names].sort(),
    lastUpdateAt: latest(heard),
    origin: note?.origin ?? (isConfigured ? 'configuration' : null),
    server: note?.server ?? null,
    dns: note?.dns ?? null,
    problems: [...new Set(problems)].slice(0, PROBLEMS_MAX),
  };
}

/** What reads one cluster is named after it, `kubernetes:west` or `kubernetes:local/west`, also while it has not led to a route. */
function sourcesAfter(sources: readonly SourceState[], cluster: string): ReadonlySet<string> {
  const names = sources.map(({ name }) => name);
  const ofSystems = names.filter((name) => !name.startsWith('file:'));
  return new Set(ofSystems.filter((name) => name.endsWith(`:${cluster}`) || name.endsWith(`/${cluster}`)));
}

function stateOf(row: ClusterRow | undefined): ClusterDetail['state'] {
  if (row === undefined) return 'no-routes';
  if (row.gatewaysAlive === 0) return 'unreachable';
  return row.stale ? 'stale' : 'fresh';
}

function sourceProblems({ name, state, reason, held }: SourceState): string[] {
  const problems: string[] = [];
  if (state === 'stale') problems.push(`source ${name} is stale: ${reason ?? 'no reason given'}`);
  if (state === 'restored') problems.push(`source ${name} has not spoken since the restart`);
  if (held !== undefined)
    problems.push(`source ${name} withdrew ${held.claims} claims at once; they are held`);
  return problems;
}

function latest(times: readonly (number | null | undefined)[]): string | null {
  const known = times.filter((time) => typeof time === 'number');
  return known.length === 0 ? null : new Date(Math.max(...known)).toISOString();
}
