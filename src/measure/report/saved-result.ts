import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import { GatewayError, messageOf } from '../../base/errors.ts';
import type { BenchResult } from '../model.ts';

/** All of a file is held in memory several times over; a run of a hundred rounds with every path and size has about 1 MB. */
export const FILE_BYTES_MAX = 16 * 1024 * 1024;
/** Far above any run; a plot of more paths could not be read, and all of a report is one string. */
const PATHS_MAX = 64;
const SIZES_MAX = 64;
const ROUNDS_MAX = 1000;
const LINES_MAX = 1000;
const NAME_MAX = 200;
const TEXT_MAX = 4000;
/** Above whatever a machine can do, below where numbers would need more room than their column. */
const VALUE_MAX = 1e12;
const PROBLEMS_MAX = 10;

const name = z.string().min(1).max(NAME_MAX);
const text = z.string().max(TEXT_MAX);
const amount = z.number().min(0).max(VALUE_MAX);
const count = z.int().min(0).max(VALUE_MAX);
const values = z.array(amount).max(ROUNDS_MAX);
const sizes = z
  .array(z.object({ size: z.string().regex(/^(?:\d{1,5}|[a-z]{1,16})$/, 'expected bytes or imix'), values }))
  .max(SIZES_MAX)
  .refine((all) => areDifferent(all.map(({ size }) => size)), 'a size stands here twice');

const path = z.object({
  name,
  kind: z.enum(['reference', 'isthmus', 'kernel', 'peer']),
  reference: name.nullable(),
  tcpSingle: values,
  tcpMany: values,
  tcpBySize: sizes,
  lossFree: sizes,
  flood: sizes,
  roundTrip: z.object({ p50: values, p90: values, p99: values, p999: values }),
  cpuPerGbit: values,
  failures: z.array(text).max(LINES_MAX),
});

const machine = z.object({ processor: name, cores: count, memoryGiB: amount, kernel: name, node: name });

const result = z.object({
  schema: z.literal(1),
  program: name,
  mode: z.enum(['local', 'run']),
  machine,
  far: z.object({ address: name, program: name, machine }).exactOptional(),
  run: z.object({
    at: name,
    seed: count,
    rounds: count,
    seconds: amount,
    command: text,
    loadBefore: amount,
    tcpProgram: name,
    streams: count,
  }),
  paths: z
    .array(path)
    .max(PATHS_MAX)
    .refine((all) => areDifferent(all.map((one) => one.name)), 'two paths have the same name'),
  left: z.array(text).max(LINES_MAX),
});

function areDifferent(all: readonly string[]): boolean {
  return new Set(all).size === all.length;
}

/** Reads what `--json` has written. Throws ISTHMUS_ERR_USAGE, which names the file and what is wrong in it. */
export function readSavedResult(file: string): BenchResult {
  let text: string;
  try {
    text = readLimited(file);
  } catch (cause) {
    throw new GatewayError('ISTHMUS_ERR_USAGE', `cannot read ${file}: ${messageOf(cause)}`, { cause });
  }
  return parseSavedResult(text, file);
}

/** `file` is only what errors name. */
export function parseSavedResult(text: string, file: string): BenchResult {
  const refused = (why: string): GatewayError =>
    new GatewayError('ISTHMUS_ERR_USAGE', `${file} is no result of isthmus bench --json: ${why}`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw refused(messageOf(cause));
  }
  const schema = (value as { readonly schema?: unknown } | null)?.schema;
  if (typeof schema === 'number' && schema !== 1) {
    throw refused(`its schema is ${schema}, and this version of isthmus reads schema 1 only`);
  }
  const parsed = result.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues
    .slice(0, PROBLEMS_MAX)
    .map((issue) => `${issue.path.map(String).join('.') || 'the whole'}: ${issue.message}`);
  throw refused(problems.join('; '));
}

/** A pipe has no size beforehand: what it yields is looked at again. */
function readLimited(file: string): string {
  const handle = openSync(file, 'r');
  try {
    const { size } = fstatSync(handle);
    const tooLarge = (bytes: number): void => {
      if (bytes > FILE_BYTES_MAX) throw new Error(`it has more than ${FILE_BYTES_MAX} bytes`);
    };
    tooLarge(size);
    const bytes = readFileSync(handle);
    tooLarge(bytes.length);
    return bytes.toString('utf8');
  } finally {
    closeSync(handle);
  }
}
