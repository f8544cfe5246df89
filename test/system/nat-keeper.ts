import { release } from 'node:os';
import { parseCidr } from '../../src/base/address.ts';
import { systemClock } from '../../src/base/clock.ts';
import { NatRules } from '../../src/host/nat.ts';
import { readDeviceFacts } from '../../src/host/nat-devices.ts';
import { runNft } from '../../src/host/nat-program.ts';
import type { NatWish } from '../../src/host/nat-table.ts';
import { loadNative } from '../../src/io/load.ts';
import { Netlink } from '../../src/io/netlink.ts';
import { NetlinkSubscription, NOTICE_GROUP } from '../../src/io/netlink-subscription.ts';

/**
 * Keeps the NAT rules of one device in the namespace where it is started, until SIGTERM. One argument: device and wish as JSON, CIDRs as text.
 * Says `in force` whenever what was asked for is done, and what is wrong.
 */
export interface NatKeeperRequest extends Omit<NatWish, 'services' | 'local'> {
  readonly device: string;
  readonly services: readonly string[];
  readonly local: readonly string[];
}

const { device, services, local, ...rest } = JSON.parse(process.argv[2] ?? '') as NatKeeperRequest;
const native = loadNative();
const netlink = new Netlink(native);
const say = (_: object, message: string) => console.log(message);
const rules = new NatRules({
  device,
  clock: systemClock,
  logger: { debug: say, info: say, warn: say, error: say },
  program: runNft,
  facts: (underlay) => readDeviceFacts(netlink, device, underlay),
  kernel: release(),
  onProblem: (problem) => console.log(`problem: ${problem ?? 'none'}`),
});
const subscription = new NetlinkSubscription(native, NOTICE_GROUP.LINKS, () => rules.linksChanged());
rules.apply({ ...rest, services: services.map(parseCidr), local: local.map(parseCidr) });
process.once('SIGTERM', async () => {
  await rules.remove();
  subscription.close();
  netlink.close();
});
await rules.settled;
console.log('in force');
