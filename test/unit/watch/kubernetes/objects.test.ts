import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatCidr, parseAddress, parseCidr } from '../../../../src/base/address.ts';
import { credentialsOf } from '../../../../src/watch/kubernetes/cluster-secret.ts';
import { type NodeReading, nodeOf, serviceRangeOf } from '../../../../src/watch/kubernetes/objects.ts';
import { remoteClusterOf } from '../../../../src/watch/kubernetes/remote-cluster.ts';
import { isMalformed } from '../../../../src/watch/last-good.ts';
import { matcherOf } from '../../../../src/watch/node-gateways.ts';

const reading = (changes: Partial<NodeReading> = {}): NodeReading => ({
  pods: true,
  addressType: 'InternalIP',
  family: 'ipv4',
  matches: () => false,
  addresses: 'of-all',
  ...changes,
});

function node(spec: object, addresses: object[] = [{ type: 'InternalIP', address: '10.0.0.5' }], more = {}) {
  return { metadata: { name: 'worker-3' }, spec, status: { addresses, ...more } };
}

function problemOf(object: object): string {
  if (!isMalformed(object)) throw new Error(`not malformed: ${JSON.stringify(object)}`);
  return object.problem;
}

describe('a Node', () => {
  it('has the pod CIDRs of both families, numbered as they stand in the list', () => {
    const read = nodeOf(node({ podCIDR: 'fd00::/64', podCIDRs: ['fd00::/64', '10.2.3.0/24'] }), reading());
    assert.ok(!isMalformed(read));
    assert.deepEqual(read.podCidrs, [
      { index: 0, cidr: parseCidr('fd00::/64') },
      { index: 1, cidr: parseCidr('10.2.3.0/24') },
    ]);
    assert.equal(read.address, parseAddress('10.0.0.5'));
  });

  it('has podCIDR where a server writes no podCIDRs, and none where the controller gives out none', () => {
    const old = nodeOf(node({ podCIDR: '10.2.3.0/24' }), reading());
    assert.ok(!isMalformed(old));
    assert.deepEqual(
      old.podCidrs.map(({ cidr }) => formatCidr(cidr)),
      ['10.2.3.0/24'],
    );
    const none = nodeOf(node({}), reading());
    assert.ok(!isMalformed(none));
    assert.deepEqual(none.podCidrs, []);
  });

  it('has the address of the wanted type, and names those that it has instead', () => {
    const addresses = [
      { type: 'Hostname', address: 'worker-3' },
      { type: 'ExternalIP', address: '198.51.100.7' },
    ];
    const external = nodeOf(node({}, addresses), reading({ addressType: 'ExternalIP' }));
    assert.ok(!isMalformed(external));
    assert.equal(external.address, parseAddress('198.51.100.7'));
    const message = problemOf(nodeOf(node({}, addresses), reading()));
    assert.match(
      message,
      /^Node\/worker-3: status\.addresses is .*ExternalIP 198\.51\.100\.7.*expected an InternalIP of IPv4/,
    );
  });

  it('needs an address only where it is to be a gateway', () => {
    const matches = matcherOf('test', { kind: 'labels', selector: 'edge' });
    const labelled = { ...node({}, []), metadata: { name: 'worker-3', labels: { edge: '' } } };
    const optional = nodeOf(labelled, reading({ addresses: 'optional' }));
    assert.ok(!isMalformed(optional));
    assert.ok(isMalformed(nodeOf(labelled, reading({ addresses: 'of-matching', matches }))));
    const other = nodeOf(node({}, []), reading({ addresses: 'of-matching', matches }));
    assert.ok(!isMalformed(other));
    assert.equal(other.matches, false);
  });

  it("has no pod CIDRs where those of Nodes are nobody's, whatever stands there", () => {
    const read = nodeOf(node({ podCIDR: 'nonsense' }), reading({ pods: false }));
    assert.ok(!isMalformed(read));
    assert.deepEqual(read.podCidrs, []);
  });

  it('says nothing of addresses and health where nobody sends to it, so that its heartbeats are no changes', () => {
    const sick = { conditions: [{ type: 'Ready', status: 'False' }] };
    const one = nodeOf(node({ podCIDR: '10.1.0.0/24' }, undefined, sick), reading({ addresses: 'ignored' }));
    const other = nodeOf(node({ podCIDR: '10.1.0.0/24' }, []), reading({ addresses: 'ignored' }));
    assert.deepEqual(one, other);
  });

  it('is ready unless its kubelet says otherwise or fell silent', () => {
    const readyWith = (...conditions: object[]) => {
      const read = nodeOf(node({}, undefined, { conditions }), reading());
      return !isMalformed(read) && read.ready;
    };
    assert.equal(readyWith(), true);
    assert.equal(
      readyWith({ type: 'DiskPressure', status: 'True' }, { type: 'Ready', status: 'True' }),
      true,
    );
    assert.equal(readyWith({ type: 'Ready', status: 'False' }), false);
    assert.equal(readyWith({ type: 'Ready', status: 'Unknown' }), false);
  });

  it('that cannot be understood is told with its name and field', () => {
    assert.equal(
      problemOf(nodeOf(node({ podCIDRs: ['10.2.3.0'] }), reading())),
      'Node/worker-3: spec.podCIDRs[0] is "10.2.3.0", expected a CIDR such as 192.168.12.64/26 or fd00:10:1::/64',
    );
    assert.match(problemOf(nodeOf(node({ podCIDRs: '10.2.3.0/24' }), reading())), /expected a list of CIDRs/);
  });
});

