import { createServer } from 'node:net';

/** Answers each connection with one line: this server's name and the client's address as it sees it. Arguments: name, port. */
const [name, port] = process.argv.slice(2);
createServer((socket) => {
  socket.on('error', () => {});
  socket.end(`${name} ${socket.remoteAddress?.replace(/^::ffff:/, '')}\n`);
}).listen(Number(port), '0.0.0.0', () => console.log('listening'));
