import { after, before, describe, type TestContext, test } from 'node:test';
import { isInsideSandbox } from '../../../src/measure/sandbox.ts';
import type { Topology } from '../../../src/measure/topology.ts';

interface Scene {
  readonly topology: Topology;
}

const skip = isInsideSandbox() ? false : 'needs the sandbox that npm test -- system makes';

/** A test whose machines exist only inside the sandbox; run outside of it, it says how to run it. */
export function systemTest(name: string, body: (t: TestContext) => Promise<void>, lacks?: string): void {
  test(name, { skip: skip === false ? (lacks ?? false) : skip }, body);
}

/** Builds a scene, runs `body` in it and takes it down; when `body` fails, prints what every process in the scene wrote. */
export async function inScene<S extends Scene>(
  make: () => Promise<S>,
  body: (scene: S) => Promise<void>,
): Promise<void> {
  const scene = await make();
  try {
    await withLogs(scene, body);
  } finally {
    await scene.topology.close();
  }
}

/** Tests one after the other in the same scene: those that leave it as they found it. */
export function suiteInScene<S extends Scene>(
  name: string,
  options: { readonly make: () => Promise<S>; readonly skip?: string | undefined },
  define: (check: (name: string, body: (scene: S) => Promise<void>) => void) => void,
): void {
  const reason = skip === false ? (options.skip ?? false) : skip;
  describe(name, () => {
    let scene: S | undefined;
    before(async () => {
      if (reason === false) scene = await options.make();
    });
    after(async () => {
      await scene?.topology.close();
    });
    define((title, body) => {
      test(title, { skip: reason }, async () => {
        // A scene that could not be made has already failed the suite, with its logs.
        if (scene === undefined) throw new Error('the scene could not be made');
        await withLogs(scene, body);
      });
    });
  });
}

async function withLogs<S extends Scene>(scene: S, body: (scene: S) => Promise<void>): Promise<void> {
  try {
    await body(scene);
  } catch (error) {
    process.stderr.write(`${scene.topology.logs()}\n`);
    throw error;
  }
}
