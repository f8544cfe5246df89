import { type Ipv4, parseIpv4 } from '../../sim/oracle/wire.ts';
import { packet, tunnelled } from '../dataplane/rig.ts';

/**
 * The engine has two ways for a packet: a fast one for headers without options (src/packet/plain.ts), and one that knows every rule. A
 * packet with options cannot take the fast one, and the rules are the same for it, so each rule is tested with and without. That packets
 * without options do take the fast way is shown by test/unit/dataplane/plain.test.ts.
 */
export const WAYS: readonly Uint8Array[] = [new Uint8Array(), Uint8Array.of(1, 1, 1, 0)];

/** A packet from our pod to west, its header with these options, of `length` bytes in all. */
export function outgoing(options: Uint8Array, fields: Partial<Ipv4> = {}, length = 100): Uint8Array {
  return packet({ ...fields, options }, length - options.length);
}

/** A packet from a pod in west to ours, the outer header with these options. */
export function incoming(
  options: Uint8Array,
  inner: Partial<Ipv4> = {},
  outer: Partial<Ipv4> = {},
): Uint8Array {
  return tunnelled(inner, { ...outer, options });
}

/** The inner packet behind an outer header without options. */
export function carried(outer: Uint8Array): Ipv4 {
  return parseIpv4(outer.slice(20));
}
