import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { isAbsolute, join, relative, resolve } from 'node:path';
import { AutogitError } from '../../../protocol/errors.ts';
import { execCleanly, findProgram } from '../../clean-spawn.ts';
import { toolEnv } from '../system-tools.ts';
import { leadsOut, readUnlinked, refuseLinked } from '../unlinked-file.ts';

const outMost = 16 << 20;

interface GitHow {
  signal: AbortSignal;
  timeoutMs: number;
  /** What must not stand among arguments. */
  env?: NodeJS.ProcessEnv;
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

/** Where GitLab has its repositories, below a tree of its data. */
const below = '/data/git-data/repositories/';
/** Of one repository: loose objects lie in 256 folders. */
const entriesMost = 2_000_000;
const alternatesMost = 64 << 10;

/** Its objects, and those that it has from a pool that forks share; git follows no relative path from there, and any other. */
async function lenders(repository: string): Promise<string[]> {
  const [live, stored] = [
    repository.slice(0, repository.indexOf(below)),
    repository.slice(repository.indexOf(below) + 1),
  ];
  if (!repository.includes(below)) throw leadsOut(repository);
  const top = join(live, below);
  const own = await lender(live, join(stored, 'objects'));
  const pools = own.others.map((other) => resolve(own.objects, other));
  const strange = pools.find((path) => !path.startsWith(join(top, '@pools/')));
  // By itself git would take whatever lies there on this machine.
  if (strange !== undefined || own.others.some(isAbsolute)) throw leadsOut(join(own.objects, 'info', 'alternates'));
  for (const pool of pools.slice(0, poolsMost)) {
    const { others } = await lender(live, relative(live, pool));
    if (others.length > 0) throw leadsOut(join(pool, 'info', 'alternates'));
  }
  return [own.objects, ...pools.slice(0, poolsMost)];
}

const poolsMost = 8;

/**
 * Objects in which nothing is a link, and what they borrow. git follows links as it follows alternates, as root on this machine, and
 * whoever is root in GitLab's container makes either. What lives can be changed behind our back; a snapshot cannot.
 */
async function lender(live: string, path: string): Promise<{ objects: string; others: string[] }> {
  await refuseLinked(live, path);
  const objects = join(live, path);
  let left = entriesMost;
  const walk = async (folder: string, depth: number): Promise<void> => {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      const at = join(folder, entry.name);
      if (entry.isDirectory() ? depth === 0 : !entry.isFile()) throw leadsOut(at);
      left -= 1;
      if (left < 0) throw new AutogitError('backup', `${objects} has too many files to be looked through`);
      if (entry.isDirectory()) await walk(at, depth - 1);
    }
  };
  // objects/info/commit-graphs is the deepest.
  await walk(objects, 2);
  const said = (await readUnlinked(objects, 'info/alternates', alternatesMost)) ?? '';
  const others = said.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  // In quotes git reads escapes in it: nobody's that GitLab wrote.
  if (others.some((line) => line.startsWith('"'))) throw leadsOut(join(objects, 'info', 'alternates'));
  return { objects, others };
}