describe('a ServiceCIDR', () => {
  it('has the CIDRs of both families', () => {
    const read = serviceRangeOf({
      metadata: { name: 'kubernetes' },
      spec: { cidrs: ['10.96.0.0/16', 'fd00::/108'] },
    });
    assert.deepEqual(read, {
      id: 'ServiceCIDR/kubernetes',
      cidrs: [
        { index: 0, cidr: parseCidr('10.96.0.0/16') },
        { index: 1, cidr: parseCidr('fd00::/108') },
      ],
    });
  });
});

const remote = (spec: object, name = 'west') => remoteClusterOf({ metadata: { name }, spec });
const ACCESS = { secretRef: { namespace: 'isthmus-system', name: 'west-access' } };

describe('a RemoteCluster', () => {
  it('is read with defaults', () => {
    assert.deepEqual(remote({ access: ACCESS }), {
      access: { secret: ACCESS.secretRef, source: 'Kubernetes', aggregate: 'pool' },
      cidrs: [],
      gateways: undefined,
      selection: { kind: 'all' },
      serviceCidrs: undefined,
      dns: null,
    });
  });

  it('is read with all that it may have', () => {
    const spec = {
      access: { ...ACCESS, source: 'Calico', aggregate: 'Block' },
      cidrs: ['10.2.0.0/16', 'fd00::/64'],
      gateways: [{ address: '172.31.0.2' }, { address: '172.31.0.3', weight: 0 }],
      gatewaySelection: { mode: 'Labels', selector: 'edge' },
      serviceCidrs: [],
      dns: { address: '10.112.0.10', domain: 'cluster.local' },
    };
    const read = remote(spec);
    assert.ok(!isMalformed(read));
    assert.deepEqual(read.access?.source, 'Calico');
    assert.deepEqual(read.access?.aggregate, 'block');
    assert.deepEqual(read.cidrs, [parseCidr('10.2.0.0/16'), parseCidr('fd00::/64')]);
    assert.deepEqual(
      read.gateways?.map(({ weight }) => weight),
      [1, 0],
    );
    assert.deepEqual(read.selection, { kind: 'labels', selector: 'edge' });
    assert.deepEqual(read.serviceCidrs, []);
    assert.deepEqual(read.dns, spec.dns);
  });

  it('that cannot be understood is told with its field', () => {
    const gateways = [{ address: '172.31.0.2' }];
    const wrong: [object, RegExp][] = [
      [{}, /spec\.cidrs is missing, expected spec\.access, or spec\.cidrs and spec\.gateways/],
      [{ cidrs: ['10.2.0.0/16'] }, /spec\.gateways is missing/],
      [{ cidrs: ['10.2.0.1/16'], gateways }, /spec\.cidrs\[0\] is "10\.2\.0\.1\/16".*host bits/],
      [{ cidrs: ['10.2.0.0/16'], gateways: [] }, /spec\.gateways is "a list of 0"/],
      [
        { cidrs: ['10.2.0.0/16'], gateways: [...gateways, ...gateways] },
        /gateways\[1\]\.address.*not listed before/,
      ],
      [
        { cidrs: ['10.2.0.0/16'], gateways: [{ address: 'fd00::x' }] },
        /gateways\[0\]\.address.*an IPv6 address/,
      ],
      [{ cidrs: ['10.2.0.0/16'], gateways: [{ address: '172.31.0.2', weight: 1001 }] }, /weight is 1001/],
      [{ access: { secretRef: { name: 'a' } } }, /secretRef\.namespace is missing/],
      [{ access: { ...ACCESS, source: 'Flannel' } }, /access\.source is "Flannel"/],
      [{ access: { ...ACCESS, aggregate: 'pool' } }, /access\.aggregate is "pool", expected Pool or Block/],
      [{ access: ACCESS, gatewaySelection: { mode: 'Labels' } }, /selector is missing/],
      [
        { access: ACCESS, gatewaySelection: { mode: 'Labels', selector: 'a in (b)' } },
        /sets .* not understood/,
      ],
      [{ access: ACCESS, gatewaySelection: { mode: 'Some' } }, /mode is "Some"/],
      [{ access: ACCESS, dns: { address: '10.0.0.10' } }, /dns\.domain is missing/],
    ];
    for (const [spec, message] of wrong) {
      assert.match(problemOf(remote(spec)), message);
      assert.match(problemOf(remote(spec)), /^RemoteCluster\/west: /);
    }
  });

  it('is not called as our own cluster is in the configuration, nor as no cluster can be', () => {
    assert.match(problemOf(remote({ access: ACCESS }, 'local')), /metadata\.name is "local"/);
    assert.match(problemOf(remote({ access: ACCESS }, 'west.example')), /metadata\.name is "west\.example"/);
  });
});

