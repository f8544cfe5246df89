import { Agent } from '../agent-client.ts';
import { LOAD_AGENT, type LoadAgent, type LoadCommands } from '../load/commands.ts';

/** What of a load agent the two ends of a run use. */
export type Load = Pick<LoadAgent, 'call' | 'close'>;

/**
 * A load agent on this host, in a process of its own: sending and receiving must not wait for the control connection, and ending it ends
 * whatever it does. Needs no right.
 */
export async function startLoad(): Promise<Load> {
  const agent = new Agent<LoadCommands>('load generator', [
    process.execPath,
    '--enable-source-maps',
    LOAD_AGENT.file,
  ]);
  await agent.ready;
  return agent;
}
