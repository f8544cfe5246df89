import { checkHotPath } from './hot-path.ts';
import type { Problem } from './problem.ts';
import { lineOf, type SourceText, splitSource } from './source-text.ts';

/** One source file, path from the repository's root with forward slashes. */
export interface SourceFile {
  readonly path: string;
  readonly source: string;
}

/** Imports run only downwards in this list (ARCHITECTURE.md). An entry is a folder of src/ or a file in it. */
export const LAYERS = [
  'main.ts',
  'cli',
  'measure',
  'join',
  'gateway.ts',
  'admin',
  'observe',
  'watch',
  'health',
  'host',
  'dataplane',
  'table',
  'fib',
  'io',
  'packet',
  'config',
  'base',
] as const;

/** Folders without I/O, clock, logger or native code, so that the simulator and the fuzzers can run them as they are. */
const READERS_OF_ADDRESSES = ['src/base/address.ts', 'src/base/address6.ts'];

const PURE = ['packet', 'fib', 'table'];
/** What of base/ a pure folder may not use at run time: both reach outside the process. */
const IMPURE_BASE = ['src/base/log.ts', 'src/base/clock.ts'];

export const LINES_MAX = 500;
const VAGUE_NAMES = /^(?:utils?|helpers?|common|misc|index|shared|lib|tools?|stuff|functions)$/;
const FILE_NAME = /^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.(?:test|bench))?\.ts$/;
/**
 * Absolute paths of somebody's machine; written in pieces so that this file keeps its own rule. After a colon stands where something is
 * mounted in a container, which is the image's business.
 */
const MACHINE_PATH = new RegExp(
  `(?<![\\w.$}~:-])/(?:${['work', 'home', 'root', 'tmp', 'mnt', 'Users'].join('|')})/[\\w.-]`,
);
const UNFINISHED = new RegExp(`\\b(?:${['TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX', 'HA' + 'CK'].join('|')})\\b`);

interface Import {
  readonly specifier: string;
  readonly offset: number;
  readonly typeOnly: boolean;
}

/** All rules over all files. */
export function checkFiles(files: readonly SourceFile[]): Problem[] {
  const problems: Problem[] = [];
  const edges = new Map<string, string[]>();
  const known = new Set(files.map((file) => file.path));
  for (const file of files) {
    const text = splitSource(file.source);
    problems.push(
      ...checkName(file),
      ...checkText(file, text),
      ...checkHotPath(file.path, file.source, text),
    );
    const targets: string[] = [];
    for (const found of importsOf(text)) {
      problems.push(...checkImport(file, found));
      const target = resolve(file.path, found.specifier);
      if (target !== undefined && known.has(target)) targets.push(target);
    }
    edges.set(file.path, targets);
  }
  return [...problems, ...findCycles(edges)];
}

function checkName(file: SourceFile): Problem[] {
  const name = file.path.slice(file.path.lastIndexOf('/') + 1);
  const problem = (detail: string): Problem[] => [{ file: file.path, line: 1, rule: 'file-name', detail }];
  if (!FILE_NAME.test(name)) return problem('file names are kebab-case');
  if (VAGUE_NAMES.test(name.replace(/(?:\.test)?\.ts$/, '')))
    return problem('the name says nothing of what is inside');
  return [];
}

function checkText(file: SourceFile, text: SourceText): Problem[] {
  const problems: Problem[] = [];
  const add = (offset: number, rule: string, detail: string): void => {
    problems.push({ file: file.path, line: lineOf(file.source, offset), rule, detail });
  };
  const lines = file.source.split('\n').length - (file.source.endsWith('\n') ? 1 : 0);
  if (lines > LINES_MAX) add(file.source.length, 'file-length', `${lines} lines, at most ${LINES_MAX}`);
  for (const match of text.code.matchAll(/\bexport\s+default\b|\bas\s+default\b/g)) {
    add(match.index, 'default-export', 'exports have names');
  }
  for (const comment of text.comments) {
    const match = UNFINISHED.exec(comment.text);
    if (match !== null) add(comment.start + match.index, 'unfinished', `${match[0]} in a comment`);
  }
  for (const span of [...text.comments, ...text.strings]) {
    const match = MACHINE_PATH.exec(span.text);
    if (match !== null) add(span.start, 'machine-path', `names a path of one machine: ${match[0]}…`);
  }
  return problems;
}

