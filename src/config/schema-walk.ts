import { z } from 'zod';

/** A place in a schema. A list's element has `[]` in its path: `clusters[].gateways[].weight`. */
export interface SchemaField {
  readonly path: string;
  readonly kind: 'mapping' | 'list' | 'value';
  /** As it would stand in the file; undefined when the field has none. */
  readonly default: unknown;
  readonly required: boolean;
  readonly expected: string;
  readonly description: string;
  /** Below a list whose elements are of several kinds: those kinds that have the field. Else empty. */
  readonly kinds: readonly string[];
}

/** Takes off what stands around a mapping, list or value: defaults. */
function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  let inner = schema;
  while (inner instanceof z.ZodPrefault || inner instanceof z.ZodDefault || inner instanceof z.ZodOptional) {
    inner = inner.unwrap();
  }
  return inner;
}

/** The fields of a mapping, or of every mapping of a union; undefined for anything else. */
function shapeOf(schema: z.core.$ZodType): Record<string, z.core.$ZodType> | undefined {
  const inner = unwrap(schema);
  if (inner instanceof z.ZodObject) return inner.shape;
  if (!(inner instanceof z.ZodUnion)) return undefined;
  return Object.assign({}, ...inner.options.map((option) => shapeOf(option) ?? {}));
}

/** Names of the fields that may stand in the mapping at `path`; empty when there is none. */
export function fieldNamesAt(schema: z.core.$ZodType, path: readonly PropertyKey[]): string[] {
  let here: z.core.$ZodType | undefined = schema;
  for (const step of path) {
    const inner: z.core.$ZodType | undefined = here && unwrap(here);
    if (inner === undefined) return [];
    here = inner instanceof z.ZodArray ? inner.element : shapeOf(inner)?.[String(step)];
  }
  return Object.keys((here && shapeOf(here)) ?? {});
}

/** Every field, parents before children, in the order of the schema; one that several kinds of a union have comes once. */
export function* walkSchema(
  schema: z.core.$ZodType,
  path = '',
  kinds: readonly string[] = [],
): Iterable<SchemaField> {
  const inner = unwrap(schema);
  const shape = shapeOf(inner);
  const meta: Record<string, unknown> = z.globalRegistry.get(inner) ?? {};
  const fallback = schema instanceof z.ZodPrefault ? schema.def.defaultValue : undefined;
  if (path !== '') {
    yield {
      path,
      kind: shape !== undefined ? 'mapping' : inner instanceof z.ZodArray ? 'list' : 'value',
      default: fallback,
      required: !(schema instanceof z.ZodPrefault),
      expected: String(meta.expected ?? ''),
      description: String(meta.description ?? ''),
      kinds,
    };
  }
  if (inner instanceof z.ZodUnion) yield* walkUnion(inner, path);
  else if (inner instanceof z.ZodArray)
    yield* walkSchema(inner.element as z.core.$ZodType, `${path}[]`, kinds);
  else {
    for (const [name, child] of Object.entries(shape ?? {})) {
      yield* walkSchema(child, path === '' ? name : `${path}.${name}`, kinds);
    }
  }
}

/** The fields of all members, told apart by `kind`, a literal in each. */
function* walkUnion(union: z.ZodUnion, path: string): Iterable<SchemaField> {
  const members = union.options.map((option) => shapeOf(option) ?? {});
  const kindOf = (shape: Record<string, z.core.$ZodType>) => String((shape.kind as z.ZodLiteral).value);
  const all = members.map(kindOf);
  const described = members.map(({ kind }) => z.globalRegistry.get(kind as z.ZodLiteral) ?? {});
  yield {
    path: `${path}.kind`,
    kind: 'value',
    default: undefined,
    required: true,
    expected: all.join(', '),
    description: all.map((name, i) => `${name}: ${String(described[i]?.description)}`).join('; '),
    kinds: all,
  };
  const fields = new Map(members.flatMap((shape) => Object.entries(shape)));
  fields.delete('kind');
  for (const [name, child] of fields) {
    const having = members.filter((shape) => name in shape).map(kindOf);
    yield* walkSchema(child, `${path}.${name}`, having);
  }
}
