import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AutogitError } from '../../protocol/errors.ts';
import type { TreeRead } from '../ports.ts';
import type { Child } from '../starter/far-child.ts';
import { spawnAside } from '../starter/starter.ts';
import { pathInside } from './job-shell.ts';
import { dropTo, type JobUser } from './run-file.ts';
import { plainName } from './tar-names.ts';
import { readChild, tarOfNames } from './tree-read.ts';
import { exitOf } from './tree-removal.ts';

/** Tar streams into and out of a run's folder. By tar as the job's user: a link that the job made leads nowhere that the job cannot go by itself. */
export class ProcessFiles {
  readonly #projectDir: string;
  readonly #environment: NodeJS.ProcessEnv;
  readonly #user: JobUser | null;

  constructor(projectDir: string, environment: NodeJS.ProcessEnv, user: JobUser | null) {
    this.#projectDir = projectDir;
    this.#environment = environment;
    this.#user = user;
  }

  async put(path: string, tar: NodeJS.ReadableStream): Promise<void> {
    const target = pathInside(this.#projectDir, path);
    const script = 'umask 022; mkdir -p -- "$1" && exec tar -x -o -p -f - -C "$1"';
    const child = this.#asUser(script, [target], { input: 'line' });
    const error = gather(child.stderr as Readable);
    // Asked for only where the child fails.
    error.catch(() => undefined);
    const exit = exitOf(child);
    const cut = await pipeline(tar, child.stdin as NodeJS.WritableStream).then(
      () => null,
      (reason: NodeJS.ErrnoException) => reason,
    );
    const because = `could not put files into ${target}`;
    // A source that breaks between two files ends tar's input there, and tar finds nothing wrong with that.
    if (cut !== null && cut.code !== 'EPIPE') {
      child.kill('SIGKILL');
      await exit;
      throw new AutogitError('executor-failed', `${because}: ${cut.message}`, { cause: cut });
    }
    if ((await exit) !== 0) throw new AutogitError('executor-failed', `${because}: ${await error}`);
  }

  async list(paths: string[]): Promise<TreeRead> {
    const roots = paths.map((path) => `./${plainName(path)}`);
    for (const root of roots) pathInside(this.#projectDir, root);
    const child = this.#asUser('export LC_ALL=C; cd -- "$1" || exit 3; shift; exec find "$@" -print0', [
      this.#projectDir,
      ...roots,
    ]);
    return readChild(child, new Uint8Array(0), 'list the files of the job');
  }

  /** `names`: each ends with a zero byte. */
  async read(names: Uint8Array): Promise<TreeRead> {
    // Gigabytes: they have a line of their own. By the starter's messages they cost the agent 170 MiB, a fork of its own some milliseconds.
    const child = this.#asUser(tarOfNames, [this.#projectDir], { output: 'line' });
    return readChild(child, names, 'read the files of the job');
  }

  #asUser(script: string, args: string[], way: { input?: 'line'; output?: 'line' } = {}): Child {
    return spawnAside('bash', ['--norc', '--noprofile', '-c', script, 'bash', ...args], {
      cwd: '/',
      env: { PATH: this.#environment.PATH, LANG: this.#environment.LANG },
      stdio: [way.input ?? 'pipe', way.output ?? 'pipe', 'pipe'],
      isFirstToGo: true,
      ...dropTo(this.#user),
    });
  }
}

const gather = async (stream: Readable): Promise<string> => {
  let text = '';
  for await (const chunk of stream) if (text.length < 2000) text += String(chunk);
  return text.trim();
};
