import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isProof, proofOf, readToken } from '../../../../src/measure/remote/token.ts';

const TOKEN = '0123456789abcdef0123';
const [CHALLENGE, SESSION] = ['aa'.repeat(32), 'bb'.repeat(16)];

test('a proof is worth something for its token, challenge and session alone', () => {
  const proof = proofOf(TOKEN, CHALLENGE, SESSION);
  assert.match(proof, /^[0-9a-f]{64}$/);
  assert.ok(!proof.includes(TOKEN));
  assert.ok(isProof(TOKEN, CHALLENGE, SESSION, proof));
  assert.ok(!isProof(`${TOKEN}x`, CHALLENGE, SESSION, proof));
  assert.ok(!isProof(TOKEN, 'cc'.repeat(32), SESSION, proof));
  assert.ok(!isProof(TOKEN, CHALLENGE, 'dd'.repeat(16), proof));
  assert.ok(!isProof(TOKEN, CHALLENGE, SESSION, proof.slice(0, 10)));
});

test('a token is the text of its file; none and too short ones are refused with the file named', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-token-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'token');
  writeFileSync(file, `${TOKEN}\n`);
  assert.equal(readToken(file), TOKEN);
  writeFileSync(file, ' short \n');
  assert.throws(() => readToken(file), { code: 'ISTHMUS_ERR_USAGE', message: /token: 5 characters/ });
  assert.throws(() => readToken(join(folder, 'none')), {
    code: 'ISTHMUS_ERR_USAGE',
    message: /ENOENT.*none/,
  });
});
