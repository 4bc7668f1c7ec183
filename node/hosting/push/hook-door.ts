import { chmodSync, closeSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { basename, dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PushAnswer } from '../replica/round-host.ts';

const limits = {
  /** Nobody needs a longer line to ask. */
  lineChars: 100,
  /** The hook takes so many bytes: of a longer line it would make nothing, and ask for ever. */
  wordsBytes: 300,
  connections: 512,
  /** Who waits reads why, after this, and then each `wordsMs`: a push that hangs without a word is taken for a broken one. */
  firstWordsMs: 2_000,
  wordsMs: 10_000,
  /** Hooks that an agent of before had let wait ask again within a fifth of a second: until they have, nobody hears that none waits. */
  askAgainMs: 1_000,
} as const;

interface DoorAnswers {
  ask(gone: AbortSignal): Promise<PushAnswer>;
  /** Rejects when whoever asked is `gone`. */
  settled(gone: AbortSignal): Promise<void>;
  /** Why no copy is made now, for the pusher's terminal. */
  aloneWords(): string;
  /** What it waits for, for the same: "waits until" and so on. */
  waitWords(): string;
}

/**
 * Where the hooks ask whether a push is taken, and for a round, and the gate whether a push waits for one. The sockets lie in folders of their own: within
 * GitLab's data one would be in every clone of them.
 */
export class HookDoor {
  readonly #servers: Server[] = [];
  readonly #open = new Set<Socket>();
  readonly #answers: DoorAnswers;
  readonly #whyNoPush: () => string | null;
  readonly #openedAt = performance.now();

  private constructor(answers: DoorAnswers, whyNoPush: () => string | null) {
    this.#answers = answers;
    this.#whyNoPush = whyNoPush;
  }

  /**
   * At each of these paths; what an agent that was killed left there is replaced. `whyNoPush`: why no push is taken now, for the
   * pusher's terminal; null while each is.
   */
  static async open(
    paths: readonly string[],
    answers: DoorAnswers,
    whyNoPush: () => string | null = () => null,
  ): Promise<HookDoor> {
    const door = new HookDoor(answers, whyNoPush);
    try {
      for (const path of paths) await door.#listen(path);
    } catch (error) {
      await door.close();
      throw error;
    }
    return door;
  }

  async #listen(path: string): Promise<void> {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    rmSync(`${path}.new`, { force: true });
    // A socket's path has 107 bytes at most; by this name its folder is short.
    const folder = openSync(dirname(path), 'r');
    const server = createServer((socket) => this.#hear(socket));
    server.maxConnections = limits.connections;
    this.#servers.push(server);
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(`/proc/self/fd/${folder}/${basename(path)}.new`, resolve);
      });
    } finally {
      closeSync(folder);
    }
    server.on('error', () => undefined);
    // Whoever may push asks as the repositories' user; it can ask for a round and hears nothing but its end.
    chmodSync(`${path}.new`, 0o666);
    // There is always one, so that nobody takes an agent that begins for one that knows of no pushes.
    renameSync(`${path}.new`, path);
  }

  async close(): Promise<void> {
    for (const socket of this.#open) socket.destroy();
    await Promise.all(this.#servers.map((server) => new Promise((done) => server.close(done))));
  }

  #hear(socket: Socket): void {
    this.#open.add(socket);
    const gone = new AbortController();
    let text = '';
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#open.delete(socket);
      gone.abort();
    });
    socket.on('data', (data) => {
      text += data;
      if (text.length > limits.lineChars) return socket.destroy();
      const end = text.indexOf('\n');
      if (end < 0) return;
      const line = text.slice(0, end);
      // A hook of an earlier version reads one line only, and asks for no words.
      const isOver = new AbortController();
      if (text.slice(end + 1) === 'words\n')
        void this.#tellWhy(socket, line, AbortSignal.any([gone.signal, isOver.signal]));
      // One question a connection.
      text = '';
      socket.pause();
      this.#answer(line, gone.signal)
        .finally(() => isOver.abort())
        .then(
          (reply) => socket.end(reply),
          () => socket.destroy(),
        );
    });
  }

  async #tellWhy(socket: Socket, line: string, isOver: AbortSignal): Promise<void> {
    const who = line === 'round' ? 'this push' : 'another push';
    for (let ms: number = limits.firstWordsMs; !isOver.aborted; ms = limits.wordsMs) {
      await sleep(ms, undefined, { signal: isOver }).catch(() => {});
      if (!isOver.aborted) socket.write(`wait ${forTerminal(`${who} ${this.#answers.waitWords()}`)}\n`);
    }
  }

  async #answer(line: string, gone: AbortSignal): Promise<string> {
    if (line === 'settled') {
      await sleep(Math.max(0, limits.askAgainMs - (performance.now() - this.#openedAt)));
      await this.#answers.settled(gone);
      return 'ok\n';
    }
    if (line === 'push') {
      const why = this.#whyNoPush();
      return why === null ? 'ok\n' : `no ${forTerminal(why)}\n`;
    }
    if (line !== 'round') throw new Error('asked for something else');
    const { isAlone } = await this.#answers.ask(gone);
    return isAlone ? `alone ${forTerminal(this.#answers.aloneWords())}\n` : 'ok\n';
  }
}

/** Some of these words are another machine's, and go to the pusher's terminal. */
export function forTerminal(words: string): string {
  let text = words.replace(/[\s\p{C}]+/gu, ' ').slice(0, limits.wordsBytes);
  while (Buffer.byteLength(text) > limits.wordsBytes) text = text.slice(0, -1);
  return text;
}
