import { type Document, LineCounter, type Node, parseDocument as parseYaml } from 'yaml';
import type { z } from 'zod';
import { messageOf } from '../base/errors.ts';
import { show } from './leaf.ts';
import type { ConfigProblem } from './problem.ts';
import { fieldNamesAt } from './schema-walk.ts';
import { suggest } from './suggest.ts';
import { type Path, YamlReader } from './yaml-value.ts';

export type Parsed<T> =
  | { readonly value: T; readonly problems?: undefined }
  | { readonly problems: readonly ConfigProblem[]; readonly value?: undefined };

/** A file of a million CIDRs has about 22 MB; what is larger is not a configuration. */
export const FILE_BYTES_MAX = 32 * 1024 * 1024;

/** More than this on a terminal helps nobody; the last line then tells how many were left out. */
export const PROBLEMS_MAX = 100;

/**
 * Reads YAML (and with it JSON) and checks it against `schema`. Returns the value, or the problems with their places, in the order of
 * the file. `file` is only the name that the problems carry. Never throws on input.
 */
export function parseDocument<S extends z.ZodType>(
  text: string,
  file: string,
  schema: S,
): Parsed<z.output<S>> {
  const lines = new LineCounter();
  const problems = new ProblemList(file, lines);
  // A character is at least one byte, so this is never stricter than the limit, and it needs no second copy of the text.
  if (text.length > FILE_BYTES_MAX) {
    problems.add(0, [], `expected at most ${FILE_BYTES_MAX} bytes, got ${text.length}`);
    return { problems: problems.sorted() };
  }
  try {
    const contents = parseNodes(text, lines, problems);
    const parsed = problems.count === 0 ? checkValue(contents, schema, problems) : undefined;
    return parsed ?? { problems: problems.sorted() };
  } catch (thrown) {
    // The YAML parser and zod are recursive: nesting thousands deep exhausts the stack, which is the input's fault and not ours.
    if (!(thrown instanceof RangeError)) throw thrown;
    problems.add(0, [], `expected fewer levels of lists and mappings: ${messageOf(thrown)}`);
    return { problems: problems.sorted() };
  }
}

/** Where the values at `paths` begin in a text that parseDocument has accepted. */
export function placesOf(text: string, paths: readonly Path[]): Pick<ConfigProblem, 'line' | 'column'>[] {
  const lines = new LineCounter();
  const { contents } = parseYaml(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false });
  const reader = new YamlReader();
  reader.read(contents);
  return paths.map((path) => {
    const { line, col } = lines.linePos(reader.offsetOfValue(contents, path));
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  });
}

function parseNodes(text: string, lines: LineCounter, problems: ProblemList): Node | null {
  const document: Document.Parsed = parseYaml(text, {
    lineCounter: lines,
    prettyErrors: false,
    // YamlReader finds duplicates: the parser compares each key with all before it, which takes quadratic time.
    uniqueKeys: false,
    // At 'silent' the parser would pass over a second document in the file without a word.
    logLevel: 'error',
  });
  let last = -1;
  for (const { pos, message } of [...document.errors, ...document.warnings]) {
    // What the parser says again about the same place is a consequence of what it said first.
    if (pos[0] === last) continue;
    last = pos[0];
    const reason = /call stack/.test(message) ? 'lists or mappings are nested too deeply' : message;
    problems.add(last, [], `expected valid YAML, but: ${reason}`);
  }
  return document.contents;
}

function checkValue<S extends z.ZodType>(
  contents: Node | null,
  schema: S,
  problems: ProblemList,
): Parsed<z.output<S>> | undefined {
  const reader = new YamlReader();
  const value = reader.read(contents);
  for (const { offset, path, message } of reader.findings) problems.add(offset, path, message);
  // With an unresolved alias or too many values there is nothing whole to check, and a bomb must not be walked.
  if (reader.broken) return undefined;
  const result = schema.safeParse(value, { reportInput: true });
  if (result.success) return problems.count === 0 ? { value: result.data } : undefined;
  for (const issue of result.error.issues) addIssue(issue, { contents, schema, reader, problems });
  return undefined;
}

interface Place {
  readonly contents: Node | null;
  readonly schema: z.ZodType;
  readonly reader: YamlReader;
  readonly problems: ProblemList;
}

function addIssue(issue: z.core.$ZodIssue, { contents, schema, reader, problems }: Place): void {
  if (problems.full) {
    problems.count++;
    return;
  }
  const { path } = issue;
  if (issue.code === 'unrecognized_keys') {
    const known = fieldNamesAt(schema, path);
    for (const key of issue.keys) {
      problems.add(reader.offsetOfKey(contents, path, key), [...path, key], unknownField(key, known));
    }
    return;
  }
  problems.add(reader.offsetOfValue(contents, path), path, messageOfIssue(issue, fieldNamesAt(schema, path)));
}

function unknownField(key: string, known: readonly string[]): string {
  const near = suggest(key, known);
  return near === undefined
    ? `expected one of the fields ${known.join(', ')}, got ${show(key)}`
    : `expected a known field, got ${show(key)}; did you mean ${near}?`;
}

function messageOfIssue(issue: z.core.$ZodIssue, known: readonly string[]): string {
  if (issue.code === 'invalid_type') {
    const wanted = issue.expected === 'array' ? 'a list' : `a mapping with the fields ${known.join(', ')}`;
    return `expected ${wanted}, got ${show(issue.input)}`;
  }
  if (issue.code === 'invalid_union') {
    // A union is told apart by one field; the path leads to it, the input is the mapping that holds it.
    const words = ((issue as { options?: unknown[] }).options ?? []).join(' or ');
    const got = (issue.input as Record<PropertyKey, unknown> | undefined)?.[issue.path.at(-1) ?? ''];
    return `expected ${words}, got ${show(got)}`;
  }
  return issue.message;
}

class ProblemList {
  /** All of them, also those beyond PROBLEMS_MAX, which are not kept. */
  count = 0;
  readonly #file: string;
  readonly #lines: LineCounter;
  readonly #problems: ConfigProblem[] = [];
  readonly #fields = new Set<string>();

  constructor(file: string, lines: LineCounter) {
    this.#file = file;
    this.#lines = lines;
  }

  get full(): boolean {
    return this.#problems.length >= PROBLEMS_MAX;
  }

  add(offset: number, path: readonly PropertyKey[], message: string): void {
    const field = formatPath(path);
    // A check over several fields may find a raw value where another check has said already what is wrong with it.
    if (field !== '' && this.#fields.has(field)) return;
    this.count++;
    if (this.full) return;
    this.#fields.add(field);
    const { line, col } = this.#lines.linePos(offset);
    this.#problems.push({
      file: this.#file,
      // An empty text has no line to count.
      line: Math.max(line, 1),
      column: Math.max(col, 1),
      field,
      message,
    });
  }

  sorted(): readonly ConfigProblem[] {
    const sorted = this.#problems.sort((a, b) => a.line - b.line || a.column - b.column);
    const last = sorted.at(-1);
    const more = this.count - sorted.length;
    return more === 0 || last === undefined
      ? sorted
      : [...sorted, { ...last, field: '', message: `and ${more} more problems` }];
  }
}

/** `clusters[0].cidrs[1]` */
export function formatPath(path: readonly PropertyKey[]): string {
  let text = '';
  for (const step of path) {
    text += typeof step === 'number' ? `[${step}]` : `${text === '' ? '' : '.'}${String(step)}`;
  }
  return text;
}
