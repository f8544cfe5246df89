import { z } from 'zod';
import { EtcdError } from './error.ts';

/**
 * etcd's JSON gateway follows proto3: 64-bit numbers are strings, bytes are base64, and whatever has its default value is left out. Revisions
 * become numbers, exact far beyond what etcd reaches; lease ids are random 63-bit numbers and stay text.
 */
const revision = z
  .union([z.string().regex(/^-?\d{1,19}$/), z.number()])
  .prefault('0')
  .transform(Number)
  .pipe(z.int());
const id = z.string().prefault('0');
const bytes = z.string().prefault('');

const header = z.object({ cluster_id: id, revision });

const keyValue = z.object({ key: bytes, value: bytes, mod_revision: revision, version: revision, lease: id });

const rangeAnswer = z.object({
  header,
  kvs: z.array(keyValue).prefault([]),
  more: z.boolean().prefault(false),
  count: revision,
});

const txnAnswer = z.object({
  header,
  succeeded: z.boolean().prefault(false),
  responses: z.array(z.object({ response_range: rangeAnswer.partial().optional() })).prefault([]),
});

const grantAnswer = z.object({ ID: z.string(), TTL: revision, error: z.string().optional() });
const keepAliveAnswer = z.object({ result: z.object({ ID: id, TTL: revision }) });
const tokenAnswer = z.object({ token: z.string().min(1) });

const watchLine = z.union([
  z.object({
    result: z.object({
      header,
      created: z.boolean().prefault(false),
      canceled: z.boolean().prefault(false),
      compact_revision: revision,
      cancel_reason: z.string().prefault(''),
      fragment: z.boolean().prefault(false),
      events: z
        .array(z.object({ type: z.enum(['PUT', 'DELETE']).prefault('PUT'), kv: keyValue }))
        .prefault([]),
    }),
  }),
  z.object({ error: z.object({ message: z.string().prefault('no reason given') }) }),
]);

export const SHAPES = {
  range: rangeAnswer,
  txn: txnAnswer,
  grant: grantAnswer,
  keepAlive: keepAliveAnswer,
  token: tokenAnswer,
  watch: watchLine,
} as const;

type Shape = keyof typeof SHAPES;
export type Answer<S extends Shape> = z.output<(typeof SHAPES)[S]>;
export type WireKeyValue = z.output<typeof keyValue>;

/** Throws EtcdError that names the field which is not as etcd's API says. */
export function shaped<S extends Shape>(shape: S, value: unknown): Answer<S> {
  const parsed = SHAPES[shape].safeParse(value);
  if (parsed.success) return parsed.data as Answer<S>;
  const [issue] = parsed.error.issues;
  throw new EtcdError(
    `etcd's answer to ${shape} is not as its API says: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`,
  );
}

export function encode(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64');
}

export function decode(base64: string): string {
  return Buffer.from(base64, 'base64').toString('utf8');
}

/** The end of the range of all keys that begin with `prefix`, in base64: the prefix with its last byte raised. */
export function rangeEnd(prefix: string): string {
  const end = Buffer.from(prefix, 'utf8');
  for (let i = end.length - 1; i >= 0; i--) {
    // UTF-8 has no byte 0xff, so this is taken for the last byte of any prefix.
    if (end[i]! < 0xff) {
      end[i]! += 1;
      return end.subarray(0, i + 1).toString('base64');
    }
  }
  // All keys: etcd reads a lone zero byte so.
  return Buffer.from([0]).toString('base64');
}
