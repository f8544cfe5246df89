import { readFileSync } from 'node:fs';
import { LOCAL } from '../config/cross-checks.ts';
import { sourceName } from '../config/source-name.ts';
import type { WatchConfig } from '../config/watch-schema.ts';
import type { Native } from '../io/native.ts';
import type { Netlink } from '../io/netlink.ts';
import { CalicoWatcher } from './calico/calico.ts';
import { CiliumWatcher } from './cilium/cilium.ts';
import type { ChildSources, WatchEnvironment } from './environment.ts';
import { EtcdWatcher } from './etcd/etcd-watcher.ts';
import type { EtcdAccess } from './etcd-api/access.ts';
import { FileWatcher } from './file.ts';
import type { GatewaySelection } from './gateway-selection.ts';
import { KernelRoutesWatcher } from './kernel-routes/kernel-routes.ts';
import type { ClusterReport } from './kubernetes/cluster-status.ts';
import { KubernetesWatcher } from './kubernetes/kubernetes.ts';
import { ReportingWatcher } from './kubernetes/reporting-watcher.ts';
import type { KubernetesAccess } from './kubernetes-api/access.ts';
import type { Watcher } from './watcher.ts';

export interface WatcherParts {
  readonly environment: WatchEnvironment;
  readonly native: Native;
  readonly netlink: Netlink;
  readonly children: (parent: string) => ChildSources;
  /** How this gateway is doing with a remote cluster, for the status of its RemoteCluster. */
  readonly report: (cluster: string) => ClusterReport | undefined;
  /** Whether this gateway is stopping for good, so that others should send it nothing more. */
  readonly leaves: () => boolean;
}

/** The watcher that an entry of `watch` asks for. Throws ISTHMUS_ERR_CONFIG for one that contradicts itself. */
export function watcherOf(watch: WatchConfig, parts: WatcherParts): Watcher {
  const { environment, children } = parts;
  const { clock, logger, own } = environment;
  const name = sourceName(watch);
  const ownCluster = own.current.cluster;
  switch (watch.kind) {
    case 'file':
      return new FileWatcher({ path: watch.path, pollIntervalMs: watch.pollInterval, clock, logger });
    case 'kubernetes': {
      const isReporting = watch.remoteClusters && watch.cluster === LOCAL;
      const watcher = new KubernetesWatcher({
        ...{ name, ownCluster, environment },
        cluster: watch.cluster,
        api: kubernetesAccess(watch),
        gateways: gatewaySelection(watch.gateways),
        serviceCidrs: watch.serviceCidrs.length === 0 ? 'auto' : watch.serviceCidrs,
        pods: watch.pods,
        addressType: watch.addressType,
        remoteClusters: isReporting,
        children: children(name),
      });
      if (!isReporting) return watcher;
      return new ReportingWatcher({
        watcher,
        api: kubernetesAccess(watch),
        environment,
        report: parts.report,
      });
    }
    case 'calico':
      return new CalicoWatcher({
        ...{ name, ownCluster, environment },
        cluster: watch.cluster,
        datastore:
          watch.datastore === 'etcd'
            ? { kind: 'etcd', access: etcdAccess(watch) }
            : { kind: 'kubernetes', api: kubernetesAccess(watch) },
        aggregate: watch.aggregate,
        gateways: gatewaySelection(watch.gateways),
      });
    case 'cilium':
      return new CiliumWatcher({
        ...{ name, ownCluster, environment },
        cluster: watch.cluster,
        api: kubernetesAccess(watch),
        gateways: gatewaySelection(watch.gateways),
      });
    case 'etcd':
      return new EtcdWatcher({
        ...{ name, environment },
        access: etcdAccess(watch),
        prefix: watch.prefix,
        register: watch.register,
        leaseMs: watch.leaseTime,
        weight: watch.weight,
        withdrawOnStop: parts.leaves,
      });
    case 'kernel-routes':
      return new KernelRoutesWatcher({
        ...{ name, environment },
        native: parts.native,
        netlink: parts.netlink,
        table: watch.table,
        protocols: watch.protocols,
        within: watch.within,
        isLocal: watch.cluster === LOCAL,
        cluster: watch.cluster === LOCAL ? ownCluster : watch.cluster,
        via: watch.via,
      });
  }
}

function kubernetesAccess({
  kubeconfig,
  context,
}: {
  kubeconfig: string;
  context: string;
}): KubernetesAccess {
  if (kubeconfig === 'in-cluster') return { kind: 'in-cluster' };
  return { kind: 'kubeconfig-file', path: kubeconfig, context: context === 'current' ? undefined : context };
}

function gatewaySelection(text: string): GatewaySelection {
  return text === 'all' || text === 'objects' ? { kind: text } : { kind: 'labels', selector: text };
}

type EtcdFields = Pick<
  Extract<WatchConfig, { kind: 'etcd' }>,
  'endpoints' | 'username' | 'passwordFile' | 'caFile' | 'certFile' | 'keyFile'
>;

/** Files are read anew for each connection: certificates and passwords are rotated under a running gateway. */
function etcdAccess({
  endpoints,
  username,
  passwordFile,
  caFile,
  certFile,
  keyFile,
}: EtcdFields): EtcdAccess {
  return {
    endpoints,
    ...(username !== 'none' && { username }),
    // Editors end a file with a newline, which is no part of the password.
    ...(passwordFile !== 'none' && { password: () => readFileSync(passwordFile, 'utf8').trim() }),
    ...(caFile !== 'none' && { ca: () => readFileSync(caFile, 'utf8') }),
    ...(certFile !== 'none' && { cert: () => readFileSync(certFile, 'utf8') }),
    ...(keyFile !== 'none' && { key: () => readFileSync(keyFile, 'utf8') }),
  };
}
