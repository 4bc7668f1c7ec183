import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';

/** A child's output that comes by a socket of its own. */
interface Line {
  /** Where its writer calls, once. */
  path: string;
  stream: Readable;
  /** Nobody will call any more: what is in the stream stays. */
  leave(): void;
}

/** Of a socket's name, which the kernel bounds. */
const mostPathBytes = 100;
const aheadBytes = 256 << 10;

/** Opens one in a folder that is the agent's alone: nobody else can call. Null where none can be made: no room, or a TMPDIR with a name that is too long. */
export function openLine(): Line | null {
  let folder: string;
  try {
    folder = mkdtempSync(join(tmpdir(), 'autogit-line-'));
  } catch {
    return null;
  }
  const path = join(folder, 's');
  let isWanted = false;
  let socket: Socket | null = null;
  const server = createServer({ pauseOnConnect: true }, (caller) => {
    socket = caller;
    leave();
    // A broken one is one that has ended: how its writer ended, its code says.
    caller.on('error', () => undefined).once('close', () => stream.push(null));
    caller.on('data', (bytes) => {
      if (!stream.push(bytes)) caller.pause();
    });
    if (isWanted) caller.resume();
  });
  const leave = (): void => {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  };
  const stream = new Readable({
    highWaterMark: aheadBytes,
    read: () => {
      isWanted = true;
      socket?.resume();
    },
    destroy: (error, done) => {
      leave();
      socket?.destroy();
      done(error);
    },
  });
  if (Buffer.byteLength(path) > mostPathBytes) {
    leave();
    return null;
  }
  // Who calls there in vain says so.
  server.on('error', () => undefined);
  server.listen(path).unref();
  return { path, stream, leave };
}
