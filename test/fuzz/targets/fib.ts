import { type Cidr4, prefixMask } from '../../../src/base/address.ts';
import type { Prng } from '../../../src/base/prng.ts';
import type { FibEntry } from '../../../src/fib/entry.ts';
import { Fib } from '../../../src/fib/fib.ts';
import { GATEWAY_NETWORK, Scenario, type Step } from '../../unit/fib/scenario.ts';
import type { Target } from '../target.ts';

const STEPS_MAX = 24;
const ENTRIES_MAX = 8;
const WEIGHTS = [0, 1, 1, 5];
const CLUSTERS = ['west', 'north', 'south', 'west2'];
/** So that random prefixes contain, touch and replace one another; the last choice takes the bytes as they are. */
const NETWORKS = [10, 11, 0, 255, 172, 10, 10];

/** Reads a byte at a time; behind the end all are 0. */
class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isDone(): boolean {
    return this.#at >= this.#bytes.length;
  }

  byte(): number {
    return this.#bytes[this.#at++] ?? 0;
  }
}

/**
 * Changes of the forwarding table in any order, while a reader sits in an epoch or not: after each, every address that matters is looked
 * up in the image and by a linear scan, and the blocks of the image are walked. In the end everything is taken out.
 */
export function fibTarget(): Target {
  // Empty again after each input, which is checked.
  const fib = new Fib({ capacityBytes: 1 << 20 });
  return {
    name: 'fib',
    bytesMax: 400,
    run: (input) => {
      const reader = new Reader(input);
      const scenario = new Scenario(fib, false);
      const outcomes: number[] = [];
      for (let count = 0; count < STEPS_MAX && !reader.isDone; count++) {
        scenario.run(readStep(reader));
        const { prefixes, groups, peers, retired } = scenario.fib.stats();
        outcomes.push(
          ((Math.min(prefixes, 31) * 16 + Math.min(groups, 15)) * 8 + Math.min(peers, 7)) * 2 +
            Math.min(retired, 1),
        );
      }
      scenario.end();
      return outcomes;
    },
    repair: (_input: Uint8Array, _prng: Prng) => {},
    seeds: () => [
      Uint8Array.of(0, 2, 0, 2, 0, 0, 16, 0, 0x11, 0, 2, 200, 0, 24, 1, 0x25, 0, 0, 3, 4, 1, 1, 0),
      Uint8Array.of(1, 1, 0, 1, 0, 0, 24, 0, 1, 2, 2, 0, 1, 0, 0, 24, 3, 0, 4, 1, 0, 0, 0, 2, 4, 0),
    ],
  };
}

function readStep(reader: Reader): Step {
  const kind = reader.byte() % 8;
  const count = reader.byte() % (ENTRIES_MAX + 1);
  const list = <T>(read: (reader: Reader) => T): T[] => Array.from({ length: count }, () => read(reader));
  switch (kind) {
    case 1:
      return { kind: 'replace', entries: list(readEntry) };
    case 2:
      return { kind: 'local', cidrs: list(readCidr) };
    case 3:
      return { kind: 'peer', host: 1 + (count % 6), alive: reader.byte() % 2 === 1 };
    case 4:
      return { kind: 'read', enter: count % 2 === 1 };
    default: {
      const set = list(readEntry);
      const removed = Array.from({ length: reader.byte() % 4 }, () => readCidr(reader));
      const removedNumbers = Array.from({ length: reader.byte() % 4 }, () => reader.byte());
      return { kind: 'apply', set, removed, removedNumbers };
    }
  }
}

function readCidr(reader: Reader): Cidr4 {
  const choice = reader.byte();
  const first = NETWORKS[choice % 8] ?? choice;
  const address = ((first << 24) | (reader.byte() << 16) | (reader.byte() << 8) | reader.byte()) >>> 0;
  // Mostly 15 to 32: a short prefix fills thousands of slots, and slows the search down.
  const length = reader.byte();
  const prefixLength = length >= 240 ? length - 240 : 15 + (length % 18);
  return { address: (address & prefixMask(prefixLength)) >>> 0, prefixLength };
}

function readEntry(reader: Reader): FibEntry {
  const cidr = readCidr(reader);
  const cluster = CLUSTERS[reader.byte() % CLUSTERS.length]!;
  const bits = reader.byte();
  const hosts = [...new Set([1 + (bits % 6), 1 + ((bits >> 3) % 6), 1 + ((bits >> 5) % 6)])].slice(
    0,
    1 + (bits >> 6),
  );
  const gateways = hosts.map((host) => ({
    address: GATEWAY_NETWORK + host,
    weight: WEIGHTS[(bits + host) % WEIGHTS.length]!,
  }));
  return { cidr, cluster, gateways };
}
