import assert from 'node:assert/strict';
import { performance } from 'node:perf_hooks';
import {
  formatAddress,
  formatCidr,
  isCidr4,
  parseAddress,
  parseCidr,
  parseIpAddress,
} from '../../../src/base/address.ts';
import { IoError } from '../../../src/base/errors.ts';
import { admitIpv6 } from '../../../src/host/sysctl.ts';
import { Netlink } from '../../../src/io/netlink.ts';
import { HOP_WEIGHT_MAX, HOPS_MAX, type RouteRow, shownMetric } from '../../../src/io/netlink-route.ts';
import {
  type KernelNotice,
  NetlinkSubscription,
  NOTICE_GROUP,
} from '../../../src/io/netlink-subscription.ts';
import { poll, run } from '../../../src/measure/topology.ts';
import { systemTest } from '../topology/scene.ts';
import { native, openDevice } from './end-to-end.ts';

/** What iproute2 sees: the oracle. */
async function ip(...words: string[]): Promise<Record<string, unknown>[]> {
  const output = await run(['ip', '-json', '-details', ...words]);
  return output.trim() === '' ? [] : (JSON.parse(output) as Record<string, unknown>[]);
}

const PROTOCOL = 73;

function row(cidr: string, deviceIndex: number, more: Partial<RouteRow> = {}): RouteRow {
  return { cidr: parseCidr(cidr), deviceIndex, table: 254, metric: 50, protocol: PROTOCOL, ...more };
}

async function inNamespace(
  body: (netlink: Netlink, device: { name: string; index: number }) => Promise<void>,
): Promise<void> {
  const tun = openDevice();
  const netlink = new Netlink(native);
  try {
    await body(netlink, { name: tun.name, index: native.deviceIndex(tun.name) });
  } finally {
    netlink.close();
    tun.close();
  }
}

systemTest('links are what ip link shows', async () => {
  await inNamespace(async (netlink, device) => {
    await run(['ip', 'link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1']);
    netlink.setLink(device.index, { mtuBytes: 1480, txQueueLength: 777 });
    const expected = (await ip('link', 'show')).map((link) => ({
      index: link.ifindex,
      name: link.ifname,
      mtuBytes: link.mtu,
      txQueueLength: link.txqlen ?? 0,
      isUp: (link.flags as string[]).includes('UP'),
      isShared: (link.flags as string[]).includes('BROADCAST') && !(link.flags as string[]).includes('NOARP'),
      kind: (link.linkinfo as { info_kind?: string } | undefined)?.info_kind ?? '',
    }));
    const links = netlink.links();
    assert.deepEqual(
      links.map(({ hasCarrier: _, ...link }) => link),
      expected,
    );
    const tun = links.find((link) => link.name === device.name);
    assert.deepEqual(
      [tun?.mtuBytes, tun?.txQueueLength, tun?.isUp, tun?.hasCarrier],
      [1480, 777, true, true],
    );
    netlink.setLink(device.index, { up: false });
    assert.equal(netlink.links().find((link) => link.index === device.index)?.isUp, false);
    netlink.deleteLink(native.deviceIndex('v0'));
    assert.equal(native.deviceIndex('v1'), -19);
  });
});

systemTest('addresses are what ip address shows, and come and go', async () => {
  await inNamespace(async (netlink, device) => {
    const entry = { address: parseAddress('10.99.0.1'), prefixLength: 32 };
    netlink.addAddress(device.index, entry);
    netlink.addAddress(device.index, entry);
    await run(['ip', 'address', 'add', '10.98.0.1', 'peer', '10.98.0.2/32', 'dev', device.name]);
    const expected = (await ip('-4', 'address', 'show')).flatMap((link) =>
      (link.addr_info as Record<string, unknown>[]).map(
        (info) => `${String(link.ifindex)} ${String(info.local)}/${String(info.prefixlen)}`,
      ),
    );
    const ours = netlink
      .addresses()
      .map((one) => `${one.deviceIndex} ${formatAddress(one.address)}/${one.prefixLength}`);
    assert.deepEqual(ours.toSorted(), expected.toSorted());
    netlink.removeAddress(device.index, entry);
    assert.throws(
      () => netlink.removeAddress(device.index, entry),
      /10\.99\.0\.1\/32 on link \d+: EADDRNOTAVAIL/,
    );
  });
});

