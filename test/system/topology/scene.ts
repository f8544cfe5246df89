import { test } from 'node:test';
import { isInsideSandbox } from './sandbox.ts';
import type { Topology } from './topology.ts';

/** A test whose machines exist only inside the sandbox; run outside of it, it says how to run it. */
export function systemTest(name: string, body: () => Promise<void>): void {
  const skip = isInsideSandbox() ? false : 'needs the sandbox that npm test -- system makes';
  test(name, { skip }, body);
}

/** Builds a scene, runs `body` in it and takes it down; when `body` fails, prints what every process in the scene wrote. */
export async function inScene<S extends { readonly topology: Topology }>(
  make: () => Promise<S>,
  body: (scene: S) => Promise<void>,
): Promise<void> {
  const scene = await make();
  try {
    await body(scene);
  } catch (error) {
    process.stderr.write(`${scene.topology.logs()}\n`);
    throw error;
  } finally {
    await scene.topology.close();
  }
}
