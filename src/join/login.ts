import type { RequestOptions } from 'node:https';
import { GatewayError, messageOf } from '../base/errors.ts';

/** Which cluster a person means. */
export interface ClusterChoice {
  /** Path; undefined: KUBECONFIG of the environment, which may name several files, or ~/.kube/config. */
  readonly kubeconfig: string | undefined;
  /** undefined: the current one. */
  readonly context: string | undefined;
}

/** A cluster as a person's kubeconfig leads to it. */
export interface Login {
  readonly context: string;
  /** URL. */
  readonly server: string;
  /** PEM; undefined where the system's own authorities count. */
  readonly ca: string | undefined;
  readonly tlsServerName: string | undefined;
  readonly skipsTlsVerify: boolean;
  /** Credentials, trust and proxy for one request; asked for each time, since what plugins give out expires. */
  options(): Promise<RequestOptions>;
}

const PACKAGE = '@kubernetes/client-node';

/** The login that a kubeconfig describes. Throws ISTHMUS_ERR_KUBERNETES for one that is none. */
export async function logIn(choice: ClusterChoice): Promise<Login> {
  const { KubeConfig, bufferFromFileOrString } = await loadPackage();
  const config = new KubeConfig();
  const origin = choice.kubeconfig ?? 'the default kubeconfig';
  try {
    if (choice.kubeconfig === undefined) config.loadFromDefault();
    else config.loadFromFile(choice.kubeconfig);
  } catch (cause) {
    throw wrong(`${origin} cannot be read: ${messageOf(cause)}`, cause);
  }
  const context = choice.context ?? config.getCurrentContext();
  const known = config.getContexts().map(({ name }) => name);
  if (!known.includes(context)) {
    const names = known.length === 0 ? 'it has none' : `it has ${known.join(', ')}`;
    throw wrong(`${origin} has no context "${context}": ${names}`);
  }
  config.setCurrentContext(context);
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw wrong(`${origin}: context "${context}" names a cluster that is not there`);
  if (config.getCurrentUser() === null) {
    throw wrong(`${origin}: context "${context}" names a user that is not there`);
  }
  return {
    context,
    server: cluster.server.replace(/\/+$/, ''),
    ca: bufferFromFileOrString(cluster.caFile, cluster.caData)?.toString('utf8'),
    tlsServerName: cluster.tlsServerName,
    skipsTlsVerify: cluster.skipTLSVerify === true,
    async options() {
      const options: RequestOptions = {};
      try {
        await config.applyToHTTPSOptions(options);
      } catch (cause) {
        throw wrong(`${origin}: context "${context}" cannot log in: ${messageOf(cause)}`, cause);
      }
      return options;
    },
  };
}

/** Loaded only here: the gateway itself has no use for its 70 MB. */
async function loadPackage(): Promise<typeof import('@kubernetes/client-node')> {
  try {
    return await import('@kubernetes/client-node');
  } catch (cause) {
    throw new GatewayError(
      'ISTHMUS_ERR_KUBERNETES',
      `the optional package ${PACKAGE} is needed to use a kubeconfig and cannot be loaded (${messageOf(cause).split('\n')[0]}); install isthmus without --omit=optional, or run this where it is installed: the container image leaves it out`,
      { cause },
    );
  }
}

function wrong(message: string, cause?: unknown): GatewayError {
  return new GatewayError('ISTHMUS_ERR_KUBERNETES', message, { cause });
}