systemTest(
  'routes that ip makes, of every shape, are read: hops, tables, types, nexthop objects',
  async () => {
    await inNamespace(async (netlink, device) => {
      const commands = [
        ['10.2.0.0/16', 'via', '10.77.0.9', 'metric', '5', 'proto', 'bird'],
        [
          '10.3.0.0/16',
          'proto',
          'static',
          'nexthop',
          'via',
          '10.77.0.7',
          'weight',
          '3',
          'nexthop',
          'via',
          '10.77.0.8',
        ],
        ['blackhole', '10.4.0.0/16', 'table', '5000'],
        ['10.5.0.0/24', 'dev', device.name, 'src', '10.77.0.1', 'table', '300'],
        ['10.6.0.0/24', 'via', 'inet6', 'fe80::1', 'dev', 'v0'],
        ['10.7.0.0/24', 'nhid', '12'],
        ['default', 'via', '10.77.0.9', 'mtu', '1400', 'initcwnd', '20'],
      ];
      await run(['ip', 'link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1']);
      await run(['ip', 'link', 'set', 'v0', 'up']);
      await run(['ip', 'nexthop', 'add', 'id', '12', 'via', '10.77.0.6', 'dev', device.name]);
      for (const command of commands) await run(['ip', 'route', 'add', ...command]);
      const seen = new Map(
        netlink
          .routes()
          // What the kernel makes of IPv6 by itself is another with each kernel.
          .filter(({ cidr }) => isCidr4(cidr))
          .map((route) => [`${formatCidr(route.cidr)} ${route.table}`, route]),
      );
      const hopsOf = (key: string) =>
        seen
          .get(key)
          ?.hops.map((hop) =>
            hop.gateway === undefined ? 'link' : `${formatAddress(hop.gateway)} ${hop.weight}`,
          );
      assert.deepEqual([seen.get('10.2.0.0/16 254')?.metric, seen.get('10.2.0.0/16 254')?.protocol], [5, 12]);
      assert.deepEqual(hopsOf('10.2.0.0/16 254'), ['10.77.0.9 1']);
      assert.deepEqual(hopsOf('10.3.0.0/16 254'), ['10.77.0.7 3', '10.77.0.8 1']);
      assert.deepEqual([seen.get('10.4.0.0/16 5000')?.type, hopsOf('10.4.0.0/16 5000')], [6, []]);
      assert.equal(formatAddress(seen.get('10.5.0.0/24 300')!.source!), '10.77.0.1');
      assert.equal(seen.get('10.6.0.0/24 254')?.hops[0]?.isViaIpv6, true);
      assert.equal(seen.get('10.7.0.0/24 254')?.nexthopId, 12);
      assert.deepEqual(hopsOf('0.0.0.0/0 254'), ['10.77.0.9 1']);
      assert.equal(seen.size, (await ip('-4', 'route', 'show', 'table', 'all')).length);

      const filtered = (filter: Parameters<Netlink['routes']>[0]) =>
        netlink.routes(filter).map((route) => formatCidr(route.cidr));
      assert.deepEqual(filtered({ table: 300 }), ['10.5.0.0/24']);
      assert.deepEqual(filtered({ table: 254, protocol: 12 }), ['10.2.0.0/16']);
      assert.deepEqual(filtered({ table: 4999 }), []);
      netlink.deleteLink(native.deviceIndex('v0'));
      await run(['ip', 'nexthop', 'del', 'id', '12']);
    });
  },
);

systemTest('the way to an address: source, device and gateway, our own addresses, or none', async () => {
  await inNamespace(async (netlink, device) => {
    await run(['ip', 'route', 'add', '10.2.0.0/16', 'via', '10.77.0.9']);
    await run(['ip', 'route', 'add', 'unreachable', '10.3.0.0/16']);
    await run(['ip', 'route', 'add', 'blackhole', '10.4.0.0/16']);
    const source = parseAddress('10.77.0.1');
    assert.deepEqual(netlink.routeTo(parseAddress('10.2.3.4')), {
      ...{ source, deviceIndex: device.index, gateway: parseAddress('10.77.0.9'), isLocal: false },
    });
    assert.deepEqual(netlink.routeTo(parseAddress('10.77.0.5')), {
      ...{ source, deviceIndex: device.index, gateway: undefined, isLocal: false },
    });
    assert.equal(netlink.routeTo(source)?.isLocal, true);
    for (const nowhere of ['10.3.0.1', '10.4.0.1', '192.0.2.1']) {
      assert.equal(netlink.routeTo(parseAddress(nowhere)), undefined, nowhere);
    }
  });
});

