import { lstatSync, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { GatewayError } from '../base/errors.ts';

/**
 * Makes way for a unix socket at `path`: removes one that nobody listens on, as a killed process leaves it. Throws ISTHMUS_ERR_ADMIN
 * when somebody does, or when something else is there.
 */
export async function removeStaleSocket(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new GatewayError(
      'ISTHMUS_ERR_ADMIN',
      `admin.listen: ${path} exists and is no socket; remove it or choose another path`,
    );
  }
  if (await someoneListens(path)) {
    throw new GatewayError(
      'ISTHMUS_ERR_ADMIN',
      `admin.listen: another process listens on ${path}; stop it or choose another path`,
    );
  }
  unlinkSync(path);
}

function someoneListens(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // Only a refusal proves that nobody listens; a full backlog or a missing permission does not.
    socket.once('error', ({ code }: NodeJS.ErrnoException) =>
      resolve(code !== 'ECONNREFUSED' && code !== 'ENOENT'),
    );
  });
}
