import { GatewayError } from '../base/errors.ts';
import { sourceName } from '../config/source-name.ts';
import type { WatchConfig } from '../config/watch-schema.ts';
import type { WatchEnvironment } from './environment.ts';
import { FileWatcher } from './file.ts';
import type { Watcher } from './watcher.ts';

export interface WatcherParts {
  readonly environment: WatchEnvironment;
}

/** The watcher that an entry of `watch` asks for. */
export function watcherOf(watch: WatchConfig, { environment }: WatcherParts): Watcher {
  const { clock, logger } = environment;
  switch (watch.kind) {
    case 'file':
      return new FileWatcher({ path: watch.path, pollIntervalMs: watch.pollInterval, clock, logger });
    default:
      throw new GatewayError('ISTHMUS_ERR_CONFIG', `${sourceName(watch)} cannot be watched yet`);
  }
}