function secret(data: Record<string, string>) {
  const encoded = Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString('base64')]);
  return credentialsOf({
    metadata: { namespace: 'isthmus-system', name: 'west-access' },
    data: Object.fromEntries(encoded),
  });
}

describe('the Secret of a cluster', () => {
  it('holds a kubeconfig', () => {
    assert.deepEqual(secret({ kubeconfig: 'text' }), { kind: 'kubernetes', kubeconfig: 'text' });
  });

  it('may be what Calico Enterprise wants for a remote cluster', () => {
    assert.deepEqual(secret({ datastoreType: 'kubernetes', kubeconfig: 'text' }), {
      kind: 'kubernetes',
      kubeconfig: 'text',
    });
    const etcd = {
      datastoreType: 'etcdv3',
      etcdEndpoints: 'https://10.0.0.5:2379/, https://10.0.0.6:2379',
      etcdCACert: 'ca',
      etcdCert: 'cert',
      etcdKey: 'key',
      etcdUsername: '',
    };
    assert.deepEqual(secret(etcd), {
      kind: 'etcd',
      access: {
        endpoints: ['https://10.0.0.5:2379', 'https://10.0.0.6:2379'],
        ca: 'ca',
        cert: 'cert',
        key: 'key',
      },
    });
  });

  it('that is wrong is told without a word of what is inside', () => {
    const hidden = 'hunter2';
    const wrong: [Record<string, string>, RegExp][] = [
      [{}, /^Secret isthmus-system\/west-access: data\.kubeconfig is missing/],
      [{ datastoreType: hidden }, /datastoreType .* expected kubernetes or etcdv3/],
      [{ datastoreType: 'etcdv3' }, /etcdEndpoints/],
      [{ datastoreType: 'etcdv3', etcdEndpoints: `https://me:${hidden}@10.0.0.5:2379` }, /number 1/],
      [{ datastoreType: 'etcdv3', etcdEndpoints: hidden }, /number 1/],
    ];
    for (const [data, message] of wrong) {
      const problem = problemOf(secret(data));
      assert.match(problem, message);
      assert.ok(!problem.includes(hidden), problem);
    }
  });
});
