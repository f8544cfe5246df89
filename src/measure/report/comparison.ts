import type { BenchResult, PathResult } from '../model.ts';
import { median, ratioOfMedians } from '../statistics.ts';
import { number } from './number.ts';
import { atSize, LOSS_FREE, sizesOf, sizeText } from './quantity.ts';

/** The paths that are compared with one plain-forwarding path: those with its offloads. */
export interface Group {
  readonly reference: PathResult | undefined;
  readonly vxlan: PathResult | undefined;
  /** In the order of a report: the reference, Isthmus, the kernel's tunnels, other programs. */
  readonly paths: readonly PathResult[];
}

type Values = (path: PathResult) => readonly number[];

const KINDS: readonly PathResult['kind'][] = ['reference', 'isthmus', 'kernel', 'peer'];

/** The group with Isthmus' wire figures need not be the first: groups stand in the order in which their references do. */
export function groupsOf({ paths }: BenchResult): Group[] {
  const references = paths.filter(({ kind }) => kind === 'reference');
  const known = new Set(references.map(({ name }) => name));
  const groups = references.map((reference) =>
    group(
      reference,
      paths.filter((path) => path.kind !== 'reference' && path.reference === reference.name),
    ),
  );
  const others = paths.filter(
    ({ kind, reference }) => kind !== 'reference' && (reference === null || !known.has(reference)),
  );
  return others.length === 0 ? groups : [...groups, group(undefined, others)];
}

function group(reference: PathResult | undefined, compared: readonly PathResult[]): Group {
  const kernel = compared.filter(({ kind }) => kind === 'kernel');
  const paths = KINDS.flatMap((kind) => compared.filter((path) => path.kind === kind));
  return {
    reference,
    vxlan: kernel.find(({ name }) => /vxlan/i.test(name)),
    paths: reference === undefined ? paths : [reference, ...paths],
  };
}

/** The ratio to plain forwarding; 1 of the reference itself, NaN where either has no value. */
export function toPlain({ reference }: Group, path: PathResult, of: Values): number {
  return reference === undefined ? Number.NaN : ratioOfMedians(of(path), of(reference));
}

export function toVxlan({ vxlan }: Group, path: PathResult, of: Values): number {
  return vxlan === undefined ? Number.NaN : ratioOfMedians(of(path), of(vxlan));
}

/** One line a path that is compared with another, in the order of the report. */
export interface Verdict {
  readonly name: string;
  readonly text: string;
}

export function verdictsOf(result: BenchResult): Verdict[] {
  return groupsOf(result).flatMap((members) =>
    members.paths
      .filter(({ kind }) => kind !== 'reference')
      .map((path) => ({ name: path.name, text: verdict(members, path) })),
  );
}

function verdict(members: Group, path: PathResult): string {
  const { reference, vxlan } = members;
  const size = sizesOf(members.paths, LOSS_FREE)[0];
  const rates: Values = (of) => (size === undefined ? [] : atSize(of, LOSS_FREE, size));
  const parts: string[] = [];
  const say = (ratio: number, text: (ratio: string) => string): void => {
    if (Number.isFinite(ratio)) parts.push(text(number(ratio)));
  };
  const tcp: Values = (of) => of.tcpSingle;
  const plain = reference?.name ?? '';
  say(toPlain(members, path, tcp), (ratio) => `${ratio} of ${plain} over one TCP connection`);
  say(
    toPlain(members, path, rates),
    (ratio) => `${ratio} of its packets a second (${sizeText(size ?? '')}, without loss)`,
  );
  say(
    toPlain(members, path, (of) => of.roundTrip.p50),
    (ratio) => `${ratio} times its median round trip`,
  );
  say(
    toPlain(members, path, (of) => of.roundTrip.p99),
    (ratio) => `${ratio} times its 99th percentile`,
  );
  if (vxlan !== path) say(toVxlan(members, path, tcp), (ratio) => `TCP ${ratio} of ${vxlan?.name ?? ''}`);
  const best = path.kind === 'isthmus' ? fastestPeer(members) : undefined;
  if (best !== undefined) {
    say(ratioOfMedians(tcp(path), tcp(best)), (ratio) => `TCP ${ratio} times ${best.name}`);
  }
  return parts.length === 0 ? 'not measured, or nothing to compare it with' : parts.join('; ');
}

/** Of the other programs in user space that were measured. */
export function fastestPeer({ paths }: Group): PathResult | undefined {
  const measured = paths.filter(({ kind, tcpSingle }) => kind === 'peer' && tcpSingle.length > 0);
  return measured.toSorted((a, b) => median(b.tcpSingle) - median(a.tcpSingle))[0];
}
