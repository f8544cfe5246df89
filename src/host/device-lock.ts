import { createServer, type Server } from 'node:net';
import { GatewayError } from '../base/errors.ts';

/**
 * One gateway to a device. Two would each open queues of the same TUN device and take half of the flows from each other. The lock is an
 * abstract unix socket: it belongs to the network namespace, as the device does, and the kernel frees it however the process ends.
 */
export async function lockDevice(device: string): Promise<Server> {
  const server = createServer((connection) => connection.destroy());
  server.unref();
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const message =
        cause.code === 'EADDRINUSE'
          ? `another isthmus already runs on device ${device} in this network namespace; stop it, or set tunnel.device to another name`
          : `cannot lock device ${device}: ${cause.message}`;
      reject(new GatewayError('ISTHMUS_ERR_KERNEL', message, { cause }));
    });
    server.listen(`\0isthmus/${device}`, resolve);
  });
  return server;
}
