import type { Clock } from '../base/clock.ts';
import { GatewayError } from '../base/errors.ts';
import type { Native } from '../io/native.ts';
import { NetlinkSubscription, NOTICE_GROUP } from '../io/netlink-subscription.ts';

export interface UnderlayWaitSetup {
  readonly native: Native;
  readonly clock: Clock;
  /** Throws ISTHMUS_ERR_KERNEL while the underlay is not there. */
  readonly find: () => unknown;
  readonly limitMs: number;
  /** Ends the wait early. */
  readonly signal: AbortSignal;
  /** Called once, when there is something to wait for. */
  readonly onWaiting: (reason: string) => void;
}

/**
 * Resolves when the underlay is there, at the limit, or when it is aborted; who called it looks once more and finds the reason. At boot
 * the gateway may be started before the address is there, and whoever starts it again after a failure waits longer each time. Rejects
 * with anything but ISTHMUS_ERR_KERNEL that `find` throws.
 */
export async function waitForUnderlay(setup: UnderlayWaitSetup): Promise<void> {
  const { native, clock, find, limitMs, signal, onWaiting } = setup;
  const { LINKS, ADDRESSES, ADDRESSES6, ROUTES, ROUTES6 } = NOTICE_GROUP;
  const groups = LINKS | ADDRESSES | ADDRESSES6 | ROUTES | ROUTES6;
  let notice: () => void = () => {};
  // Before the first look, so that nothing comes between it and the first notice.
  const subscription = new NetlinkSubscription(native, groups, () => notice());
  try {
    const reason = missing(find);
    if (reason === undefined || signal.aborted || limitMs <= 0) return;
    onWaiting(reason);
    await new Promise<void>((resolve, reject) => {
      const limit = clock.after(limitMs, end);
      signal.addEventListener('abort', end, { once: true });
      notice = () => {
        try {
          if (missing(find) === undefined) end();
        } catch (thrown) {
          reject(thrown);
          end();
        }
      };
      function end(): void {
        limit.cancel();
        signal.removeEventListener('abort', end);
        resolve();
      }
    });
  } finally {
    subscription.close();
  }
}

function missing(find: () => unknown): string | undefined {
  try {
    find();
    return undefined;
  } catch (thrown) {
    if (thrown instanceof GatewayError && thrown.code === 'ISTHMUS_ERR_KERNEL') return thrown.message;
    throw thrown;
  }
}