/** Static, dynamic and re-exporting imports, and `require`. */
export function importsOf(text: SourceText): Import[] {
  const found: Import[] = [];
  const bySpan = new Map(text.strings.map((span) => [span.start, span.text]));
  const pattern =
    /(?<![.\w])(?:(?:import|export)\b(?<head>[^;'"`()=]*?)\bfrom\s*|import\s*(?:\(\s*)?|require(?:\.resolve)?\s*\(\s*)(?=['"`])/g;
  for (const match of text.code.matchAll(pattern)) {
    const specifier = bySpan.get(match.index + match[0].length);
    if (specifier === undefined) continue;
    found.push({ specifier, offset: match.index, typeOnly: isTypeOnly(match.groups?.head) });
  }
  return found;
}

function isTypeOnly(head: string | undefined): boolean {
  if (head === undefined) return false;
  if (/^\s*type\b/.test(head)) return true;
  const braces = /^\s*\{(?<names>[^}]*)\}\s*$/.exec(head)?.groups?.names;
  if (braces === undefined) return false;
  const names = braces.split(',').map((name) => name.trim());
  return names.every((name) => name === '' || name.startsWith('type '));
}

function layerOf(path: string): string {
  return path.split('/')[1]!;
}

function checkImport(file: SourceFile, found: Import): Problem[] {
  if (!file.path.startsWith('src/')) return [];
  const line = lineOf(file.source, found.offset);
  const problem = (rule: string, detail: string): Problem[] => [{ file: file.path, line, rule, detail }];
  const layer = layerOf(file.path);
  const rank = LAYERS.indexOf(layer as (typeof LAYERS)[number]);
  if (rank === -1) return problem('import-order', `src/${layer} has no place in the order of layers`);
  const target = resolve(file.path, found.specifier);
  if (target === undefined) return checkPackage(file, found, line);
  if (/\.node$/.test(target) || target.startsWith('native/')) {
    return layer === 'io' ? [] : problem('native', 'only src/io loads the native addon');
  }
  if (!target.startsWith('src/')) {
    return target === 'package.json'
      ? []
      : problem('import-order', `src imports nothing from outside src: ${target}`);
  }
  const targetLayer = layerOf(target);
  const targetRank = LAYERS.indexOf(targetLayer as (typeof LAYERS)[number]);
  if (targetRank === -1)
    return problem('import-order', `src/${targetLayer} has no place in the order of layers`);
  if (targetRank < rank)
    return problem('import-order', `${layer} may not import ${targetLayer}: it stands above`);
  return found.typeOnly ? [] : checkPurity(file, layer, target, line);
}

function checkPurity(file: SourceFile, layer: string, target: string, line: number): Problem[] {
  if (!PURE.includes(layer)) return [];
  const targetLayer = layerOf(target);
  const pure = PURE.includes(targetLayer) || (targetLayer === 'base' && !IMPURE_BASE.includes(target));
  if (pure) return [];
  return [
    { file: file.path, line, rule: 'pure', detail: `${layer} is pure and may not use ${target} at run time` },
  ];
}

function checkPackage(file: SourceFile, found: Import, line: number): Problem[] {
  const layer = layerOf(file.path);
  const problem = (rule: string, detail: string): Problem[] => [{ file: file.path, line, rule, detail }];
  if (PURE.includes(layer)) return problem('pure', `${layer} is pure and may not import ${found.specifier}`);
  if (found.specifier === 'raw-socket' && layer !== 'io') {
    return problem('native', 'only src/io imports raw-socket');
  }
  if (found.specifier === 'ip-num' && !READERS_OF_ADDRESSES.includes(file.path)) {
    return problem(
      'ip-num',
      `only ${READERS_OF_ADDRESSES.join(' and ')} import ip-num; the rest of the code has addresses as numbers`,
    );
  }
  return [];
}

/** The path from the root that a relative specifier names; undefined for a package. */
function resolve(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined;
  const parts = from.split('/').slice(0, -1);
  for (const part of specifier.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '.') parts.push(part);
  }
  return parts.join('/');
}

function findCycles(edges: ReadonlyMap<string, readonly string[]>): Problem[] {
  const problems: Problem[] = [];
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): void => {
    const at = path.indexOf(file);
    if (at !== -1) {
      const cycle = [...path.slice(at), file].join(' → ');
      problems.push({ file, line: 1, rule: 'import-cycle', detail: cycle });
      return;
    }
    if (done.has(file)) return;
    path.push(file);
    for (const target of edges.get(file) ?? []) visit(target);
    path.pop();
    done.add(file);
  };
  for (const file of edges.keys()) visit(file);
  return problems;
}
