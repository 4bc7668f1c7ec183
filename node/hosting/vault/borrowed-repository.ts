import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { AutogitError } from '../../../protocol/errors.ts';
import { execCleanly, findProgram } from '../../clean-spawn.ts';
import { toolEnv } from '../system-tools.ts';

const outMost = 16 << 20;

interface GitHow {
  signal: AbortSignal;
  timeoutMs: number;
  /** What must not stand among arguments. */
  env?: Readonly<Record<string, string>>;
}

/**
 * A repository of our own that has the objects of others, by reference. git is never run in GitLab's: whoever is root in its
 * container writes their configuration, which names programs.
 */
export class BorrowedRepository {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** `id`: an object id of theirs, by whose length their form is known. */
  static async of(repositories: readonly string[], id: string, signal: AbortSignal): Promise<BorrowedRepository> {
    if (findProgram('git', toolEnv.PATH) === null)
      throw new AutogitError('backup', 'git is not installed on this machine', { hint: 'install it: apt install git' });
    const folder = await mkdtemp(join(tmpdir(), 'autogit-refs-'));
    const borrowed = new BorrowedRepository(folder);
    try {
      const form = id.length === 64 ? 'sha256' : 'sha1';
      await borrowed.git(['init', '--quiet', '--bare', `--object-format=${form}`, '.'], { signal, timeoutMs: 30_000 });
      const lent = await Promise.all(repositories.map(lenders));
      await writeFile(join(folder, 'objects', 'info', 'alternates'), `${lent.flat().join('\n')}\n`);
      return borrowed;
    } catch (error) {
      await borrowed.drop();
      throw error;
    }
  }

  /** Its stdout. */
  async git(args: readonly string[], { signal, timeoutMs, env = {} }: GitHow): Promise<string> {
    const { stdout } = await execCleanly('git', args, {
      cwd: this.#folder,
      env: {
        ...{ PATH: toolEnv.PATH, LC_ALL: 'C', HOME: this.#folder, GIT_TERMINAL_PROMPT: '0' },
        ...{ GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null' },
        ...env,
      },
      ...{ signal, timeout: timeoutMs, maxBuffer: outMost },
    });
    return stdout;
  }

  /** As git's own file of refs. */
  async setRefs(refs: ReadonlyMap<string, string>): Promise<void> {
    const lines = [...refs].sort(([a], [b]) => (a < b ? -1 : 1)).map(([ref, id]) => `${id} ${ref}\n`);
    await writeFile(join(this.#folder, 'packed-refs'), `# pack-refs with: sorted \n${lines.join('')}`);
  }

  async drop(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }
}

const poolsBeside = (repository: string): string =>
  join(repository.slice(0, Math.max(0, repository.lastIndexOf('/@hashed/'))), '@pools/');

/** Its objects, and those that it has from a pool that forks share; git follows no relative path from there. */
async function lenders(repository: string): Promise<string[]> {
  const objects = join(repository, 'objects');
  const said = await readFile(join(objects, 'info', 'alternates'), 'utf8').catch(() => '');
  const others = said.split('\n').filter((line) => line !== '' && !line.startsWith('#') && !line.startsWith('"'));
  // One that names what lies elsewhere on this machine borrows nothing of it.
  const pools = others
    .map((other) => resolve(objects, other))
    .filter((path) => path.startsWith(poolsBeside(repository)));
  return [objects, ...pools.slice(0, 8)];
}
