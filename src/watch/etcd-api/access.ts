/** PEM text or a password. As a function it is asked for each new request, so that a file that was rotated is used without a restart. */
export type Secret = string | (() => string);

/** How an etcd is reached. */
export interface EtcdAccess {
  /** `https://host:2379`; tried in turn. */
  readonly endpoints: readonly string[];
  readonly username?: string;
  readonly password?: Secret;
  /** PEM of the certificates that sign etcd's; those of the system without it. */
  readonly ca?: Secret;
  /** PEM of our client certificate and its key. */
  readonly cert?: Secret;
  readonly key?: Secret;
}

export function secretText(secret: Secret): string {
  return typeof secret === 'string' ? secret : secret();
}
