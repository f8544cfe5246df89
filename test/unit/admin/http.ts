import { type IncomingHttpHeaders, type RequestOptions, request } from 'node:http';
import { connect } from 'node:net';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** One request on a connection of its own. `address` is host:port. */
export function ask(
  address: string,
  path: string,
  options: RequestOptions & { body?: string } = {},
): Promise<Answer> {
  const colon = address.lastIndexOf(':');
  const { body, ...rest } = options;
  return new Promise((resolve, reject) => {
    const asked = request(
      { host: address.slice(0, colon), port: Number(address.slice(colon + 1)), path, agent: false, ...rest },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks).toString(),
          }),
        );
      },
    );
    asked.on('error', reject);
    asked.end(body);
  });
}

/** Sends bytes as they are and resolves with all that comes back until the server closes. */
export function exchange(address: string, bytes: string): Promise<string> {
  const colon = address.lastIndexOf(':');
  return new Promise((resolve) => {
    const socket = connect(Number(address.slice(colon + 1)), address.slice(0, colon));
    let received = '';
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
    });
    // A server that closes on a bad request may reset the connection; what it said before that is what counts.
    socket.on('error', () => {});
    socket.on('close', () => resolve(received));
    socket.end(bytes);
  });
}
