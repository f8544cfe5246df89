import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkFiles, importsOf, LINES_MAX } from '../tidy/rules.ts';
import { splitSource } from '../tidy/source-text.ts';

/** Rules broken by `source` at `path`, other files beside it. */
function rulesOf(path: string, source: string, others: Record<string, string> = {}): string[] {
  const files = [{ path, source }, ...Object.entries(others).map(([p, s]) => ({ path: p, source: s }))];
  return checkFiles(files)
    .filter((problem) => problem.file === path)
    .map((problem) => problem.rule);
}

function hot(body: string): string[] {
  return rulesOf(
    'src/packet/probe.ts',
    `export function probe(bytes: Uint8Array, at: number): number {\n${body}\n}\n`,
  );
}

/** A substitution in a template, in pieces because it is meant for the splitter and not for this file. */
function hole(inside: string): string {
  return ['$', '{', inside, '}'].join('');
}

describe('the source splitter', () => {
  test('blanks comments and strings, keeps everything else where it was', () => {
    const source = `a(); // throw\nb("throw", 'it\\'s'); /* try\n */ c(\`x ${hole('y')} throw\`);\n`;
    const { code, comments, strings } = splitSource(source);
    assert.equal(code.length, source.length);
    assert.equal(code.indexOf('c('), source.indexOf('c('));
    assert.ok(!code.includes('throw') && !code.includes('try'));
    assert.ok(code.includes('y'), 'the substitution of a template is code');
    assert.deepEqual(
      comments.map((c) => c.text.trim()),
      ['throw', 'try'],
    );
    assert.deepEqual(
      strings.map((s) => s.text),
      ['throw', "it\\'s", 'x ', ' throw'],
    );
  });

  test('tells a regular expression from a division', () => {
    const { code } = splitSource(
      'const a = /["\'`]try/.test(x); const b = c / d; const e = (f) / g / 2; "end";',
    );
    assert.ok(!code.includes('try'));
    assert.ok(code.includes('c / d'));
    assert.ok(code.includes('(f) / g / 2'));
  });

  test('follows templates inside templates to their end', () => {
    const { code } = splitSource(`x(\`a ${hole(`b(\`c ${hole('d')} e\`)`)} f\`); after();`);
    assert.ok(code.includes('b(') && code.includes('d') && code.includes('after()'));
    assert.ok(!/[acef]\b(?!t)/.test(code.replace('after', '')));
  });

  test('finds every form of import, and which vanish at run time', () => {
    const text = splitSource(`
      import { a } from './a.ts';
      import type { B } from './b.ts';
      import { type C, type D } from './c.ts';
      import { type E, f } from './e.ts';
      import './g.ts';
      export * from './h.ts';
      export { i } from './i.ts';
      const j = await import('./j.ts');
      const k = require('./k.node');
      // import { no } from './no.ts';
      const s = "import { no } from './no.ts'";
    `);
    assert.deepEqual(
      importsOf(text).map((found) => [found.specifier, found.typeOnly]),
      [
        ['./a.ts', false],
        ['./b.ts', true],
        ['./c.ts', true],
        ['./e.ts', false],
        ['./g.ts', false],
        ['./h.ts', false],
        ['./i.ts', false],
        ['./j.ts', false],
        ['./k.node', false],
      ],
    );
  });
});

describe('the order of imports', () => {
  test('lets a folder import those below it', () => {
    assert.deepEqual(rulesOf('src/dataplane/loop.ts', "import { lookup } from '../fib/lookup.ts';\n"), []);
    assert.deepEqual(rulesOf('src/cli/run.ts', "import { Gateway } from '../gateway.ts';\n"), []);
    assert.deepEqual(rulesOf('src/gateway.ts', "import { AdminServer } from './admin/server.ts';\n"), []);
  });

  test('refuses an import that runs upwards, types included', () => {
    assert.deepEqual(rulesOf('src/fib/fib.ts', "import { Table } from '../table/table.ts';\n"), [
      'import-order',
    ]);
    assert.deepEqual(rulesOf('src/base/log.ts', "import type { Config } from '../config/schema.ts';\n"), [
      'import-order',
    ]);
    assert.deepEqual(rulesOf('src/admin/server.ts', "import { Gateway } from '../gateway.ts';\n"), [
      'import-order',
    ]);
  });

  test('refuses a folder that has no place, and imports from outside src', () => {
    assert.deepEqual(rulesOf('src/extra/thing.ts', "import { a } from '../base/a.ts';\n"), ['import-order']);
    assert.deepEqual(rulesOf('src/io/tun.ts', "import { a } from '../../test/a.ts';\n"), ['import-order']);
  });

  test('finds a cycle and names the files on it', () => {
    const files = [
      { path: 'src/io/first.ts', source: "import { b } from './second.ts';\n" },
      { path: 'src/io/second.ts', source: "import type { a } from './first.ts';\n" },
    ];
    const problems = checkFiles(files);
    assert.equal(problems.length, 1);
    assert.equal(problems[0]!.detail, 'src/io/first.ts → src/io/second.ts → src/io/first.ts');
  });
});