systemTest(
  'routes are added, replaced and removed, and each refusal is told by itself in the words of the kernel',
  async () => {
    await inNamespace(async (netlink, device) => {
      const rows = [
        row('10.2.0.0/16', device.index, { source: parseAddress('10.77.0.1') }),
        row('10.3.0.0/16', 9999),
        row('10.4.0.0/16', device.index, { table: 5001, metric: 70_000 }),
        row('10.2.0.0/16', device.index),
        row('10.5.0.0/16', device.index, { gateway: parseAddress('192.0.2.1') }),
        row('10.6.0.0/16', 0, { type: 7 }),
      ];
      const failures = netlink.addRoutes(rows);
      assert.deepEqual(
        failures.map((failure) => [failure.index, failure.errno]),
        [
          [1, 'ENODEV'],
          [3, 'EEXIST'],
          [4, 'ENETUNREACH'],
        ],
      );
      assert.match(
        failures[2]!.message,
        /add route 10\.5\.0\.0\/16: ENETUNREACH; Nexthop has invalid gateway/,
      );
      const [shown] = await ip('route', 'show', '10.2.0.0/16');
      assert.deepEqual(
        [shown?.dev, shown?.prefsrc, shown?.metric, shown?.protocol, shown?.scope],
        [device.name, '10.77.0.1', 50, '73', 'link'],
      );
      assert.equal((await ip('route', 'show', 'table', '5001'))[0]?.metric, 70_000);

      assert.deepEqual(
        netlink.replaceRoutes([row('10.2.0.0/16', device.index, { gateway: parseAddress('10.77.0.3') })]),
        [],
      );
      assert.equal((await ip('route', 'show', '10.2.0.0/16'))[0]?.gateway, '10.77.0.3');

      // Another owner's route with the same prefix stays.
      await run(['ip', 'route', 'add', '10.7.0.0/16', 'dev', device.name, 'metric', '50', 'proto', 'static']);
      const removed = netlink.removeRoutes([
        row('10.7.0.0/16', device.index),
        ...netlink.routes({ protocol: PROTOCOL }),
      ]);
      assert.deepEqual(
        removed.map((failure) => [failure.index, failure.errno]),
        [[0, 'ESRCH']],
      );
      assert.deepEqual(netlink.routes({ protocol: PROTOCOL }), []);
      assert.equal((await ip('route', 'show', '10.7.0.0/16')).length, 1);
    });
  },
);

systemTest(
  'routes with several ways and weights are written as ip shows them, and removed whatever ways they have',
  async () => {
    await inNamespace(async (netlink, device) => {
      const ways = [7, 8, 9].map((host) => ({ gateway: parseAddress(`10.77.0.${host}`), weight: host * 28 }));
      assert.deepEqual(netlink.addRoutes([row('10.2.0.0/16', device.index, { ways })]), []);
      const [shown] = await ip('route', 'show', '10.2.0.0/16');
      assert.deepEqual(
        (shown!.nexthops as Record<string, unknown>[]).map((hop) => [hop.gateway, hop.weight, hop.dev]),
        [
          ['10.77.0.7', 196, device.name],
          ['10.77.0.8', 224, device.name],
          ['10.77.0.9', 252, device.name],
        ],
      );
      assert.deepEqual(
        netlink.replaceRoutes([row('10.2.0.0/16', device.index, { ways: ways.slice(1) })]),
        [],
      );
      assert.equal(netlink.routes({ protocol: PROTOCOL })[0]?.hops.length, 2);
      assert.deepEqual(netlink.removeRoutes([row('10.2.0.0/16', 0)]), []);
      assert.deepEqual(netlink.routes({ protocol: PROTOCOL }), []);
    });
  },
);

