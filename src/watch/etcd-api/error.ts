import { GatewayError } from '../../base/errors.ts';

/** etcd could not be reached, refused, or makes no sense. The message has the request, the endpoint and what came back. */
export class EtcdError extends GatewayError {
  override readonly name = 'EtcdError';
  /** HTTP status; 0 where there was no answer. */
  readonly status: number;
  /** Another endpoint, or the same a little later, may do better. */
  readonly passing: boolean;

  constructor(message: string, options: { status?: number; passing?: boolean; cause?: unknown } = {}) {
    super('ISTHMUS_ERR_ETCD', message, options);
    this.status = options.status ?? 0;
    this.passing = options.passing ?? false;
  }
}
