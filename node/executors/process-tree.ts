import { AutogitError } from '../../protocol/errors.ts';
import { spawnClean } from '../clean-spawn.ts';
import type { InTree, KeptTree } from '../ports.ts';
import { lastOf } from './in-tree.ts';
import type { ProcessBuilds, TakenBuilds } from './process-builds.ts';
import { dropTo, type JobUser, type RunFile, readRunFile, writeRunFile } from './run-file.ts';
import { exitOf } from './tree-removal.ts';

interface TreeOf {
  /** The agent's folder of the run. */
  folder: string;
  projectDir: string;
  user: JobUser | null;
  path: string | undefined;
}

const emptying = 'chmod -R u+rwX . 2>/dev/null; rm -rf -- ./* ./.[!.]* ./..?*';

/** A project's tree in a builds folder that stays, for the run that has it. */
export class ProcessTree implements KeptTree {
  readonly isLeft: boolean;
  readonly #taken: TakenBuilds;
  readonly #of: TreeOf;

  constructor({ taken, isLeft }: { taken: TakenBuilds; isLeft: boolean; store: ProcessBuilds }, of: TreeOf) {
    this.isLeft = isLeft;
    this.#taken = taken;
    this.#of = of;
  }

  async run(script: string, args: string[], environment: Record<string, string>, signal: AbortSignal): Promise<InTree> {
    signal.throwIfAborted();
    const { projectDir, user, path } = this.#of;
    // Gigabytes: not by the starter, whose messages would cost them twice.
    const child = spawnClean('sh', ['-c', `cd -- "$1" || exit 3; shift\n${script}`, 'sh', projectDir, ...args], {
      cwd: '/',
      env: { ...environment, PATH: path },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      ...dropTo(user),
    });
    const said = lastOf(child.stderr as NodeJS.ReadableStream);
    const end = (): void => {
      try {
        if (child.pid) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It is gone.
      }
    };
    signal.addEventListener('abort', end, { once: true });
    const ended = exitOf(child).then((code) => {
      signal.removeEventListener('abort', end);
      // What it left in its group.
      end();
      return { code, said: said() };
    });
    child.stdin?.on('error', () => undefined);
    return { input: child.stdin as NodeJS.WritableStream, output: child.stdout as NodeJS.ReadableStream, ended };
  }

  async empty(): Promise<void> {
    const { signal } = new AbortController();
    const { input, output, ended } = await this.run(emptying, [], {}, signal);
    input.end();
    output.resume();
    const { code, said } = await ended;
    if (code !== 0) throw new AutogitError('executor-failed', `a tree cannot be emptied: ${said.trim()}`);
  }

  async forget(): Promise<void> {
    this.#taken.isKept = false;
    const file = readRunFile(this.#of.folder);
    if (file?.builds) writeRunFile(this.#of.folder, { ...file, builds: { ...file.builds, isKept: false } } as RunFile);
  }
}
