import type { ServerResponse } from 'node:http';

/** One line of a watch. */
export function send(response: ServerResponse, type: string, object: object): void {
  response.write(`${JSON.stringify({ type, object })}\n`);
}

/** The line with which a server ends a watch that it cannot go on with. */
export function errorEvent(code: number, reason: string): string {
  const object = {
    kind: 'Status',
    apiVersion: 'v1',
    status: 'Failure',
    message: `told by a test: ${reason}`,
    reason,
    code,
  };
  return `${JSON.stringify({ type: 'ERROR', object })}\n`;
}

const REASONS: Readonly<Record<number, string>> = {
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  409: 'AlreadyExists',
  410: 'Expired',
  422: 'Invalid',
  429: 'TooManyRequests',
  503: 'ServiceUnavailable',
};

/** Answers with a Status object. */
export function sendStatus(
  response: ServerResponse,
  code: number,
  message: string,
  headers: Record<string, string> = {},
): void {
  const reason = REASONS[code] ?? 'InternalError';
  sendJson(
    response,
    code,
    { kind: 'Status', apiVersion: 'v1', status: 'Failure', message, reason, code },
    headers,
  );
}

/** Answers with JSON. */
export function sendJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}
