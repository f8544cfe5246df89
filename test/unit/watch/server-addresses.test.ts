import assert from 'node:assert/strict';
import { channel } from 'node:diagnostics_channel';
import { EventEmitter } from 'node:events';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import { formatCidr, parseAddress, parseIpAddress } from '../../../src/base/address.ts';
import { protectedCidrs, ServerAddresses } from '../../../src/watch/server-addresses.ts';

/** What Node publishes for a connection from `localAddress` to `remoteAddress`. */
function connection(localAddress: string, remoteAddress: string | undefined): void {
  const socket = Object.assign(new EventEmitter(), { localAddress, remoteAddress });
  channel('net.client.socket').publish({ socket });
  socket.emit('connect');
}

function watching(tunnelAddress: string | null = null): { servers: ServerAddresses; changes: () => number } {
  let changes = 0;
  const servers = new ServerAddresses({
    tunnelAddress: () => (tunnelAddress === null ? null : parseAddress(tunnelAddress)),
    onChange: () => {
      changes += 1;
    },
  });
  return { servers, changes: () => changes };
}

test('the address of each server that is connected to is kept, once, in whatever form it is told', () => {
  const { servers, changes } = watching();
  connection('172.31.0.1', '192.0.2.7');
  connection('172.31.0.1', '192.0.2.3');
  connection('::ffff:172.31.0.1', '::ffff:192.0.2.7');
  connection('2001:db8::1', '2001:db8::2');
  assert.deepEqual(servers.list, [
    parseAddress('192.0.2.3'),
    parseAddress('192.0.2.7'),
    parseIpAddress('2001:db8::2'),
  ]);
  assert.deepEqual(
    protectedCidrs([], servers.list).map(({ cidr }) => formatCidr(cidr)),
    ['192.0.2.3/32', '192.0.2.7/32', '2001:db8::2/128'],
  );
  assert.equal(changes(), 3);
  servers.close();
});

test('loopback, link-local, sockets of the file system and what is reached through the tunnel are not', () => {
  const { servers, changes } = watching('10.1.0.1');
  connection('127.0.0.1', '127.0.0.1');
  connection('::1', '::1');
  connection('fe80::1%eth0', 'fe80::2%eth0');
  connection('', undefined);
  connection('10.1.0.1', '10.2.0.1');
  assert.deepEqual(servers.list, []);
  assert.equal(changes(), 0);
  servers.close();
});

test('there are at most 256, those that were connected to last', () => {
  const { servers } = watching();
  for (let i = 0; i < 300; i++) connection('172.31.0.1', `192.0.${i >> 8}.${i & 255}`);
  assert.equal(servers.list.length, 256);
  assert.equal(servers.list.at(0), parseAddress('192.0.0.44'));
  servers.close();
  connection('172.31.0.1', '192.0.2.99');
  assert.ok(!servers.list.includes(parseAddress('192.0.2.99')), 'closed, it hears nothing more');
});

test('Node does publish the connections that are made', async () => {
  const seen: unknown[] = [];
  const server = createServer((socket) => socket.end());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const hear = (message: unknown) => seen.push((message as { socket: unknown }).socket);
  channel('net.client.socket').subscribe(hear);
  const socket = connect((server.address() as { port: number }).port, '127.0.0.1');
  await new Promise((resolve) => socket.once('close', resolve));
  channel('net.client.socket').unsubscribe(hear);
  server.close();
  assert.deepEqual(seen, [socket]);
});
