import { isAlias, isMap, isScalar, isSeq, type Node, type Pair, type YAMLMap, type YAMLSeq } from 'yaml';

export type Path = readonly (string | number)[];

/** A mistake that the schema cannot see, because it is in the YAML and not in the value. */
export interface Finding {
  readonly offset: number;
  readonly path: Path;
  readonly message: string;
}

/** Values of a document after its aliases were followed. A million CIDRs are a million; an alias bomb has more. */
export const VALUES_MAX = 2_000_000;

interface Anchored {
  readonly node: Node;
  readonly value: unknown;
  readonly count: number;
}

/**
 * The plain value of a parsed YAML document. The package's own `toJS` limits aliases by count, keeps the last of duplicate keys when
 * its quadratic check is off, and reports no positions; so this walks the nodes itself. Aliases share the value they name.
 */
export class YamlReader {
  readonly findings: Finding[] = [];
  /** An alias leads nowhere or to too much; the value is not fit to be looked at. */
  broken = false;
  readonly #anchors = new Map<string, Anchored>();
  #count = 0;

  read(contents: Node | null): unknown {
    return this.#value(contents, []);
  }

  #value(node: unknown, path: Path): unknown {
    const before = this.#count++;
    const value = this.#plain(node, path);
    const anchor = (node as { anchor?: string } | null)?.anchor;
    if (anchor !== undefined) {
      this.#anchors.set(anchor, { node: node as Node, value, count: this.#count - before });
    }
    return value;
  }

  #plain(node: unknown, path: Path): unknown {
    if (isScalar(node)) return node.value;
    if (isMap(node)) return this.#mapping(node, path);
    if (isSeq(node)) return node.items.map((item, i) => this.#value(item, [...path, i]));
    if (!isAlias(node)) return null;
    const anchored = this.#anchors.get(node.source);
    if (anchored === undefined) {
      this.broken = true;
      this.#find(node, path, `expected an alias of something before it, got *${node.source}`);
      return undefined;
    }
    this.#count += anchored.count;
    if (this.#count > VALUES_MAX && !this.broken) {
      this.broken = true;
      this.#find(
        node,
        path,
        `expected at most ${VALUES_MAX} values, got more through the alias *${node.source}`,
      );
    }
    return anchored.value;
  }

  #mapping(map: YAMLMap, path: Path): unknown {
    const value: Record<string, unknown> = {};
    for (const pair of map.items) {
      const key = keyOf(pair);
      if (key === undefined) {
        this.#find(
          pair.key ?? map,
          path,
          'expected a plain word as the name of a field, got a list or a mapping',
        );
      } else if (Object.hasOwn(value, key)) {
        this.#find(pair.key, [...path, key], 'expected each field once, got it again');
      } else {
        // Assigned, a field called __proto__ would change the object instead of being reported as unknown.
        Object.defineProperty(value, key, {
          value: this.#value(pair.value, [...path, key]),
          enumerable: true,
          configurable: true,
          writable: true,
        });
      }
    }
    return value;
  }

  #find(node: unknown, path: Path, message: string): void {
    this.findings.push({ offset: offsetOf(node) ?? 0, path, message });
  }

  /** Where the value at `path` begins; where its mapping begins when it is missing. */
  offsetOfValue(contents: Node | null, path: readonly PropertyKey[]): number {
    let offset = offsetOf(contents) ?? 0;
    let node: unknown = contents;
    for (const step of path) {
      node = this.#child(node, step);
      if (node === undefined) return offset;
      offset = offsetOf(node) ?? offset;
    }
    return offset;
  }

  /** Where the name of the field `key` of the mapping at `path` begins. */
  offsetOfKey(contents: Node | null, path: readonly PropertyKey[], key: string): number {
    let node: unknown = contents;
    for (const step of path) node = this.#child(node, step);
    const map = this.#target(node);
    const pair = isMap(map) ? map.items.find((item) => keyOf(item) === key) : undefined;
    return offsetOf(pair?.key) ?? this.offsetOfValue(contents, path);
  }

  #child(parent: unknown, step: PropertyKey): unknown {
    const node = this.#target(parent);
    if (isSeq(node)) return (node as YAMLSeq).items[Number(step)] ?? undefined;
    if (!isMap(node)) return undefined;
    const pair = node.items.find((item) => keyOf(item) === String(step));
    return pair?.value ?? pair?.key ?? undefined;
  }

  #target(node: unknown): unknown {
    return isAlias(node) ? this.#anchors.get(node.source)?.node : node;
  }
}

function keyOf(pair: Pair): string | undefined {
  return isScalar(pair.key) ? String(pair.key.value) : undefined;
}

function offsetOf(node: unknown): number | undefined {
  return (node as { range?: readonly number[] | null } | null | undefined)?.range?.[0];
}