describe('who may import what', () => {
  test('keeps the pure folders free of node:, packages and impure code', () => {
    for (const folder of ['packet', 'fib', 'table']) {
      const path = `src/${folder}/thing.ts`;
      assert.deepEqual(rulesOf(path, "import { readFileSync } from 'node:fs';\n"), ['pure']);
      assert.deepEqual(rulesOf(path, "import * as fc from 'fast-check';\n"), ['pure']);
      assert.deepEqual(rulesOf(path, "import { createLog } from '../base/log.ts';\n"), ['pure']);
      assert.deepEqual(rulesOf(path, "import { assert } from '../base/assert.ts';\n"), []);
      assert.deepEqual(rulesOf(path, "import type { Cidrs } from '../config/schema.ts';\n"), []);
      assert.deepEqual(rulesOf(path, "import { load } from '../config/load.ts';\n"), ['pure']);
    }
  });

  test('leaves the addon and raw-socket to src/io, and ip-num to one file', () => {
    assert.deepEqual(rulesOf('src/io/raw.ts', "import raw from 'raw-socket';\n"), []);
    assert.deepEqual(rulesOf('src/host/raw.ts', "import raw from 'raw-socket';\n"), ['native']);
    assert.deepEqual(
      rulesOf('src/io/load.ts', "const a = require('../../native/build/isthmus.node');\n"),
      [],
    );
    assert.deepEqual(rulesOf('src/host/load.ts', "const a = require('../../native/build/isthmus.node');\n"), [
      'native',
    ]);
    assert.deepEqual(rulesOf('src/base/address.ts', "import { IPv4 } from 'ip-num';\n"), []);
    assert.deepEqual(rulesOf('src/config/schema.ts', "import { IPv4 } from 'ip-num';\n"), ['ip-num']);
  });
});

describe('the form of files', () => {
  test(`lets a file have ${LINES_MAX} lines and not one more`, () => {
    assert.deepEqual(rulesOf('src/io/long.ts', 'a();\n'.repeat(LINES_MAX)), []);
    assert.deepEqual(rulesOf('src/io/long.ts', 'a();\n'.repeat(LINES_MAX + 1)), ['file-length']);
  });

  test('wants names in kebab-case that say something', () => {
    assert.deepEqual(rulesOf('src/io/raw-ip.ts', ''), []);
    assert.deepEqual(rulesOf('src/io/rawIp.ts', ''), ['file-name']);
    for (const name of ['utils', 'helpers', 'common', 'misc', 'index']) {
      assert.deepEqual(rulesOf(`src/io/${name}.ts`, ''), ['file-name']);
    }
    assert.deepEqual(rulesOf('test/unit/helpers.test.ts', ''), ['file-name']);
  });

  test('refuses default exports, unfinished notes and paths of one machine', () => {
    assert.deepEqual(rulesOf('src/io/a.ts', 'export default 1;\n'), ['default-export']);
    assert.deepEqual(rulesOf('src/io/a.ts', 'const x = 1;\nexport { x as default };\n'), ['default-export']);
    assert.deepEqual(rulesOf('src/io/a.ts', `// ${'TO'}DO: later\n`), ['unfinished']);
    assert.deepEqual(rulesOf('src/io/a.ts', 'const todo = []; // the to-do list\n'), []);
    assert.deepEqual(rulesOf('src/io/a.ts', `const a = '${'/ho'}me/someone/x';\n`), ['machine-path']);
    assert.deepEqual(
      rulesOf('src/io/a.ts', "const a = '/var/lib/isthmus'; // see https://a.org/home/page\n"),
      [],
    );
  });
});

