import { z } from 'zod';

/** A mapping of the file with exactly these fields. */
export function section<S extends z.core.$ZodLooseShape>(shape: S) {
  return z.strictObject(shape);
}

/** A list of `least` to `most` elements, called `things` where the count is wrong. */
export function list<E extends z.ZodType>(element: E, things: string, least: number, most: number) {
  return z
    .array(element)
    .min(least, { error: () => `expected ${least} or more ${things}, got none` })
    .max(most, {
      error: (issue) =>
        `expected at most ${most} ${things}, got ${Array.isArray(issue.input) ? issue.input.length : 'more'}`,
    });
}

/** A complaint of a check that looks at several fields. `path` leads from the schema that carries the check. */
export interface Complaint {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/**
 * A check over several fields that runs also when some of them are wrong, so that one run shows every mistake. `draft` is whatever
 * could be read: a wrong field is undefined or raw, and the check must look before it uses one.
 */
export function across<S extends z.ZodType>(schema: S, check: (draft: unknown) => Iterable<Complaint>): S {
  return schema.superRefine(
    (draft, ctx) => {
      for (const { path, message } of check(draft))
        ctx.addIssue({ code: 'custom', path: [...path], message });
    },
    { when: () => true },
  );
}
