import type { Problem } from './problem.ts';
import { lineOf, type SourceText } from './source-text.ts';

/**
 * The packet path may not allocate, throw or wait: a packet's budget is tens of nanoseconds, and one garbage collection costs
 * thousands of packets. test/alloc measures that; these rules name the construct and the line before anything has to be measured.
 *
 * Allowed all the same: everything in a constructor and at module level (it runs once), and in a function whose comment says @cold. One
 * whose comment says @constructs is a constructor too, but the functions in it are the packet path.
 */
const HOT_FILES =
  /^src\/(?:packet\/(?!verdict\.ts$)[^/]+\.ts|fib\/(?:batch-)?lookup\.ts|dataplane\/(?:(?:plain-)?(?:outbound|inbound)|engine)\.ts)$/;

interface Ban {
  readonly pattern: RegExp;
  readonly what: string;
}

const BANS: readonly Ban[] = [
  { pattern: /(?<![.\w])try\b/g, what: 'try' },
  { pattern: /(?<![.\w])throw\b/g, what: 'throw' },
  { pattern: /(?<![.\w])async\b/g, what: 'async' },
  { pattern: /(?<![.\w])await\b/g, what: 'await' },
  { pattern: /(?<![.\w])yield\b/g, what: 'yield' },
  { pattern: /(?<![.\w])new\b/g, what: 'new' },
  { pattern: /\.\.\./g, what: 'spread or rest' },
  { pattern: /`/g, what: 'template literal' },
  { pattern: /(?<![\w.])\d[\d_]*n\b|\bBig(?:Int|Int64Array|Uint64Array)\b/g, what: 'BigInt' },
  { pattern: /\.(?:subarray|slice)\s*\(/g, what: 'subarray or slice' },
  {
    pattern: /\.(?:map|filter|forEach|reduce|some|every|splice|concat)\s*\(/g,
    what: 'iteration method',
  },
  {
    pattern:
      /\b(?:DataView|Map|Set|WeakMap|WeakSet|Date|Buffer|JSON|RegExp|Promise|Proxy|Symbol)\b(?=\s*[.(<])/g,
    what: 'allocating or slow built-in',
  },
  { pattern: /\bMath\.random\b/g, what: 'Math.random' },
  { pattern: /\bfor\s*\([^;)]*\b(?:of|in)\b/g, what: 'iterator loop' },
  // Taking fields off an object by name is a plain load; taking them off an array runs its iterator.
  { pattern: /\b(?:const|let|var)\s*\[/g, what: 'array destructuring' },
  { pattern: /(?:=|\(|,|\?|:|\breturn)\s*\{/g, what: 'object literal' },
  { pattern: /(?:[=(,?:&|+]|\breturn)\s*\[/g, what: 'array literal' },
];

type Scope = 'module' | 'class' | 'constructor' | 'function' | 'cold' | 'closure';

export function isHotPath(file: string): boolean {
  return HOT_FILES.test(file);
}

/** Problems of one hot-path file; `file` is the path from the repository's root. */
export function checkHotPath(file: string, source: string, text: SourceText): Problem[] {
  if (!isHotPath(file)) return [];
  const problems: Problem[] = [];
  const scopes = scopeOfEachCharacter(text);
  const report = (offset: number, what: string): void => {
    problems.push({
      file,
      line: lineOf(source, offset),
      rule: 'hot-path',
      detail: `${what} on the packet path`,
    });
  };
  for (const ban of BANS) {
    for (const match of text.code.matchAll(ban.pattern)) {
      const scope = scopes[match.index + match[0].length - 1];
      if (scope === 'function' || scope === 'closure') report(match.index, ban.what);
    }
  }
  for (const match of text.code.matchAll(/=>|(?<![.\w])function\b/g)) {
    const scope = scopes[match.index];
    if ((scope === 'function' || scope === 'closure') && !isTypePosition(text.code, match.index)) {
      report(match.index, 'closure');
    }
  }
  return problems.sort((a, b) => a.line - b.line);
}

/** `=>` in a type, as in `let f: (a: number) => number;`, makes no closure: what follows is neither a body nor called. */
function isTypePosition(code: string, offset: number): boolean {
  if (!code.startsWith('=>', offset)) return false;
  const head = code.slice(0, offset);
  return /:\s*\([^()]*\)\s*$/.test(head) && !/[?]\s*[^:]*:\s*\([^()]*\)\s*$/.test(head.slice(-200));
}

function scopeOfEachCharacter(text: SourceText): Scope[] {
  const { code } = text;
  const scopes: Scope[] = new Array<Scope>(code.length);
  const stack: { scope: Scope; block: boolean }[] = [{ scope: 'module', block: true }];
  let headStart = 0;
  for (let at = 0; at < code.length; at++) {
    const char = code[at]!;
    const { scope } = stack.at(-1)!;
    scopes[at] = scope;
    if (char === '{') {
      const head = code.slice(headStart, at);
      // After one of these a brace opens an object or an object type, which is part of the declaration's head.
      const block = !/[:(<|&=,?[]\s*$/.test(head);
      stack.push({
        scope: block ? scopeOfBlock(scope, head, (mark) => isMarked(text, headStart, mark)) : scope,
        block,
      });
      if (block) headStart = at + 1;
    } else if (char === '}') {
      if (stack.length > 1 && stack.pop()!.block) headStart = at + 1;
      scopes[at] = stack.at(-1)!.scope;
    } else if (char === ';') headStart = at + 1;
  }
  return scopes;
}

function scopeOfBlock(parent: Scope, head: string, isMarked: (mark: string) => boolean): Scope {
  const words = head.trim();
  if (parent === 'module' && /\bclass\b/.test(words)) return 'class';
  if (parent === 'class') {
    if (/\bconstructor\s*\(/.test(words)) return 'constructor';
    if (words.includes('(')) return isMarked('@cold') ? 'cold' : 'function';
    return 'module';
  }
  if (parent === 'module') {
    if (!/\bfunction\b/.test(words) && !/=>$/.test(words)) return 'module';
    if (isMarked('@constructs')) return 'constructor';
    return isMarked('@cold') ? 'cold' : 'function';
  }
  if (parent === 'constructor' && /\bfunction\b/.test(words)) return 'function';
  return parent;
}

/** Whether the comment right before the declaration that begins after `headStart` says `mark`. */
function isMarked(text: SourceText, headStart: number, mark: string): boolean {
  const declaration = headStart + (/\S/.exec(text.code.slice(headStart))?.index ?? 0);
  return text.comments.some(
    (comment) =>
      comment.end <= declaration &&
      text.code.slice(comment.end, declaration).trim() === '' &&
      comment.start >= headStart - 1 &&
      comment.text.includes(mark),
  );
}
