import type { Target } from './target.ts';
import { fibTarget } from './targets/fib.ts';
import { icmpTarget } from './targets/icmp.ts';
import { inboundTarget } from './targets/inbound.ts';
import { outboundTarget } from './targets/outbound.ts';

/** The targets that run in Node. Made when asked for: each takes some memory. */
export const JAVASCRIPT_TARGETS: Readonly<Record<string, () => Target>> = {
  inbound: inboundTarget,
  outbound: outboundTarget,
  icmp: icmpTarget,
  fib: fibTarget,
};
