import { randomBytes } from 'node:crypto';
import { PassThrough, type Readable } from 'node:stream';
import type Docker from 'dockerode';
import type { HostConfig } from 'dockerode';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { InTree } from '../ports.ts';
import { removeContainer } from './docker-ending.ts';
import { framesOf } from './docker-files.ts';
import { gitSandbox } from './git-image.ts';
import { mostTalk } from './in-tree.ts';
import { quote } from './job-shell.ts';

interface GitContainerOf {
  docker: Docker;
  image: string;
  volume: string;
  user: { uid: number; gid: number };
  limits: HostConfig;
  name: string;
  labels: Record<string, string>;
}

/**
 * It takes a script by its input, up to a line that is a word of its own, and says by that word how the script ended: the engine takes
 * 15 ms and more to know that its container has. A shell reads a pipe byte by byte here, so what comes behind the line is the script's.
 */
export const waiting = `text=
while IFS= read -r line; do
  if [ "$line" = "$1" ]; then
    word=$1
    (eval "$text")
    code=$?
    echo "$word $code" >&2
    exit $code
  fi
  text="$text$line
"
done
exit 1`;

/**
 * A container which has a tree and git, and nothing else: no network, no file of anybody. It is begun before it is known what it is to do, so that
 * nobody waits for its start then; with the agent's end its input ends, and so does it.
 */
export class GitContainer {
  readonly user: { uid: number; gid: number };
  readonly #container: Docker.Container;
  readonly #stream: NodeJS.ReadWriteStream;
  readonly #word: string;
  #removal: Promise<void> | null = null;
  #isGone = (): void => undefined;
  /** It was removed. */
  readonly gone = new Promise<void>((resolve) => {
    this.#isGone = resolve;
  });

  private constructor(container: Docker.Container, stream: NodeJS.ReadWriteStream, word: string, of: GitContainerOf) {
    this.user = of.user;
    this.#container = container;
    this.#stream = stream;
    this.#word = word;
  }

  /** Throws executor-failed, and leaves nothing. */
  static async begin(of: GitContainerOf): Promise<GitContainer> {
    const { docker, image, volume, user, limits, name, labels } = of;
    const word = `autogit-${randomBytes(16).toString('hex')}`;
    let container: Docker.Container | null = null;
    try {
      container = await docker.createContainer({
        ...gitSandbox(image, volume, user, limits),
        name,
        Cmd: ['-c', waiting, 'sh', word],
        Env: ['PATH=/bin'],
        Labels: labels,
      });
      const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
      stream.on('error', () => undefined);
      await container.start();
      return new GitContainer(container, stream, word, of);
    } catch (cause) {
      if (container) await removeContainer(container).catch(() => undefined);
      throw new AutogitError('executor-failed', `git cannot be run in a container: ${sentenceOf(cause)}`, { cause });
    }
  }

  /** Once. It is removed when the script has ended, or `signal` says so. */
  run(script: string, args: string[], environment: Record<string, string>, signal: AbortSignal): InTree {
    const stream = this.#stream;
    const remove = (): void => void this.remove();
    signal.addEventListener('abort', remove, { once: true });
    const exports = Object.entries(environment).map(([name, value]) => `export ${name}=${quote(value)}\n`);
    const words = ['set --', ...args.map(quote)].join(' ');
    stream.write(`${exports.join('')}${words}\n${script}\n${this.#word}\n`);
    const output = new PassThrough();
    let said = '';
    const closed = heard(stream, 'close');
    let isSaid = (): void => undefined;
    const saidEnd = new Promise<void>((resolve) => {
      isSaid = resolve;
    });
    const end = new RegExp(`${this.#word} (\\d{1,3})\\n$`);
    const followed = (async (): Promise<void> => {
      try {
        for await (const { isError, payload } of framesOf(stream as unknown as Readable))
          if (isError) {
            said = (said + payload.toString()).slice(-mostTalk);
            if (end.test(said.slice(-this.#word.length - 5))) isSaid();
          } else if (!output.write(payload)) await Promise.race([heard(output, 'drain'), closed]);
      } catch {
        // Its end says how it went.
      }
      output.end();
    })();
    const ended = (async (): Promise<{ code: number; said: string }> => {
      await Promise.race([saidEnd, followed]);
      const told = end.exec(said);
      const code = told ? Number(told[1]) : await this.#exitCode();
      signal.removeEventListener('abort', remove);
      // Nothing runs in it any more: whoever gives the tree back waits until it is gone.
      remove();
      return { code, said: said.replace(end, '') };
    })();
    return { input: stream, output, ended };
  }

  /** It was ended before it could say so. */
  async #exitCode(): Promise<number> {
    const { StatusCode } = (await this.#container.wait().catch(() => ({ StatusCode: 128 }))) as { StatusCode: number };
    return StatusCode === 0 ? 128 : StatusCode;
  }

  /** Never throws. */
  remove(): Promise<void> {
    this.#removal ??= removeContainer(this.#container)
      .catch(() => undefined)
      .then(this.#isGone);
    return this.#removal;
  }
}

const heard = (stream: NodeJS.EventEmitter, what: 'drain' | 'close'): Promise<void> =>
  new Promise((resolve) => {
    stream.once(what, () => resolve());
  });
