import { connect } from 'node:net';

/*
 * A second `git push`, while the first still waits for its copy, would read "Everything up-to-date" and end with 0, with no hook
 * run (SAFETY H10): the refs are there already. So GitLab's first answer to a new push, with the refs that it has read, is held back
 * until no push waits any more that waited when it came: one that came later has changed nothing of what it says.
 */

/** How much of a request's first line is looked at; a longer one is no push's. */
const lineBytes = 4096;

/** The first request of a push begins with this chunk. Behind a proxy that keeps its connections too: a request begins a chunk. */
export function beginsPush(chunk: Buffer): boolean {
  if (chunk.length < 4 || chunk[0] !== 0x47 || chunk[1] !== 0x45 || chunk[2] !== 0x54) return false;
  const line = chunk.subarray(0, lineBytes).toString('latin1').split('\r\n')[0] ?? '';
  return /\/info\/refs\?(?:[^ ]*&)?service=git-receive-pack(?:[& ]|$)/.test(line);
}

const againMs = 100;

/**
 * Resolves true when no push waits that waited at the time of the call, or when this machine knows of none: there is no agent
 * with such a door. Resolves false when `isOver` says so first: the agent is away, and with it goes the lease.
 */
export async function pushesSettled(socket: string, isOver: () => boolean): Promise<boolean> {
  while (!isOver()) {
    const answer = await askOnce(socket, isOver);
    if (answer === 'settled' || answer === 'no door') return !isOver();
    await new Promise((done) => setTimeout(done, againMs));
  }
  return false;
}

function askOnce(path: string, isOver: () => boolean): Promise<'settled' | 'no door' | 'no answer'> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(path);
    const look = setInterval(() => isOver() && socket.destroy(), againMs);
    socket.once('connect', () => socket.write('settled\n'));
    socket.on('data', (data) => {
      text = (text + data).slice(0, 8);
      if (text.includes('\n')) socket.destroy();
    });
    let code = '';
    socket.on('error', (error: NodeJS.ErrnoException) => {
      code = error.code ?? '';
    });
    socket.once('close', () => {
      clearInterval(look);
      resolve(text === 'ok\n' ? 'settled' : code === 'ENOENT' ? 'no door' : 'no answer');
    });
  });
}
