import { connect } from 'node:net';

/** Opens connections one after the other and prints the line that each was answered with, or what happened. Arguments: address, port, how many, ms. */
const [address, port, count, limitMs] = process.argv.slice(2);

function ask(): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect({ host: address!, port: Number(port), family: 4 });
    socket.setTimeout(Number(limitMs), () => {
      resolve('no answer');
      socket.destroy();
    });
    socket.on('data', (data) => {
      text += data.toString();
    });
    socket.on('end', () => resolve(text.trim()));
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

for (let turn = 0; turn < Number(count); turn++) console.log(await ask());
