import { connect } from 'node:net';

/*
 * A second `git push`, while the first still waits for its copy, would read "Everything up-to-date" and end with 0, with no hook
 * run (SAFETY H10): the refs are there already. So GitLab's first answer to a new push, with the refs that it has read, is held back
 * until no push waits any more that waited when it came: one that came later has changed nothing of what it says.
 */

/** How much of a request's first line is looked at; a longer one is no push's. */
const lineBytes = 4096;

const starts = 'GET ';

/** Looks at what a client sends for the first request of a push. Behind a proxy that keeps its connections too: a request begins a chunk. */
export class PushWatch {
  /** A request's line that is not whole yet. */
  #line = '';

  /** True for the chunk that ends the line of a push's first request, in however many pieces that comes. */
  begins(chunk: Buffer): boolean {
    const piece = chunk.subarray(0, lineBytes).toString('latin1');
    // What was taken for a beginning may have been the end of something else.
    const lines = [this.#line + piece, piece].filter((text) => starts.startsWith(text.slice(0, starts.length)));
    const open = lines.find((text) => !text.includes('\n') && text.length < lineBytes);
    this.#line = open ?? '';
    return lines.some((text) => isPush(text.split(/\r?\n/)[0] ?? '', text.includes('\n')));
  }
}

const isPush = (line: string, isWhole: boolean): boolean =>
  isWhole &&
  line.length < lineBytes &&
  /^GET [^ ]*\/info\/refs\?(?:[^ ]*&)?service=git-receive-pack(?:[& ]|$)/.test(line);

const againMs = 100;

export const holdLimits = {
  /** While an agent says why it goes on, a push is held so long; then its client reads that sentence, and tries again itself. */
  wordsMs: 20_000,
  /** And so long where it says nothing at all. */
  silentMs: 120_000,
} as const;

const silent = 'the agent beside GitLab does not say whether another push waits for its copy';

interface Settled {
  isSettled: boolean;
  /** Why not, for the client's terminal. */
  because: string | null;
}

/**
 * Resolves settled when no push waits that waited at the time of the call, or when this machine knows of none: there is no agent
 * with such a door. Resolves unsettled when `isOver` says so first, as the agent is away and with it goes the lease, or with the
 * agent's reason when it lasts, or because it says nothing for long.
 */
export async function pushesSettled(
  socket: string,
  isOver: () => boolean,
  wordsMs: number,
  silentMs: number = holdLimits.silentMs,
): Promise<Settled> {
  const words: { said: string | null } = { said: null };
  const since = performance.now();
  const isLate = (): boolean => performance.now() - since >= (words.said === null ? silentMs : wordsMs);
  while (!isOver() && !isLate()) {
    const answer = await askOnce(socket, () => isOver() || isLate(), words);
    if (answer === 'settled' || answer === 'no door') return { isSettled: !isOver(), because: null };
    await new Promise((done) => setTimeout(done, againMs));
  }
  return { isSettled: false, because: isOver() ? null : (words.said ?? silent) };
}

function askOnce(
  path: string,
  isOver: () => boolean,
  words: { said: string | null },
): Promise<'settled' | 'no door' | 'no answer'> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(path);
    const look = setInterval(() => isOver() && socket.destroy(), againMs);
    socket.once('connect', () => socket.write('settled\nwords\n'));
    socket.on('data', (data) => {
      text = (text + data).slice(-lineBytes);
      for (let end = text.indexOf('\n'); text.startsWith('wait ') && end >= 0; end = text.indexOf('\n')) {
        words.said = text.slice('wait '.length, end);
        text = text.slice(end + 1);
      }
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
