import { GatewayError } from '../base/errors.ts';

/** What every table of the FIB says when it is full, before it has changed anything. */
export function capacityError(what: string, limit: number, advice: string): GatewayError {
  return new GatewayError(
    'ISTHMUS_ERR_CAPACITY',
    `the FIB is full: it holds at most ${limit} ${what}; ${advice}`,
  );
}
