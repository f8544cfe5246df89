import type { Load } from '../../../../src/measure/remote/load-process.ts';

interface Asked {
  readonly command: string;
  readonly request: object;
}

/** A load agent that sends nothing: keeps what it was asked, and answers what the test says. */
export class ScriptedLoad {
  readonly asked: Asked[] = [];
  closed = 0;
  answer: (command: string) => Promise<unknown> = async () => null;

  readonly load = {
    call: (command: string, request: object) => {
      this.asked.push({ command, request });
      return command === 'listen' ? Promise.resolve(null) : this.answer(command);
    },
    close: async () => {
      this.closed++;
    },
  } as Load;

  readonly start = async (): Promise<Load> => this.load;
}
