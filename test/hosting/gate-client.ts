import { createHash } from 'node:crypto';
import { connect } from 'node:net';

/**
 * A program of its own, run where the gate is: `GET path` by hand, so that what became of each byte is seen. Prints a line
 * at every 64 MiB and one of JSON at its end: bytes of the body, their sha256, how the connection ended. Behind its request it
 * sends so many bytes that nobody reads; then it may end its own half. It takes so many MiB a second and no more, so that there
 * is time for things to happen.
 */
const [, , host = '', port = '', path = '', unread = '0', pace = 'Infinity', half = 'open'] = process.argv;
const step = 64 << 20;
const room = Buffer.allocUnsafeSlow(64 << 10);

const hash = createHash('sha256');
let head: Buffer | null = Buffer.alloc(0);
let status = 0;
let bytes = 0;
let said = 0;
let wasReset = false;
const begun = performance.now();

function take(chunk: Buffer): void {
  let body = chunk;
  if (head !== null) {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) return;
    status = Number(head.toString('latin1').split(' ')[1]);
    body = head.subarray(end + 4);
    head = null;
  }
  hash.update(body);
  bytes += body.length;
  for (; bytes - said >= step; said += step) console.log(`at ${bytes}`);
}

// libuv makes an end of a reset behind a short read, unless reading stops after each: then the kernel is asked (service-gate.ts).
const socket = connect({
  host,
  port: Number(port),
  allowHalfOpen: true,
  onread: {
    buffer: room,
    callback: (count) => {
      take(Buffer.from(room.subarray(0, count)));
      const early = (bytes / (1 << 20) / Number(pace)) * 1000 - (performance.now() - begun);
      if (early > 10) setTimeout(() => socket.resume(), early);
      else setImmediate(() => socket.resume());
      return false;
    },
  },
});
socket.write(`GET ${path} HTTP/1.0\r\nHost: gitlab\r\n\r\n${'x'.repeat(Number(unread))}`);
if (half === 'ended') socket.end();
socket.on('end', () => socket.end());
socket.on('error', () => {
  wasReset = true;
});
socket.on('close', () => {
  console.log(JSON.stringify({ status, bytes, sha256: hash.digest('hex'), wasReset }));
});
socket.resume();
