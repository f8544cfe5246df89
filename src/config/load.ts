import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { messageOf } from '../base/errors.ts';
import { eachWatchOnce } from './cross-checks.ts';
import { FILE_BYTES_MAX, type Parsed, parseDocument } from './document.ts';
import { ConfigError, type ConfigProblem } from './problem.ts';
import {
  type ClusterConfig,
  type Config,
  clusterFileSchema,
  clustersSchema,
  configSchema,
} from './schema.ts';
import { across } from './section.ts';
import type { WatchConfig } from './watch-schema.ts';

export interface LoadedConfig {
  readonly config: Config;
  /** The text it was read from. */
  readonly source: string;
}

/** Reads, checks and completes a configuration file. Throws ConfigError with every problem, also when the file cannot be read. */
export function loadConfig(file: string): LoadedConfig {
  const text = readText(file);
  const parsed = typeof text === 'string' ? parseConfig(text, file) : { problems: [text] };
  if (parsed.problems !== undefined) throw new ConfigError(parsed.problems);
  return { config: parsed.value, source: String(text) };
}

/** As loadConfig, on a text. Relative paths in `watch` are made absolute, from the folder of `file`. */
export function parseConfig(text: string, file: string): Parsed<Config> {
  const folder = dirname(resolve(file));
  const schema = across(configSchema, (draft) => eachWatchOnce(draft, folder));
  const parsed = parseDocument(text, file, schema);
  if (parsed.problems !== undefined) return parsed;
  return {
    value: { ...parsed.value, watch: parsed.value.watch.map((source) => withAbsolutePaths(source, folder)) },
  };
}

/** Fields of sources that name files, and the word that stands for none. */
const FILE_FIELDS = {
  path: undefined,
  kubeconfig: 'in-cluster',
  passwordFile: 'none',
  caFile: 'none',
  certFile: 'none',
  keyFile: 'none',
} as const;

function withAbsolutePaths(source: WatchConfig, folder: string): WatchConfig {
  const absolute: Record<string, unknown> = { ...source };
  for (const [field, word] of Object.entries(FILE_FIELDS)) {
    const value = absolute[field];
    if (typeof value === 'string' && value !== word) absolute[field] = resolve(folder, value);
  }
  return absolute as WatchConfig;
}

/** Reads a watched file: a mapping with `clusters`, or a bare list of clusters. An empty file is a problem, because a half-written one is. */
export function parseClusterFile(text: string, file: string): Parsed<readonly ClusterConfig[]> {
  // What the file was meant to be shows in its first line that counts; a union of both shapes would report the mistakes of both.
  const bare = /^(?:\[|-(?:\s|$))/.test(firstContent(text));
  if (bare) return parseDocument(text, file, clustersSchema);
  const parsed = parseDocument(text, file, clusterFileSchema);
  return parsed.problems === undefined ? { value: parsed.value.clusters } : parsed;
}

/** The first line that is neither empty, comment, directive nor document marker, without its indentation. */
function firstContent(text: string): string {
  for (const line of text.slice(0, 65_536).split('\n')) {
    const content = line
      .replace('\uFEFF', '')
      .replace(/^---(?=\s|$)/, '')
      .trim();
    if (content !== '' && !content.startsWith('#') && !content.startsWith('%')) return content;
  }
  return '';
}

function readText(file: string): string | ConfigProblem {
  const problem = (message: string) => ({ file, line: 0, column: 0, field: '', message });
  try {
    const { size } = statSync(file);
    if (size > FILE_BYTES_MAX) return problem(`expected at most ${FILE_BYTES_MAX} bytes, got ${size}`);
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file));
  } catch (thrown) {
    return problem(unreadable(thrown as NodeJS.ErrnoException));
  }
}

/** Node's own message has the path again, and the name of a system call. */
function unreadable(thrown: NodeJS.ErrnoException): string {
  switch (thrown.code) {
    case 'ENOENT':
      return 'does not exist';
    case 'EACCES':
      return 'no permission to read it';
    case 'EISDIR':
      return 'expected a file, got a folder';
    default:
      return `expected a readable file of UTF-8 text, but: ${messageOf(thrown)}`;
  }
}
