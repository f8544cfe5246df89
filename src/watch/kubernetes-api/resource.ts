/** What is listed and watched: all objects of a kind, or those of a namespace, of a selector, or of one name. */
export interface Resource {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  /** In lower case, as in paths: `nodes`. */
  readonly plural: string;
  readonly namespace?: string;
  /** Only the object with this name. */
  readonly name?: string;
  readonly labelSelector?: string;
}

/** Any object of the API as far as the reflector cares; `project` of the reader makes sense of the rest. */
export interface KubernetesObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly resourceVersion?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly [field: string]: unknown;
  };
  readonly [field: string]: unknown;
}

/** `nodes`, `ippools.crd.projectcalico.org`: as kubectl and RBAC name it. */
export function resourceName({ group, plural }: Resource): string {
  return group === '' ? plural : `${plural}.${group}`;
}

/** Path of the collection: a list or watch of one object is one of the collection with a field selector, which works before it exists. */
export function resourcePath({ group, version, plural, namespace }: Resource): string {
  const root = group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
  return namespace === undefined
    ? `${root}/${plural}`
    : `${root}/namespaces/${encodeURIComponent(namespace)}/${plural}`;
}

/** Query parameters that narrow a list or watch to the resource. */
export function selectorsOf({ name, labelSelector }: Resource): Record<string, string> {
  return {
    ...(name === undefined ? {} : { fieldSelector: `metadata.name=${name}` }),
    ...(labelSelector === undefined ? {} : { labelSelector }),
  };
}

/** `name`, or `namespace/name`; undefined when that is no object with a name. */
export function objectKey(value: unknown): string | undefined {
  const metadata = fieldOf(value, 'metadata');
  const name = fieldOf(metadata, 'name');
  if (typeof name !== 'string' || name === '') return undefined;
  const namespace = fieldOf(metadata, 'namespace');
  return typeof namespace === 'string' && namespace !== '' ? `${namespace}/${name}` : name;
}

/** One field of what may or may not be an object. */
export function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
