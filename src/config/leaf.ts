import { z } from 'zod';

/** What a reader returns for a value it cannot use: a remark in brackets behind "expected …, got …", or none. */
export class Mistake {
  readonly remark: string;
  constructor(remark = '') {
    this.remark = remark;
  }
}

export interface LeafDefinition<T> {
  /** Completes "expected …". */
  readonly expected: string;
  /** JSON Schema of the value as it is written in the file. */
  readonly json: Readonly<Record<string, unknown>>;
  /** From the value in the file to the value in memory. */
  read(raw: unknown): T | Mistake;
  /** The way back; `isthmus config print` needs it. `read(print(value))` equals `value`. */
  print(value: T): unknown;
}

/**
 * One value of the file as one zod codec over `unknown`. A zod union or a chain of checks tells its mistakes in its own words and costs
 * an order of magnitude more for each element of a list of 100,000 CIDRs.
 */
export function leaf<T>(definition: LeafDefinition<T>) {
  const { expected, json, read, print } = definition;
  return z
    .codec(z.unknown(), z.custom<T>(), {
      decode(raw, ctx) {
        const value = read(raw);
        if (!(value instanceof Mistake)) return value as never;
        const remark = value.remark === '' ? '' : ` (${value.remark})`;
        ctx.issues.push({
          code: 'custom',
          input: raw,
          message: `expected ${expected}, got ${show(raw)}${remark}`,
        });
        return z.NEVER;
      },
      encode: (value) => print(value as T),
    })
    .meta({ ...json, expected });
}

const SHOWN_MAX = 60;

/** A value as the message of a problem quotes it. */
export function show(raw: unknown): string {
  if (raw === undefined) return 'nothing (the field is missing)';
  if (raw === null) return 'nothing (the value is empty)';
  if (Array.isArray(raw)) return 'a list';
  if (typeof raw === 'object') return 'a mapping';
  if (typeof raw !== 'string') return String(raw);
  return JSON.stringify(raw.length > SHOWN_MAX ? `${raw.slice(0, SHOWN_MAX)}…` : raw);
}
