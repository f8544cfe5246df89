import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { isInsideSandbox, SANDBOX_FOLDER } from '../../src/measure/sandbox.ts';
import { KubeApiServer, kubeApiServerMissing } from '../fixtures/kube-api-server.ts';
import type { KubeObject } from '../fixtures/kube-client.ts';
import { everything, isthmus, tokenController, withoutVersions } from './join-rig.ts';

const skip = isInsideSandbox()
  ? (kubeApiServerMissing() ?? false)
  : 'needs the sandbox that npm test -- interop makes';

describe('grant', { skip }, () => {
  test('prints what makes our cluster known to another, and a grant that is repeated changes nothing on ours', async () => {
    const folder = mkdtempSync(join(SANDBOX_FOLDER, 'grant-'));
    const server = await KubeApiServer.start({ folder: join(folder, 'server') });
    const stop = tokenController(server);
    try {
      const kubeconfig = join(folder, 'kubeconfig');
      writeFileSync(kubeconfig, server.kubeconfig());
      await server.admin.createNode('n1', { podCidr: '10.1.0.0/24', address: '172.31.1.2' });
      const untouched = await everything(server);
      const words = [
        'grant',
        '--name',
        'east',
        '--kubeconfig',
        kubeconfig,
        '--server',
        server.server,
        '--peer-name',
        'west',
      ];
      const dry = await isthmus(...words, '--dry-run');
      assert.equal(dry.status, 0, dry.log);
      assert.deepEqual(await everything(server), untouched);
      const first = await isthmus(...words);
      assert.equal(first.status, 0, first.log);
      assert.match(first.log, /west may read east: 5 created/);
      assert.match(first.stdout, /# - FelixConfiguration\/default: .*172\.31\.1\.2\/32/);
      const objects = parseAllDocuments(first.stdout).map((document) => document.toJS() as KubeObject);
      assert.deepEqual(
        objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`),
        ['Namespace/isthmus-system', 'Secret/east-access', 'RemoteCluster/east'],
      );
      const text = Buffer.from((objects[1]!.data as { kubeconfig: string }).kubeconfig, 'base64').toString();
      const { token } = parse(text).users[0].user;
      assert.equal((await server.client(token).request('GET', '/api/v1/nodes')).status, 200);
      const state = await everything(server);
      const second = await isthmus(...words);
      assert.equal(second.stdout, first.stdout);
      assert.deepEqual(await everything(server), state);
      const left = await isthmus(
        'leave',
        '--name',
        'east',
        '--kubeconfig',
        kubeconfig,
        '--peer-name',
        'west',
      );
      assert.equal(left.status, 0, left.log);
      assert.deepEqual(withoutVersions(await everything(server)), withoutVersions(untouched));
    } finally {
      await stop();
      await server.close();
    }
  });
});
