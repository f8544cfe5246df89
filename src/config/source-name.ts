/** The fields that tell sources apart. */
export interface SourceKey {
  readonly kind: string;
  readonly path?: string;
  readonly cluster?: string;
  readonly prefix?: string;
  readonly table?: number;
}

/** What a source is called in every listing: `file:/etc/isthmus/clusters.d`, `kubernetes:west`. No two sources of a configuration share a name. */
export function sourceName({ kind, path, cluster, prefix, table }: SourceKey): string {
  switch (kind) {
    case 'file':
      return `file:${path}`;
    case 'etcd':
      return `etcd:${prefix}`;
    case 'kernel-routes':
      return `kernel-routes:${table}:${cluster}`;
    default:
      return `${kind}:${cluster}`;
  }
}
