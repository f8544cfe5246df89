import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BenchResult } from '../src/measure/model.ts';

/** Where and how a section was measured: a number without these says nothing. */
export interface Run {
  readonly date: string;
  readonly commit: string;
  readonly command: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  /** Runnable processes in the minute before: other work on the machine is in every number. */
  readonly loadBefore: number;
}

/** One line of a micro benchmark, of one packet, look-up or operation. */
export interface MicroFigure {
  readonly suite: string;
  readonly name: string;
  readonly unit: string;
  readonly value: number;
  /** Half the width of the 95 % confidence interval, in percent; absent where it was measured once. */
  readonly marginPercent?: number;
  /** At most this, where the design sets a target. */
  readonly target?: number;
}

export interface MicroSection {
  readonly run: Run;
  readonly figures: readonly MicroFigure[];
}

export interface ThroughputSection {
  readonly run: Run;
  /** Of a gateway with its defaults. */
  readonly workers: number;
  readonly result: BenchResult;
}

/** Garbage collections of one gateway, by isolate, in two windows of equal length. */
export interface CollectionsRow {
  readonly path: string;
  readonly gateway: string;
  readonly idleMain: number;
  readonly trafficMain: number;
  readonly idleWorkers: number;
  readonly trafficWorkers: number;
  /** Functions that lost their optimised code during the traffic. */
  readonly deoptimised: readonly string[];
  readonly packets: number;
}

export interface CollectionsSection {
  readonly run: Run;
  readonly windowSeconds: number;
  readonly traffic: string;
  readonly rows: readonly CollectionsRow[];
}

export interface MemoryRow {
  readonly routes: number;
  /** Resident set after it has come to rest, MiB; the highest of the samples. */
  readonly idleMiB: readonly number[];
  readonly peakMiB: readonly number[];
  readonly readySeconds: readonly number[];
}

export interface MemorySection {
  readonly run: Run;
  readonly rows: readonly MemoryRow[];
}

export interface ControlSection {
  readonly run: Run;
  readonly kernelRoutes: number;
  readonly addRoutesMs: readonly number[];
  readonly removeRoutesMs: readonly number[];
  /** From the rename of the watched file to the first packet that took the new way, or the first that took no way. */
  readonly addedMs: readonly number[];
  readonly withdrawnMs: readonly number[];
  /** The error of one measurement: the pace of the probes. */
  readonly probeMs: number;
}

export interface RestartSection {
  readonly run: Run;
  /** From the start of a gateway whose predecessor was killed with SIGKILL to the first echo reply. */
  readonly forwardsMs: readonly number[];
  readonly probeMs: number;
}

export interface FleetSection {
  readonly run: Run;
  readonly members: number;
  readonly rounds: number;
  /** For each round and each of the others: from the moment a gateway begins to announce another CIDR to a route for it in the table. */
  readonly learnedMs: readonly number[];
  /** The slowest of each round. */
  readonly convergedMs: readonly number[];
  /** The same for a CIDR that is given up: the slowest of each round. */
  readonly withdrawnMs: readonly number[];
}

/** One way to read large clusters. */
export interface KubernetesRow {
  /** The objects that are read of each cluster. */
  readonly what: string;
  /** From the start of the process to `/readyz`, and until the last node of every cluster is reached. */
  readonly readySeconds: readonly number[];
  readonly forwardsSeconds: readonly number[];
  /** Resident set at rest after the start, the highest of the samples; and the highest ever until then. */
  readonly idleMiB: readonly number[];
  readonly peakMiB: readonly number[];
  /** From the request that gives one node another address to the first packet that goes there. */
  readonly changedMs: readonly number[];
}

export interface KubernetesSection {
  readonly run: Run;
  readonly clusters: number;
  /** Nodes of each cluster, and blocks. */
  readonly objects: number;
  readonly rows: readonly KubernetesRow[];
  readonly probeMs: number;
  /** How long the command `isthmus join` runs. */
  readonly joinSeconds: readonly number[];
  /** From its end to the first echo reply, and from the end of `isthmus leave` to the first that is missing; negative: before the end. */
  readonly joinedMs: readonly number[];
  readonly leftMs: readonly number[];
}

export interface Results {
  micro?: MicroSection;
  throughput?: ThroughputSection;
  collections?: CollectionsSection;
  memory?: MemorySection;
  control?: ControlSection;
  restart?: RestartSection;
  fleet?: FleetSection;
  kubernetes?: KubernetesSection;
}

export const PACKAGE_FOLDER = packageFolder(dirname(fileURLToPath(import.meta.url)));
export const RESULTS_FILE = join(PACKAGE_FOLDER, 'bench', 'results.json');
export const REPORT_FILE = join(PACKAGE_FOLDER, 'bench', 'RESULTS.md');

/** Enough for packet counts; the rest of a time is noise. */
const DIGITS = 9;

function packageFolder(start: string): string {
  for (let folder = start; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
    if (folder === dirname(folder)) throw new Error(`no package.json in any folder above ${start}`);
  }
}

export function loadResults(): Results {
  return existsSync(RESULTS_FILE) ? (JSON.parse(readFileSync(RESULTS_FILE, 'utf8')) as Results) : {};
}

/** Keeps the sections that were not measured now, with the run they came from. */
export function saveResults(results: Results): void {
  const digits = (_key: string, value: unknown): unknown =>
    typeof value === 'number' ? Number(value.toPrecision(DIGITS)) : value;
  writeFileSync(RESULTS_FILE, `${JSON.stringify(results, digits, 2)}\n`);
}

export function describeRun(command: string): Run {
  return {
    date: new Date().toISOString().slice(0, 16).replace('T', ' '),
    commit: commit(),
    command,
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    loadBefore: Math.round(loadavg()[0]! * 10) / 10,
  };
}

function commit(): string {
  const git = (...words: string[]): string =>
    spawnSync('git', words, { cwd: PACKAGE_FOLDER, encoding: 'utf8' }).stdout?.trim() ?? '';
  const id = git('rev-parse', '--short', 'HEAD');
  if (id === '') return 'unknown';
  return git('status', '--porcelain', '--', 'src', 'native') === '' ? id : `${id} with changes`;
}
