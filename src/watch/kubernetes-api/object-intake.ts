import { GatewayError, messageOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { StreamState } from '../stream-state.ts';
import { type KubernetesObject, objectKey } from './resource.ts';

export interface IntakeOptions<T> {
  readonly project: (raw: KubernetesObject) => T | undefined;
  readonly stream: StreamState;
  readonly logger: Logger;
}

export interface TakenIn<T> {
  readonly key: string;
  /** Undefined: not of interest. */
  readonly value: T | undefined;
}

/** Cuts raw objects down to what the reader needs, and counts those that make no sense. */
export class ObjectIntake<T> {
  readonly #options: IntakeOptions<T>;
  #logged = '';

  constructor(options: IntakeOptions<T>) {
    this.#options = options;
  }

  /** Undefined for what is no object with a name. `lastGood` stays in force for an object that `project` cannot make sense of. */
  take(raw: unknown, lastGood: (key: string) => T | undefined): TakenIn<T> | undefined {
    const key = objectKey(raw);
    if (key === undefined) {
      this.odd('an object without metadata.name was passed over');
      return undefined;
    }
    try {
      return { key, value: this.#options.project(raw as KubernetesObject) };
    } catch (thrown) {
      this.odd(`${key} was left as it was: ${messageOf(thrown)}`);
      return { key, value: lastGood(key) };
    }
  }

  /** Counts something that makes no sense; logs it unless the last one was the same. */
  odd(reason: string): void {
    const { stream, logger } = this.#options;
    stream.errors++;
    if (reason === this.#logged) return;
    this.#logged = reason;
    logger.warn(
      { source: stream.source, resource: stream.resource, reason },
      'the API server sent what makes no sense',
    );
  }
}

/** Throws ISTHMUS_ERR_CAPACITY when there are more objects than `objectsMax`. */
export function assertRoom(objects: number, objectsMax: number, stream: StreamState): void {
  if (objects <= objectsMax) return;
  throw new GatewayError(
    'ISTHMUS_ERR_CAPACITY',
    `${stream.resource}: more than ${objectsMax} objects; narrow it with a label selector`,
  );
}
