import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Status } from '../../src/admin/view.ts';
import { lacking } from '../../src/measure/sandbox.ts';
import { type Machine, run, Topology } from '../../src/measure/topology.ts';
import { suiteInScene } from './topology/scene.ts';
import { CHECKOUT, copyCheckout } from './vm/checkout.ts';
import { type Block, readChapters } from './vm/page.ts';
import { DYNAMIC_USER } from './vm/unit-file.ts';
import { Vm } from './vm/vm.ts';

/** docs/install-vm.md, done as it stands: two machines that have nothing but that page. */
const PAGE = readFileSync(join(CHECKOUT, 'docs', 'install-vm.md'), 'utf8');
const CHAPTERS = readChapters(PAGE);

interface Site {
  readonly vm: Vm;
  readonly host: Machine;
}

interface TwoSites {
  readonly topology: Topology;
  readonly east: Site;
  readonly west: Site;
}

/** The drawing of the page: VMs on one segment, a host behind each. Both firewalls drop what they do not know, as the page assumes. */
async function twoSites(): Promise<TwoSites> {
  const topology = new Topology();
  const machines = await Promise.all(
    ['host-east', 'east', 'west', 'host-west'].map((name) => topology.machine(name)),
  );
  const [hostEast, east, west, hostWest] = machines as [Machine, Machine, Machine, Machine];
  await topology.cable(
    { machine: east, device: 'und0', addresses: ['172.31.0.1/24'] },
    { machine: west, device: 'und0', addresses: ['172.31.0.2/24'] },
  );
  await topology.cable(
    { machine: hostEast, device: 'eth0', addresses: ['10.1.0.10/24'] },
    { machine: east, device: 'lan0', addresses: ['10.1.0.1/24'] },
  );
  await topology.cable(
    { machine: hostWest, device: 'eth0', addresses: ['10.2.0.10/24'] },
    { machine: west, device: 'lan0', addresses: ['10.2.0.1/24'] },
  );
  const site = async (machine: Machine, host: Machine): Promise<Site> => {
    await machine.sysctl({ 'net.ipv4.ip_forward': 0 });
    const vm = await Vm.make(machine);
    await vm.shell(`nft -f - <<'END'
      table inet filter {
        chain input {
          type filter hook input priority 0; policy drop;
          ct state established,related accept
          iif lo accept
          ip protocol icmp accept
        }
      }
END`);
    return { vm, host };
  };
  return { topology, east: await site(east, hostEast), west: await site(west, hostWest) };
}

async function perform(scene: TwoSites, block: Block): Promise<void> {
  const { east, west } = scene;
  const vms = { east: [east.vm], west: [west.vm], both: [east.vm, west.vm] }[block.place];
  if (vms !== undefined) {
    const { path, text } = block;
    await Promise.all(vms.map((vm) => (path === undefined ? vm.shell(text) : vm.writeFile(path, text))));
  } else if (block.place === 'host-east' || block.place === 'host-west') {
    const host = block.place === 'host-east' ? east.host : west.host;
    await host.exec('sh', '-euc', block.text);
  } else if (block.place === 'build') {
    await build(scene, block.text);
  } else {
    // The packages are asked of the machine that runs the tests, which has no other network inside the sandbox.
    assert.equal(
      block.place,
      'packages',
      `the page has a block for ${block.place}, which this test does not know`,
    );
  }
}

async function build({ topology, east, west }: TwoSites, commands: string): Promise<void> {
  const checkout = join(topology.folder, 'checkout');
  mkdirSync(checkout);
  copyCheckout(checkout);
  const environment = ['-u', 'NODE_TEST_CONTEXT', `--chdir=${checkout}`, 'npm_config_offline=true'];
  await run(['env', ...environment, 'sh', '-eu'], commands);
  for (const { vm } of [east, west]) {
    vm.copyIn(join(checkout, 'isthmus-0.1.0.tgz'));
    vm.copyIn(join(checkout, 'package-lock.json'));
  }
}

async function statusOf(vm: Vm): Promise<Status> {
  return JSON.parse(await vm.shell('isthmus status --json')) as Status;
}

const skip =
  (process.getuid?.() === 0 ? undefined : 'needs root, for the user of the service') ??
  lacking('nft', 'nftables') ??
  lacking('ping', 'iputils-ping') ??
  lacking('sysctl', 'procps') ??
  lacking('python3', 'python3') ??
  lacking('make', 'build-essential');

suiteInScene('docs/install-vm.md joins two machines', { make: twoSites, skip }, (check) => {
  for (const chapter of CHAPTERS) {
    check(`works as written: ${chapter.title}`, async (scene) => {
      for (const block of chapter.blocks) await perform(scene, block);
      if (chapter.title.includes('See that it works')) await inspectRunning(scene);
      if (chapter.title.includes('Remove it')) await inspectRemoved(scene);
    });
  }
});

async function inspectRunning({ east, west }: TwoSites): Promise<void> {
  for (const { vm } of [east, west]) {
    const status = await statusOf(vm);
    assert.deepEqual(status.problems, [], vm.journal('isthmus'));
    assert.equal(status.state, 'ok');
    assert.equal(status.counts.routes, 1);
    const process = readFileSync(`/proc/${vm.mainPid('isthmus')}/status`, 'utf8');
    assert.match(process, new RegExp(`^Uid:\\s+${DYNAMIC_USER}\\s`, 'm'));
    // CAP_NET_ADMIN is bit 12, CAP_NET_RAW bit 13.
    assert.match(process, /^CapEff:\s+0{12}3000$/m);
    assert.match(process, /^CapBnd:\s+0{12}3000$/m);
    assert.match(process, /^NoNewPrivs:\s+1$/m);
  }
}

async function inspectRemoved({ east, west }: TwoSites): Promise<void> {
  for (const { vm } of [east, west]) {
    const links = await vm.machine.ipJson<{ ifname: string }>('link', 'show');
    assert.deepEqual(links.map((link) => link.ifname).toSorted(), ['lan0', 'lo', 'und0']);
    const routes = await vm.machine.ipJson<{ dst: string }>('route', 'show');
    assert.deepEqual(
      routes.filter((route) => /^10\.[12]\.0\.0\/16$/.test(route.dst)),
      [],
    );
    await vm.shell(
      '! ls /opt/isthmus /etc/isthmus /var/lib/isthmus /etc/systemd/system/isthmus.service 2>/dev/null',
    );
  }
}
