import { KERNEL_FOU, KERNEL_GRE, KERNEL_IPIP } from './kernel-tunnels.ts';
import { OPENVPN } from './openvpn.ts';
import type { Recipe } from './recipe.ts';
import { SOCAT } from './socat.ts';
import { TINC } from './tinc.ts';
import { KERNEL_WIREGUARD, WIREGUARD_GO } from './wireguard.ts';

/** What people use instead, measured with `--peers`: the kernel's own tunnels first, then programs. */
export const RECIPES: readonly Recipe[] = [
  ...[KERNEL_IPIP, KERNEL_FOU, KERNEL_GRE, KERNEL_WIREGUARD],
  ...[OPENVPN, TINC, SOCAT, WIREGUARD_GO],
];