systemTest(
  'routes with as many ways as a route of ours has gateways go in, more than fit one call',
  async () => {
    await inNamespace(async (netlink, device) => {
      const ways = Array.from({ length: HOPS_MAX }, (_, at) => ({
        ...{ gateway: parseAddress('10.77.0.0') + 2 + (at % 250), weight: HOP_WEIGHT_MAX - at },
      }));
      const rows = Array.from({ length: 40 }, (_, at) => row(`10.2.${at}.0/24`, device.index, { ways }));
      assert.deepEqual(netlink.addRoutes(rows), []);
      const routes = netlink.routes({ protocol: PROTOCOL });
      assert.deepEqual(
        routes.map((route) => route.hops.map(({ gateway, weight }) => ({ gateway, weight }))),
        rows.map(() => ways),
      );
      netlink.removeRoutes(routes);
    });
  },
);

systemTest('ten thousand routes go in, are read and go out again, all of them', async () => {
  await inNamespace(async (netlink, device) => {
    const rows = Array.from({ length: 10_000 }, (_, index) => ({
      ...row('10.0.0.0/24', device.index),
      cidr: { address: 0x1400_0000 + index * 256, prefixLength: 24 },
    }));
    const started = performance.now();
    assert.deepEqual(netlink.addRoutes(rows), []);
    const added = performance.now();
    const routes = netlink.routes({ protocol: PROTOCOL });
    const read = performance.now();
    assert.equal(routes.length, rows.length);
    assert.deepEqual(netlink.removeRoutes(routes), []);
    const removed = performance.now();
    assert.deepEqual(netlink.routes({ protocol: PROTOCOL }), []);
    const spent = [added - started, read - added, removed - read].map((ms) => Math.round(ms));
    process.stdout.write(
      `# 10,000 routes: added in ${spent[0]} ms, read in ${spent[1]} ms, removed in ${spent[2]} ms\n`,
    );
  });
});

systemTest('changes of links, addresses and routes are announced', async () => {
  await inNamespace(async (netlink, device) => {
    const notices: KernelNotice[] = [];
    const groups = NOTICE_GROUP.LINKS | NOTICE_GROUP.ADDRESSES | NOTICE_GROUP.ROUTES;
    const subscription = new NetlinkSubscription(native, groups, (notice) => notices.push(notice));
    const heard = (what: string, test: (notice: KernelNotice) => boolean) =>
      poll(what, 5000, () => notices.some(test));
    netlink.addRoutes([row('10.2.0.0/16', device.index)]);
    netlink.addAddress(device.index, { address: parseAddress('10.99.0.1'), prefixLength: 32 });
    netlink.setLink(device.index, { mtuBytes: 1400 });
    netlink.removeRoutes([row('10.2.0.0/16', device.index)]);
    await heard(
      'a new route',
      (one) => one.kind === 'route' && !one.isRemoved && one.route.protocol === PROTOCOL,
    );
    await heard('a new address', (one) => one.kind === 'address' && one.address.deviceIndex === device.index);
    await heard('a new MTU', (one) => one.kind === 'link' && one.link.mtuBytes === 1400);
    await heard(
      'a removed route',
      (one) => one.kind === 'route' && one.isRemoved && one.route.protocol === PROTOCOL,
    );
    subscription.close();
    subscription.close();
    notices.length = 0;
    netlink.setLink(device.index, { mtuBytes: 1300 });
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(notices, []);
  });
});

systemTest(
  'new routes of the protocol that is passed over are not told, those of others and removals are',
  async () => {
    await inNamespace(async (netlink, device) => {
      const seen: string[] = [];
      const subscription = new NetlinkSubscription(
        native,
        NOTICE_GROUP.ROUTES,
        (notice) => {
          if (notice.kind === 'route')
            seen.push(`${notice.isRemoved ? 'gone' : 'new'} ${formatCidr(notice.route.cidr)}`);
        },
        PROTOCOL,
      );
      netlink.addRoutes([
        row('10.2.0.0/16', device.index),
        row('10.3.0.0/16', device.index, { protocol: 12 }),
      ]);
      netlink.removeRoutes([row('10.2.0.0/16', device.index)]);
      await poll('the removal', 5000, () => seen.includes('gone 10.2.0.0/16'));
      assert.deepEqual(seen, ['new 10.3.0.0/16', 'gone 10.2.0.0/16']);
      subscription.close();
    });
  },
);

