import { loadNative } from '../../io/load.ts';
import type { LoadCommands } from './commands.ts';
import { DatagramSink, sendDatagrams } from './datagrams.ts';
import { StreamSink, sendStreams } from './streams.ts';
import { echoProbes, measureTrips } from './trips.ts';

/** The program that Agent (agent-client.ts) starts: takes LoadCommands over the IPC channel, and ends with it. */
type Handlers = {
  [C in keyof LoadCommands]: (request: LoadCommands[C]['request']) => Promise<LoadCommands[C]['answer']>;
};

const native = loadNative();
let sinks: { readonly datagrams: DatagramSink; readonly streams: StreamSink } | undefined;

function opened(): NonNullable<typeof sinks> {
  if (sinks === undefined) throw new Error('listen comes first');
  return sinks;
}

const handlers: Handlers = {
  async listen({ port }) {
    sinks = { datagrams: new DatagramSink(native, port), streams: new StreamSink(native, port) };
    return null;
  },
  receive(request) {
    return opened().datagrams.receive(request);
  },
  send(request) {
    return sendDatagrams(native, request);
  },
  async drain({ quietMs, atMostMs }) {
    await opened().datagrams.drain(quietMs, atMostMs);
    return null;
  },
  echo({ run, endAtNs }) {
    return echoProbes(native, opened().datagrams.fd, run, endAtNs);
  },
  trips(request) {
    return measureTrips(native, request);
  },
  streamIn(request) {
    return opened().streams.receive(request);
  },
  streamOut(request) {
    return sendStreams(native, request);
  },
};

async function answer(id: number, command: keyof LoadCommands, request: never): Promise<void> {
  try {
    process.send!({ id, answer: await handlers[command](request) });
  } catch (error) {
    process.send!({ id, error: error instanceof Error ? error.message : String(error) });
  }
}

process.on('message', (message: { id: number; command: keyof LoadCommands; request: never }) => {
  void answer(message.id, message.command, message.request);
});
process.on('disconnect', () => process.exit(0));
process.send!({ id: 0, answer: null });
