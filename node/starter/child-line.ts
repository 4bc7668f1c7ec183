import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';

/** A child's input or output that goes by a socket of its own. */
interface Line<Stream> {
  /** Where its other end calls, once. */
  path: string;
  stream: Stream;
  /** Nobody will call any more: what is in the stream stays. */
  leave(): void;
}

/** Of a socket's name, which the kernel bounds. */
const mostPathBytes = 100;
const aheadBytes = 256 << 10;

/**
 * Waits for one caller, in a folder that is the agent's alone: nobody else can call. Null where it cannot: no room, or a TMPDIR with a name
 * that is too long.
 */
function awaitCaller(answer: (caller: Socket) => void): Omit<Line<never>, 'stream'> | null {
  let folder: string;
  try {
    folder = mkdtempSync(join(tmpdir(), 'autogit-line-'));
  } catch {
    return null;
  }
  const path = join(folder, 's');
  const server = createServer({ pauseOnConnect: true }, (caller) => {
    leave();
    answer(caller);
  });
  const leave = (): void => {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  };
  if (Buffer.byteLength(path) > mostPathBytes) {
    leave();
    return null;
  }
  // Who calls there in vain says so.
  server.on('error', () => undefined);
  server.listen(path).unref();
  return { path, leave };
}

/** What a child writes, as it comes. Null as above. */
export function openOutput(): Line<Readable> | null {
  let isWanted = false;
  let socket: Socket | null = null;
  const line = awaitCaller((caller) => {
    socket = caller;
    // A broken one is one that has ended: how its writer ended, its code says.
    caller.on('error', () => undefined).once('close', () => stream.push(null));
    caller.on('data', (bytes) => {
      if (!stream.push(bytes)) caller.pause();
    });
    if (isWanted) caller.resume();
  });
  const stream = new Readable({
    highWaterMark: aheadBytes,
    read: () => {
      isWanted = true;
      socket?.resume();
    },
    destroy: (error, done) => {
      line?.leave();
      socket?.destroy();
      done(error);
    },
  });
  return line && { ...line, stream };
}

/** What a child reads: a write is done when the kernel has all of it. One that ends early takes no more, and its writer hears EPIPE. Null as above. */
export function openInput(): Line<Writable> | null {
  let socket: Socket | null = null;
  let first = (): void => undefined;
  const line = awaitCaller((caller) => {
    socket = caller;
    // Of a broken one each write says so.
    caller.on('error', () => undefined).resume();
    first();
  });
  const called = (go: (caller: Socket) => void): void => {
    if (socket === null) first = () => go(socket as Socket);
    else go(socket);
  };
  const stream = new Writable({
    highWaterMark: aheadBytes,
    // Node says of a write that a destroyed socket gave up that it is done.
    write: (chunk: Uint8Array, _encoding, done) =>
      called((caller) => caller.write(chunk, (error) => done(error || caller.destroyed ? brokenPipe() : null))),
    // Its reader may have ended before it read the end.
    final: (done) => called((caller) => caller.end(() => done())),
    destroy: (error, done) => {
      line?.leave();
      socket?.destroy();
      done(error);
    },
  });
  stream.on('error', () => undefined);
  return line && { ...line, stream };
}

/** As a pipe has it; a socket's other words for it are nobody's here. */
export const brokenPipe = (): Error => Object.assign(new Error('write EPIPE'), { code: 'EPIPE' });
