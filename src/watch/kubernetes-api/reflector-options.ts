import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { StreamState } from '../stream-state.ts';
import type { KubernetesApi } from './client.ts';
import type { ReflectorLimits } from './limits.ts';
import type { KubernetesObject, Resource } from './resource.ts';

export interface ReflectorOptions<T> {
  readonly api: KubernetesApi;
  readonly resource: Resource;
  /** What the reader needs of an object, as small as can be; undefined: not of interest. */
  readonly project: (raw: KubernetesObject) => T | undefined;
  /** Deep equality otherwise. */
  readonly equals?: (one: T, other: T) => boolean;
  readonly stream: StreamState;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A number from 0 up to 1. */
  readonly random: () => number;
  readonly limits?: Partial<ReflectorLimits>;
}
