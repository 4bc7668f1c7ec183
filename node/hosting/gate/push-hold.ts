import { connect } from 'node:net';

/*
 * A second `git push`, while the first still waits for its copy, would read "Everything up-to-date" and end with 0, with no hook
 * run (SAFETY H10): the refs are there already. So GitLab's first answer to a new push, with the refs that it has read, is held back
 * until no push waits any more that waited when it came: one that came later has changed nothing of what it says.
 */

/** How much of a line of the agent's is kept. */
const lineBytes = 4096;

const refsType = 'application/x-git-receive-pack-advertisement';
const isField = /\ncontent-type: {0,8}$/i;
const fieldChars = '\ncontent-type: '.length + 8;
const beginnings = ['HTTP/1.1 ', 'HTTP/1.0 '];
const longestBeginning = 9;
/** Of a part, for what two of them cut. */
const keptChars = fieldChars + refsType.length;

/** True where it stands as the type of an answer; a file or a page may say it too. */
function namesRefs(bytes: Buffer): boolean {
  for (let at = bytes.indexOf(refsType); at >= 0; at = bytes.indexOf(refsType, at + 1))
    if (isField.test(bytes.toString('latin1', Math.max(0, at - fieldChars), at))) return true;
  return false;
}

/**
 * Looks at what GitLab sends on one connection for refs that a push reads, which HTTP's git calls by a type of their own
 * (gitprotocol-http): however its client asked, in pieces, ahead of other answers or through a proxy that keeps its connections. Refs end
 * where a part begins the next answer: no part of theirs begins so, as no name of a ref has a space in it.
 */
export class RefsWatch {
  #isRefs = false;
  /** Of an answer's beginning, which is not whole yet. */
  #start = '';
  #tail = '';

  /** The next part, as it came: `refs`: it belongs to such an answer; `first of refs`: its beginning too. */
  sees(part: Buffer): 'other' | 'refs' | 'first of refs' {
    const head = this.#start + part.toString('latin1', 0, longestBeginning);
    const begins = beginnings.some((beginning) => head.startsWith(beginning));
    const isFirst = begins && this.#start === '';
    this.#start = !begins && beginnings.some((beginning) => beginning.startsWith(head)) ? head : '';
    if (begins) this.#isRefs = false;
    const joint = this.#tail + part.toString('latin1', 0, keptChars);
    this.#tail = (this.#tail + part.toString('latin1', Math.max(0, part.length - keptChars))).slice(-keptChars);
    if (namesRefs(part) || namesRefs(Buffer.from(joint, 'latin1'))) this.#isRefs = true;
    return this.#isRefs ? (isFirst ? 'first of refs' : 'refs') : 'other';
  }
}

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
