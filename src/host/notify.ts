import type { Native } from '../io/native.ts';

/**
 * Tells a service manager what state we are in (sd_notify(3)). NOTIFY_SOCKET names a unix datagram socket; where it is not set, nothing
 * happens, and a failure is not worth stopping for.
 */
export function notifyServiceManager(native: Native, state: string, environment: NodeJS.ProcessEnv): void {
  const path = environment.NOTIFY_SOCKET;
  if (path !== undefined && path !== '') native.unixDatagram(path, state);
}
