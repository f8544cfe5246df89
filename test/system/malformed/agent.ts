import type { MalformedCommands } from './agent-commands.ts';
import { Checker } from './checker.ts';
import { Sender } from './sender.ts';

type Handlers = {
  [C in keyof MalformedCommands]: (
    request: MalformedCommands[C]['request'],
  ) => Promise<MalformedCommands[C]['answer']>;
};

let sender: Sender | undefined;
let checker: Checker | undefined;

const handlers: Handlers = {
  async openSender({ world, device, mac }) {
    sender = new Sender(world, device, mac);
    return null;
  },
  async send(burst) {
    return { refused: sender!.send(burst) };
  },
  async openCheck(request) {
    checker = new Checker(request.world, request.direction);
    await checker.open(request.device, request.protocol);
    return null;
  },
  async check(burst) {
    await checker!.check(burst);
    return null;
  },
  async totals() {
    return checker!.totals();
  },
};

async function answer(id: number, command: keyof MalformedCommands, request: never): Promise<void> {
  try {
    process.send!({ id, answer: await handlers[command](request) });
  } catch (error) {
    process.send!({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
}

process.on('message', (message: { id: number; command: keyof MalformedCommands; request: never }) => {
  void answer(message.id, message.command, message.request);
});
process.on('disconnect', () => process.exit(0));
process.send!({ id: 0, answer: null });