systemTest('notices that come faster than they are read end in a resync', async () => {
  await inNamespace(async (netlink, device) => {
    const notices: KernelNotice[] = [];
    const small = { ...native, netlinkOpen: (groups: number) => native.netlinkOpen(groups, 2048) };
    const subscription = new NetlinkSubscription(small, NOTICE_GROUP.ROUTES, (notice) =>
      notices.push(notice),
    );
    const rows = Array.from({ length: 200 }, (_, index) => row(`10.2.${index}.0/24`, device.index));
    netlink.addRoutes(rows);
    await poll('the resync', 5000, () => notices.some((notice) => notice.kind === 'resync'));
    notices.length = 0;
    assert.deepEqual(netlink.removeRoutes(rows.slice(0, 1)), []);
    await poll('notices after it', 5000, () => notices.some((notice) => notice.kind === 'route'));
    subscription.close();
  });
});

systemTest(
  'a refused request is an IoError with call, errno, subject and the words of the kernel',
  async () => {
    await inNamespace(async (netlink, device) => {
      assert.throws(
        () => netlink.setLink(device.index, { mtuBytes: 10 }),
        (error) => {
          assert.ok(error instanceof IoError);
          assert.deepEqual(
            [error.syscall, error.errno, error.subject],
            ['RTM_NEWLINK', 'EINVAL', `link ${device.index}`],
          );
          assert.match(error.message, /mtu less than device minimum/);
          return true;
        },
      );
      assert.throws(() => netlink.deleteLink(9999), /RTM_DELLINK link 9999: ENODEV/);
    });
  },
);

systemTest('routes of IPv6 are added, read, asked for and removed, beside those of IPv4', async () => {
  await inNamespace(async (netlink, device) => {
    admitIpv6(device.name);
    const rows = [
      row('fd00:2::/48', device.index),
      row('fd00:3::7/128', device.index, { metric: 0, table: 5000 }),
    ];
    const notices: string[] = [];
    const subscription = new NetlinkSubscription(native, NOTICE_GROUP.ROUTES6, (notice) => {
      if (notice.kind === 'route' && notice.route.protocol === PROTOCOL)
        notices.push(`${notice.isRemoved ? '-' : '+'} ${formatCidr(notice.route.cidr)}`);
    });
    assert.deepEqual(netlink.addRoutes([...rows, row('10.2.0.0/16', device.index)]), []);
    assert.deepEqual(
      netlink.addRoutes(rows).map(({ errno }) => errno),
      ['EEXIST', 'EEXIST'],
    );
    const shown = netlink
      .routes({ protocol: PROTOCOL })
      .map(({ cidr, table, metric, deviceIndex }) => [formatCidr(cidr), table, metric, deviceIndex])
      .sort((a, b) => (String(a) < String(b) ? -1 : 1));
    assert.deepEqual(shown, [
      ['10.2.0.0/16', 254, 50, device.index],
      ['fd00:2::/48', 254, 50, device.index],
      ['fd00:3::7/128', 5000, shownMetric(rows[1]!.cidr, 0), device.index],
    ]);
    assert.equal(netlink.routeTo(parseIpAddress('fd00:2::9'))?.deviceIndex, device.index);
    assert.equal(netlink.routeTo(parseIpAddress('fd00:9::9')), undefined);
    assert.equal(netlink.removeRoutes([{ ...rows[0]!, protocol: 12 }])[0]?.errno, 'ESRCH');
    assert.deepEqual(netlink.removeRoutes(rows), []);
    assert.equal(netlink.routes({ protocol: PROTOCOL }).length, 1);
    await poll('four notices', 5000, async () => notices.length === 4);
    subscription.close();
    assert.deepEqual(notices.toSorted(), [
      '+ fd00:2::/48',
      '+ fd00:3::7/128',
      '- fd00:2::/48',
      '- fd00:3::7/128',
    ]);
  });
});
