import { spawn } from 'node:child_process';

/**
 * The packets of one direction on a device, whole and in order, from a packet socket. Python, because it needs no library for one and
 * runs as the root of a user namespace, where tcpdump refuses to (it calls setgroups).
 */
const PROGRAM = `
import socket, struct, sys, select
device, kind, protocol = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
try: s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
except OSError: s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
s.bind((device, 3))
s.setblocking(False)
out = sys.stdout.buffer
out.write(struct.pack('<I', 0)); out.flush()
while True:
    # The other end of the standard input is gone with the process that asked.
    if sys.stdin in select.select([s, sys.stdin], [], [])[0]: break
    try:
        while True:
            data, name = s.recvfrom(70000)
            if name[2] != kind or name[1] != 0x0800 or (protocol and (len(data) < 10 or data[9] != protocol)): continue
            out.write(struct.pack('<I', len(data))); out.write(data)
    except BlockingIOError: pass
    except OSError as error:
        if error.errno != 100: raise
    out.flush()
`;

const PACKET_HOST = 0;
const PACKET_OUTGOING = 4;

/** Resolves when nothing is missed any more; `take` may keep the bytes. `protocol` 0: all. */
export function capture(
  device: string,
  direction: 'in' | 'out',
  protocol: number,
  take: (packet: Buffer) => void,
): Promise<void> {
  const kind = direction === 'in' ? PACKET_HOST : PACKET_OUTGOING;
  const child = spawn('python3', ['-c', PROGRAM, device, `${kind}`, `${protocol}`], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let rest: Buffer = Buffer.alloc(0);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (status) => reject(new Error(`the capture ended with ${status}`)));
    child.stdout.on('data', (chunk: Buffer) => {
      const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      let at = 0;
      while (at + 4 <= bytes.length) {
        const end = at + 4 + bytes.readUInt32LE(at);
        if (end > bytes.length) break;
        // The empty one says that the socket is open.
        if (end === at + 4) resolve();
        else take(bytes.subarray(at + 4, end));
        at = end;
      }
      rest = bytes.subarray(at);
    });
  });
}