describe('the packet path', () => {
  test('accepts arithmetic on typed arrays', () => {
    const body = `
      let sum = 0;
      for (let i = at; i < at + 20; i += 2) sum += ((bytes[i]! << 8) | bytes[i + 1]!) >>> 0;
      // new, throw and async in a comment are words
      if (sum > 0xffff) { sum = (sum & 0xffff) + (sum >>> 16); }
      switch (sum) { case 1: return 2; default: break; }
      return sum > 3 ? bytes[0]! : -1;`;
    assert.deepEqual(hot(body), []);
  });

  const refused: Record<string, string> = {
    try: 'try { a(); } finally { b(); }',
    throw: "throw new Error('x');",
    async: 'async function f() {}',
    await: 'await a();',
    new: 'const a = new Uint8Array(4);',
    spread: 'a(...b);',
    template: 'const a = `x`;',
    BigInt: 'const a = 4n;',
    BigUint64Array: 'const a = BigUint64Array.from(b);',
    subarray: 'a(bytes.subarray(1));',
    slice: 'a(bytes.slice(1));',
    DataView: 'DataView.call(b);',
    Map: 'const a = Map.groupBy(b);',
    random: 'return Math.random();',
    Date: 'return Date.now();',
    'iterator loop': 'for (const b of bytes) a(b);',
    'array destructuring': 'const [a] = b;',
    'object literal': 'return { a: 1 };',
    'object argument': 'a({ b });',
    'array literal': 'const a = [1, 2];',
    'arrow function': 'a((b) => b + 1);',
    'function expression': 'a(function () { return 1; });',
    'iteration method': 'bytes.forEach(f);',
  };
  for (const [name, body] of Object.entries(refused)) {
    test(`refuses ${name}`, () => {
      const rules = hot(body);
      assert.ok(rules.length > 0 && rules.every((rule) => rule === 'hot-path'), String(rules));
    });
  }

  test('leaves module level, constructors and functions marked @cold alone, and methods not', () => {
    const source = (mark: string): string => `
      const TABLE = new Uint8Array([1, 2, ...[3]]);
      export const NAMES = { A: 1, B: [2] } as const;
      if (TABLE.length !== 3) throw new Error('table');
      export class Engine {
        readonly #bytes: Uint8Array = new Uint8Array(4);
        constructor(options: { size: number }) {
          if (options.size < 0) throw new Error(\`size \${options.size}\`);
          this.#bytes = new Uint8Array(options.size);
        }
        /** What it counted, for the status. ${mark} */
        state(): { size: number } {
          return { size: this.#bytes.length };
        }
        step(count: number): number {
          return count + this.#bytes[0]!;
        }
      }`;
    assert.deepEqual(rulesOf('src/dataplane/engine.ts', source('@cold')), []);
    assert.deepEqual(rulesOf('src/dataplane/engine.ts', source('')), ['hot-path']);
  });

  test('takes a function marked @constructs for a constructor, and the functions in it for the packet path', () => {
    const source = (body: string): string => `
      /** @constructs */
      export function lookups(capacity: number): { run(): void } {
        const groups = new Int32Array(capacity);
        function run(): void {
          ${body}
        }
        return { run };
      }`;
    assert.deepEqual(rulesOf('src/fib/batch-lookup.ts', source('groups[0] = 1;')), []);
    assert.deepEqual(rulesOf('src/fib/batch-lookup.ts', source('groups.set([1]);')), ['hot-path']);
  });

  test('holds for the named files only', () => {
    const source = 'export function f(): number[] {\n  return [1];\n}\n';
    assert.deepEqual(rulesOf('src/packet/ipv4.ts', source), ['hot-path']);
    assert.deepEqual(rulesOf('src/fib/lookup.ts', source), ['hot-path']);
    assert.deepEqual(rulesOf('src/dataplane/outbound.ts', source), ['hot-path']);
    assert.deepEqual(rulesOf('src/packet/verdict.ts', source), []);
    assert.deepEqual(rulesOf('src/fib/fib.ts', source), []);
  });
});
