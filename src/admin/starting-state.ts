import type { Logger } from '../base/log.ts';
import type { Config } from '../config/schema.ts';
import { ProblemLog } from '../host/problem-log.ts';
import { readVersion } from '../observe/version.ts';
import type { GatewayState } from './gateway-view.ts';

/** What is known of a gateway before anything of it runs. */
export function startingState(
  configFile: string,
  config: Config,
  logger: Logger,
  nowWallMs: number,
): GatewayState {
  return {
    version: readVersion(),
    configFile,
    config,
    phase: 'starting',
    startedWallMs: nowWallMs,
    loadedWallMs: nowWallMs,
    lastReload: null,
    reloads: 0,
    reloadFailures: 0,
    problems: new ProblemLog(logger),
    peerErrors: new Map(),
    underlay: undefined,
    device: undefined,
    plane: undefined,
  };
}
