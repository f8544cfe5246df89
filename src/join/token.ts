import { setTimeout as sleep } from 'node:timers/promises';
import { parse } from 'yaml';
import { fieldOf, type KubernetesObject } from '../watch/kubernetes-api/resource.ts';
import type { ClusterApi } from './cluster-api.ts';
import { accessName, accessObjects, accessSecret, NAMESPACE, objectPath, tokenSecret } from './objects.ts';

export interface Token {
  readonly token: string;
  /** ISO time; undefined where it stays good until its ServiceAccount or Secret goes. */
  readonly expiresAt: string | undefined;
  /** The cluster's CA as the token controller wrote it, PEM. */
  readonly ca: string | undefined;
}

/** The token controller of kube-controller-manager takes some milliseconds; where none runs, waiting longer helps nothing. */
const FILLED_MS = 5000;
const FILLED_POLL_MS = 100;

/** Ten years. Servers grant less where they are told to (--service-account-max-token-expiration; EKS gives 24 h). */
const EXPIRATION_SECONDS = 10 * 365 * 86_400;

/**
 * The token by which `peer` reads the cluster of `api`, best first: the one that Kubernetes keeps in the Secret and that does not expire; the one
 * that the peer has already, while more than half of its life is left; a new one by TokenRequest, with the longest life that the server grants.
 * `holder` is the peer's own API, where a person has it.
 */
export async function obtainToken(
  api: ClusterApi,
  name: string,
  peer: string,
  holder: ClusterApi | undefined,
): Promise<Token> {
  const filled = await filledToken(api, peer);
  if (filled !== undefined) return filled;
  const held = holder === undefined ? undefined : await heldToken(api, name, peer, holder);
  if (held !== undefined) return held;
  const path = `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/${accessName(peer)}/token`;
  const granted = await api.create(path, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: { expirationSeconds: EXPIRATION_SECONDS },
  });
  return {
    token: String(fieldOf(granted.status, 'token')),
    expiresAt: String(fieldOf(granted.status, 'expirationTimestamp')),
    ca: undefined,
  };
}

/** Waits from the Secret's birth on: one that stayed empty for long belongs to a cluster without a token controller. */
export async function filledToken(api: ClusterApi, peer: string): Promise<Token | undefined> {
  const [path, account] = [
    objectPath(tokenSecret(peer)),
    await api.find(objectPath(accessObjects(peer)[0]!)),
  ];
  let waitedMs = 0;
  for (;;) {
    const secret = await api.find(path);
    // Of an account that was removed, the Secret and its token stay until the controller comes by.
    const owner = secret?.metadata.annotations?.['kubernetes.io/service-account.uid'];
    const isStale = owner !== undefined && owner !== account?.metadata.uid;
    const token = isStale ? undefined : dataOf(secret, 'token');
    if (token !== undefined) return { token, expiresAt: undefined, ca: dataOf(secret, 'ca.crt') };
    const bornMs = Date.parse(String(secret?.metadata.creationTimestamp));
    const isOld = Number.isNaN(bornMs) || Date.now() - bornMs > 2 * FILLED_MS;
    if (secret === undefined || isOld || waitedMs >= FILLED_MS) return undefined;
    await sleep(FILLED_POLL_MS);
    waitedMs += FILLED_POLL_MS;
  }
}

/** What the peer's Secret holds, if the cluster still accepts it as the account that we made. */
async function heldToken(
  api: ClusterApi,
  name: string,
  peer: string,
  holder: ClusterApi,
): Promise<Token | undefined> {
  const secret = await holder.find(objectPath(accessSecret(name, '')));
  const token = tokenIn(dataOf(secret, 'kubeconfig'));
  if (token === undefined) return undefined;
  const claims = claimsOf(token);
  if (claims === undefined || Date.now() > (claims.fromMs + claims.untilMs) / 2) return undefined;
  // The server accepts a token for ten seconds more after its account went: it remembers what it has verified.
  const account = await api.find(objectPath(accessObjects(peer)[0]!));
  if (claims.accountUid !== account?.metadata.uid) return undefined;
  const review = await api.create('/apis/authentication.k8s.io/v1/tokenreviews', {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenReview',
    spec: { token },
  });
  const user = fieldOf(fieldOf(review.status, 'user'), 'username');
  const isGood = fieldOf(review.status, 'authenticated') === true;
  if (!isGood || user !== `system:serviceaccount:${NAMESPACE}:${accessName(peer)}`) return undefined;
  return { token, expiresAt: new Date(claims.untilMs).toISOString(), ca: undefined };
}

export function dataOf(secret: KubernetesObject | undefined, key: string): string | undefined {
  const value = fieldOf(secret?.data, key);
  return typeof value === 'string' && value !== ''
    ? Buffer.from(value, 'base64').toString('utf8')
    : undefined;
}

function tokenIn(kubeconfig: string | undefined): string | undefined {
  try {
    const users: unknown = fieldOf(parse(kubeconfig ?? ''), 'users');
    const token = Array.isArray(users) ? fieldOf(fieldOf(users[0], 'user'), 'token') : undefined;
    return typeof token === 'string' ? token : undefined;
  } catch {
    // Somebody's own text: it is replaced.
    return undefined;
  }
}

export interface Claims {
  readonly fromMs: number;
  readonly untilMs: number;
  /** Of the ServiceAccount; undefined where the token does not say. */
  readonly accountUid: string | undefined;
}

/**
 * `iat`, `exp` (RFC 7519 §4.1) and Kubernetes' own claim of a JSON Web Token, unverified: the server verifies it. undefined for one that never
 * expires.
 */
export function claimsOf(token: string): Claims | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
    const [from, until] = [fieldOf(claims, 'iat'), fieldOf(claims, 'exp')];
    if (typeof from !== 'number' || typeof until !== 'number') return undefined;
    const uid = fieldOf(fieldOf(fieldOf(claims, 'kubernetes.io'), 'serviceaccount'), 'uid');
    const accountUid = typeof uid === 'string' ? uid : undefined;
    return { fromMs: from * 1000, untilMs: until * 1000, accountUid };
  } catch {
    return undefined;
  }
}
