import { setTimeout as sleep } from 'node:timers/promises';
import { GatewayError } from '../base/errors.ts';
import { fieldOf, type KubernetesObject } from '../watch/kubernetes-api/resource.ts';
import type { ClusterApi } from './cluster-api.ts';
import type { Ledger } from './ledger.ts';
import { collectionPath, isOurs, MANAGED_BY, MANAGER, objectPath, titleOf } from './objects.ts';

/** API servers need a second or two until they serve a new kind. */
const SERVED_MS = 30_000;
const SERVED_POLL_MS = 200;

/** Writes objects into one cluster: again and again with the same result, and never over what somebody else made. */
export class Writer {
  readonly cluster: string;
  readonly api: ClusterApi;
  readonly ledger: Ledger;

  constructor(cluster: string, api: ClusterApi, ledger: Ledger) {
    this.cluster = cluster;
    this.api = api;
    this.ledger = ledger;
  }

  /** Makes it as given, or brings it to that. Refuses an object of somebody else's. */
  async apply(object: KubernetesObject, why = ''): Promise<void> {
    const path = objectPath(object);
    const before = await this.api.find(path);
    if (before !== undefined && !isOurs(before)) throw this.#foreign(object);
    const after = await this.api.apply(path, object);
    this.ledger.step(this.cluster, outcomeOf(before, after), titleOf(object), why);
  }

  /** Makes it where it is missing; one that is there is taken as it is, whoever made it. For what several users share. */
  async ensure(object: KubernetesObject): Promise<void> {
    const before = await this.api.find(objectPath(object));
    if (before?.metadata.deletionTimestamp !== undefined) throw this.#leaving(object);
    if (before === undefined) await this.api.create(collectionPath(object), object);
    const outcome = before === undefined ? 'created' : 'unchanged';
    const why = before === undefined || isOurs(before) ? '' : 'not made by join, used as it is';
    this.ledger.step(this.cluster, outcome, titleOf(object), why);
  }

  /** Waits until the kind that `crd` defines can be used. */
  async served(crd: KubernetesObject): Promise<void> {
    const group = String(fieldOf(crd.spec, 'group'));
    const plural = String(fieldOf(fieldOf(crd.spec, 'names'), 'plural'));
    const deadline = performance.now() + SERVED_MS;
    while ((await this.api.list(`/apis/${group}/v1alpha1/${plural}`)) === undefined) {
      if (performance.now() > deadline) {
        const advice = `see kubectl describe crd ${crd.metadata.name}`;
        throw new GatewayError(
          'ISTHMUS_ERR_JOIN',
          `${this.cluster} does not serve ${group}/v1alpha1 ${plural} although ${titleOf(crd)} is there; ${advice}`,
        );
      }
      await sleep(SERVED_POLL_MS);
    }
  }

  /** Removes what we made; keeps what we did not. */
  async remove(object: KubernetesObject): Promise<void> {
    const path = objectPath(object);
    const before = await this.api.find(path);
    // What is on its way out, and waits for whoever has a finalizer on it, is as good as gone.
    if (before === undefined || before.metadata.deletionTimestamp !== undefined) {
      return this.ledger.step(this.cluster, 'absent', titleOf(object));
    }
    if (!isOurs(before)) return this.ledger.step(this.cluster, 'kept', titleOf(object), 'not made by join');
    await this.api.remove(path);
    this.ledger.step(this.cluster, 'removed', titleOf(object));
  }

  #leaving(object: KubernetesObject): GatewayError {
    return new GatewayError(
      'ISTHMUS_ERR_JOIN',
      `${titleOf(object)} of ${this.cluster} is being removed; try again once it is gone`,
    );
  }

  #foreign(object: KubernetesObject): GatewayError {
    const label = `${MANAGED_BY}=${MANAGER}`;
    return new GatewayError(
      'ISTHMUS_ERR_JOIN',
      `${titleOf(object)} of ${this.cluster} is there already and was not made by join, so it is not overwritten; remove it, or label it ${label} to hand it over`,
    );
  }
}

/** An apply that changes nothing leaves the resourceVersion as it was. */
function outcomeOf(before: KubernetesObject | undefined, after: KubernetesObject) {
  if (before === undefined) return 'created';
  return before.metadata.resourceVersion === after.metadata.resourceVersion ? 'unchanged' : 'changed';
}
