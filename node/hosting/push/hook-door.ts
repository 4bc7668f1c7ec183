import { chmodSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AutogitError } from '../../../protocol/errors.ts';
import type { PushAnswer } from '../replica/round-host.ts';

const limits = {
  /** Nobody needs a longer line to ask. */
  lineChars: 100,
  /** The hook takes so many bytes: of a longer line it would make nothing, and ask for ever. */
  wordsBytes: 300,
  connections: 512,
  /** Longest path of a socket that the kernel takes. */
  pathBytes: 107,
  /** Hooks that an agent of before had let wait ask again within a fifth of a second: until they have, nobody hears that none waits. */
  askAgainMs: 1_000,
} as const;

interface DoorAnswers {
  ask(gone: AbortSignal): Promise<PushAnswer>;
  settled(): Promise<void>;
  /** Why no copy is made now, for the pusher's terminal. */
  aloneWords(): string;
}

/**
 * Where the hook asks for a round, and the gate whether a push waits for one. The sockets lie in folders of their own: within
 * GitLab's data one would be in every clone of them.
 */
export class HookDoor {
  readonly #servers: Server[] = [];
  readonly #open = new Set<Socket>();
  readonly #answers: DoorAnswers;
  readonly #openedAt = performance.now();

  private constructor(answers: DoorAnswers) {
    this.#answers = answers;
  }

  /** At each of these paths; what an agent that was killed left there is replaced. Throws `data-place`. */
  static async open(paths: readonly string[], answers: DoorAnswers): Promise<HookDoor> {
    const door = new HookDoor(answers);
    try {
      for (const path of paths) await door.#listen(path);
    } catch (error) {
      await door.close();
      throw error;
    }
    return door;
  }

  async #listen(path: string): Promise<void> {
    if (Buffer.byteLength(path) + '.new'.length > limits.pathBytes)
      throw new AutogitError('data-place', `${path} is longer than a socket's path may be`, {
        hint: 'a home with a shorter path: --home DIR',
      });
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    rmSync(`${path}.new`, { force: true });
    const server = createServer((socket) => this.#hear(socket));
    server.maxConnections = limits.connections;
    this.#servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(`${path}.new`, resolve);
    });
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
      // One question a connection.
      text = '';
      socket.pause();
      this.#answer(line, gone.signal).then(
        (reply) => socket.end(reply),
        () => socket.destroy(),
      );
    });
  }

  async #answer(line: string, gone: AbortSignal): Promise<string> {
    if (line === 'settled') {
      await sleep(Math.max(0, limits.askAgainMs - (performance.now() - this.#openedAt)));
      await this.#answers.settled();
      return 'ok\n';
    }
    if (line !== 'round') throw new Error('asked for something else');
    const { isAlone } = await this.#answers.ask(gone);
    return isAlone ? `alone ${forTerminal(this.#answers.aloneWords())}\n` : 'ok\n';
  }
}

/** Some of these words are another machine's, and go to the pusher's terminal. */
function forTerminal(words: string): string {
  let text = words.replace(/[\s\p{C}]+/gu, ' ').slice(0, limits.wordsBytes);
  while (Buffer.byteLength(text) > limits.wordsBytes) text = text.slice(0, -1);
  return text;
}
