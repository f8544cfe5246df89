import { Buffer } from 'node:buffer';
import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { GatewayError, messageOf } from '../../base/errors.ts';

/** Shorter ones can be guessed from one recorded proof. */
export const TOKEN_CHARACTERS_MIN = 16;
export const TOKEN_CHARACTERS_MAX = 1024;

/** Reads a shared secret: the text of the file without white space around it. */
export function readToken(file: string): string {
  let token: string;
  try {
    token = readFileSync(file, 'utf8').trim();
  } catch (error) {
    throw new GatewayError('ISTHMUS_ERR_USAGE', `--token-file: ${messageOf(error)}`);
  }
  if (token.length < TOKEN_CHARACTERS_MIN || token.length > TOKEN_CHARACTERS_MAX) {
    throw new GatewayError(
      'ISTHMUS_ERR_USAGE',
      `--token-file ${file}: ${token.length} characters; a token has ${TOKEN_CHARACTERS_MIN} to ${TOKEN_CHARACTERS_MAX}, such as openssl rand -hex 32 makes`,
    );
  }
  return token;
}

/**
 * What shows that a controller has the token: an HMAC of the server's challenge, so that the token itself never crosses the network and a
 * recorded proof is worth nothing for the next connection.
 */
export function proofOf(token: string, challenge: string, session: string): string {
  return createHmac('sha256', token).update(`isthmus bench 1 ${challenge} ${session}`).digest('hex');
}

/** In a time that does not depend on how much of the proof is right. */
export function isProof(token: string, challenge: string, session: string, proof: string): boolean {
  const expected = Buffer.from(proofOf(token, challenge, session), 'hex');
  const given = Buffer.from(proof, 'hex');
  return given.length === expected.length && timingSafeEqual(given, expected);
}
