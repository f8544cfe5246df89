import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../src/measure/sandbox.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { KubeApiServer, kubeApiServerMissing } from '../fixtures/kube-api-server.ts';
import { kubectlMissing } from '../fixtures/kubectl.ts';
import { inScene, systemTest } from '../system/topology/scene.ts';

systemTest(
  'each of two clusters has an API server in its gateway, which the other reaches over the underlay',
  async () => {
    await inScene(
      async () => twoClusters(),
      async ({ topology, a, b }) => {
        const servers: KubeApiServer[] = [];
        try {
          for (const { name, gateways } of [a, b]) {
            const { machine, address } = gateways[0]!;
            servers.push(
              await KubeApiServer.start({ folder: join(topology.folder, `api-${name}`), machine, address }),
            );
          }
          const [east, west] = servers as [KubeApiServer, KubeApiServer];
          assert.deepEqual(
            [east.server, west.server],
            ['https://172.31.1.2:6443', 'https://172.31.2.2:6443'],
          );
          await west.admin.createNode('w1', { podCidr: '10.2.1.0/24', address: '172.31.2.2' });
          const kubectl = join(process.env.KUBEBUILDER_ASSETS ?? '/usr/local/kubebuilder/bin', 'kubectl');
          const program = findProgram('kubectl') ?? kubectl;
          const token = await west.serviceAccountToken('default', 'reader');
          const cases = [
            [west.kubeconfig(), /^node\/w1$/m],
            [await west.certificateKubeconfig(), /^node\/w1$/m],
          ] as const;
          for (const [text, expected] of cases) {
            const file = join(topology.folder, 'kubeconfig');
            writeFileSync(file, text);
            const words = ['--kubeconfig', file, 'get', 'nodes', '-o', 'name'];
            assert.match(await a.gateways[0]!.machine.exec(program, ...words), expected);
          }
          assert.equal((await west.client(token).request('GET', '/api/v1/nodes')).status, 403);

          const { metadata } = await west.admin.get('/api/v1/nodes/w1');
          await west.admin.patch('/api/v1/nodes/w1', { metadata: { labels: { later: 'yes' } } });
          await west.compact();
          await west.restartApi();
          const watch = `/api/v1/nodes?watch=1&timeoutSeconds=1&resourceVersion=${metadata.resourceVersion}`;
          const { body } = await west.admin.request('GET', watch);
          assert.equal((body as { object: { code: number } }).object.code, 410);
        } finally {
          await Promise.all(servers.map((server) => server.close()));
        }
      },
    );
  },
  kubeApiServerMissing() ?? kubectlMissing(),
);
