import { GatewayError } from '../base/errors.ts';
import { LOCAL } from '../config/cross-checks.ts';
import { sourceName } from '../config/source-name.ts';
import type { WatchConfig } from '../config/watch-schema.ts';
import type { Native } from '../io/native.ts';
import type { Netlink } from '../io/netlink.ts';
import type { WatchEnvironment } from './environment.ts';
import { FileWatcher } from './file.ts';
import { KernelRoutesWatcher } from './kernel-routes/kernel-routes.ts';
import type { Watcher } from './watcher.ts';

export interface WatcherParts {
  readonly environment: WatchEnvironment;
  readonly native: Native;
  readonly netlink: Netlink;
}

/** The watcher that an entry of `watch` asks for. */
export function watcherOf(watch: WatchConfig, { environment, native, netlink }: WatcherParts): Watcher {
  const { clock, logger } = environment;
  switch (watch.kind) {
    case 'file':
      return new FileWatcher({ path: watch.path, pollIntervalMs: watch.pollInterval, clock, logger });
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
