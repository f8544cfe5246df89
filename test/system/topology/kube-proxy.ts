import { type Machine, run } from '../../../src/measure/topology.ts';

/** Which program puts the rules into the kernel; nodes have one or the other, by the age of their distribution. */
export type IptablesFlavour = 'iptables-nft' | 'iptables-legacy';

export interface ProxiedService {
  readonly address: string;
  readonly port: number;
  /** Addresses of the pods behind it; they listen on `targetPort`. */
  readonly endpoints: readonly string[];
  readonly targetPort: number;
  /** kube-proxy's --cluster-cidr: what comes from elsewhere is masqueraded. */
  readonly clusterCidr: string;
}

/**
 * The nat table as kube-proxy writes it in iptables mode for one ClusterIP service (kubernetes/pkg/proxy/iptables, release 1.28): same chains, same
 * order, same marks. Replaces the whole table, as `iptables-restore` without --noflush does. `alsoPostrouting`: rules that stand before its own.
 */
export function natTable(service: ProxiedService, alsoPostrouting: readonly string[] = []): string {
  const { address, port, endpoints, targetPort, clusterCidr } = service;
  const comment = '-m comment --comment "default/web:http"';
  const endpointChain = (index: number) => `KUBE-SEP-${'ENDPOINT'.padEnd(15, 'X')}${index}`;
  const sharing = endpoints.map((endpoint, index) => {
    const rest = endpoints.length - index;
    const share = rest === 1 ? '' : ` -m statistic --mode random --probability ${(1 / rest).toFixed(11)}`;
    return `-A KUBE-SVC-WEBXXXXXXXXXXXXX -m comment --comment "default/web:http -> ${endpoint}:${targetPort}"${share} -j ${endpointChain(index)}`;
  });
  const translations = endpoints.flatMap((endpoint, index) => [
    `-A ${endpointChain(index)} -s ${endpoint}/32 ${comment} -j KUBE-MARK-MASQ`,
    `-A ${endpointChain(index)} -p tcp ${comment} -m tcp -j DNAT --to-destination ${endpoint}:${targetPort}`,
  ]);
  return [
    '*nat',
    ':PREROUTING ACCEPT [0:0]',
    ':INPUT ACCEPT [0:0]',
    ':OUTPUT ACCEPT [0:0]',
    ':POSTROUTING ACCEPT [0:0]',
    ':KUBE-MARK-MASQ - [0:0]',
    ':KUBE-POSTROUTING - [0:0]',
    ':KUBE-SERVICES - [0:0]',
    ':KUBE-SVC-WEBXXXXXXXXXXXXX - [0:0]',
    ...endpoints.map((_, index) => `:${endpointChain(index)} - [0:0]`),
    '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    ...alsoPostrouting.map((rule) => `-A POSTROUTING ${rule}`),
    '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
    '-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000',
    '-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN',
    '-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0',
    '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
    `-A KUBE-SERVICES -d ${address}/32 -p tcp ${comment} -m tcp --dport ${port} -j KUBE-SVC-WEBXXXXXXXXXXXXX`,
    `-A KUBE-SVC-WEBXXXXXXXXXXXXX ! -s ${clusterCidr} -d ${address}/32 -p tcp ${comment} -m tcp --dport ${port} -j KUBE-MARK-MASQ`,
    ...sharing,
    ...translations,
    'COMMIT',
    '',
  ].join('\n');
}

/** Puts such a table into a machine's kernel. */
export async function restoreTable(machine: Machine, flavour: IptablesFlavour, table: string): Promise<void> {
  const inside = ['ip', 'netns', 'exec', machine.namespace];
  await run([...inside, `${flavour}-restore`], table);
}
