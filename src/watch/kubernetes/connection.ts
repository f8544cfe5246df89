import type { WatchEnvironment } from '../environment.ts';
import type { KubernetesAccess } from '../kubernetes-api/access.ts';
import { KubernetesApi } from '../kubernetes-api/client.ts';
import { Reflector } from '../kubernetes-api/reflector.ts';
import { type KubernetesObject, type Resource, resourceName } from '../kubernetes-api/resource.ts';
import type { ObjectStream } from '../store-event.ts';
import type { StreamState } from '../stream-state.ts';

/** A list-watch together with what status shows of it. */
export interface OpenStream<T> extends ObjectStream<T> {
  readonly state: StreamState;
  /** It is gone from status; call it when `events` has ended. */
  close(): void;
}

export type Projection<T> = (object: KubernetesObject) => T | undefined;

/** One API server, as the source reads it. Tests have one of their own. */
export interface Connection {
  /** The server's URL; until it is known, where the credentials for it are. */
  readonly server: string;
  stream<T>(resource: Resource, project: Projection<T>): OpenStream<T>;
  /** Closes all connections, and takes all its streams out of status. */
  close(): void;
}

export type Connect = (source: string, access: KubernetesAccess, environment: WatchEnvironment) => Connection;

export const connectToApi: Connect = (source, access, environment) => {
  const { clock, logger, random, streams } = environment;
  const api = new KubernetesApi(access, { clock, logger });
  const states = new Set<StreamState>();
  return {
    get server() {
      return api.server;
    },
    stream(resource, project) {
      const state = streams.open(source, nameOf(resource));
      states.add(state);
      const reflector = new Reflector({ api, resource, project, stream: state, clock, logger, random });
      return {
        state,
        events: (signal) => reflector.events(signal),
        close() {
          states.delete(state);
          streams.close(state);
        },
      };
    },
    close() {
      for (const state of states) streams.close(state);
      api.close();
    },
  };
};

/** Several streams of one source may read single objects of the same resource: status and metrics tell them apart by name. */
function nameOf(resource: Resource): string {
  const { namespace, name } = resource;
  if (name === undefined) return resourceName(resource);
  return [resourceName(resource), namespace, name].filter((part) => part !== undefined).join('/');
}
