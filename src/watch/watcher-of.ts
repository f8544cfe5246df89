import { readFileSync } from 'node:fs';
import { GatewayError } from '../base/errors.ts';
import { LOCAL } from '../config/cross-checks.ts';
import { sourceName } from '../config/source-name.ts';
import type { WatchConfig } from '../config/watch-schema.ts';
import type { Native } from '../io/native.ts';
import type { Netlink } from '../io/netlink.ts';
import type { ChildSources, WatchEnvironment } from './environment.ts';
import { EtcdWatcher } from './etcd/etcd-watcher.ts';
import type { EtcdAccess } from './etcd-api/access.ts';
import { FileWatcher } from './file.ts';
import { KernelRoutesWatcher } from './kernel-routes/kernel-routes.ts';
import type { Watcher } from './watcher.ts';

export interface WatcherParts {
  readonly environment: WatchEnvironment;
  readonly native: Native;
  readonly netlink: Netlink;
  readonly children: (parent: string) => ChildSources;
  /** Whether this gateway is stopping for good, so that others should send it nothing more. */
  readonly leaves: () => boolean;
}

/** The watcher that an entry of `watch` asks for. */
export function watcherOf(
  watch: WatchConfig,
  { environment, native, netlink, leaves }: WatcherParts,
): Watcher {
  const { clock, logger } = environment;
  switch (watch.kind) {
    case 'file':
      return new FileWatcher({ path: watch.path, pollIntervalMs: watch.pollInterval, clock, logger });
    case 'etcd':
      return new EtcdWatcher({
        name: sourceName(watch),
        access: etcdAccess(watch),
        prefix: watch.prefix,
        register: watch.register,
        leaseMs: watch.leaseTime,
        weight: watch.weight,
        environment,
        withdrawOnStop: leaves,
      });
    case 'kernel-routes':
      return new KernelRoutesWatcher({
        name: sourceName(watch),
        native,
        netlink,
        table: watch.table,
        protocols: watch.protocols,
        within: watch.within,
        isLocal: watch.cluster === LOCAL,
        cluster: watch.cluster === LOCAL ? environment.own.current.cluster : watch.cluster,
        via: watch.via,
        environment,
      });
    default:
      throw new GatewayError('ISTHMUS_ERR_CONFIG', `${sourceName(watch)} cannot be watched yet`);
  }
}

type EtcdFields = Pick<
  Extract<WatchConfig, { kind: 'etcd' }>,
  'endpoints' | 'username' | 'passwordFile' | 'caFile' | 'certFile' | 'keyFile'
>;

/** Files are read anew for each connection: certificates and passwords are rotated under a running gateway. */
function etcdAccess({
  endpoints,
  username,
  passwordFile,
  caFile,
  certFile,
  keyFile,
}: EtcdFields): EtcdAccess {
  return {
    endpoints,
    ...(username !== 'none' && { username }),
    // Editors end a file with a newline, which is no part of the password.
    ...(passwordFile !== 'none' && { password: () => readFileSync(passwordFile, 'utf8').trim() }),
    ...(caFile !== 'none' && { ca: () => readFileSync(caFile, 'utf8') }),
    ...(certFile !== 'none' && { cert: () => readFileSync(certFile, 'utf8') }),
    ...(keyFile !== 'none' && { key: () => readFileSync(keyFile, 'utf8') }),
  };
}
