import { closeSync, existsSync, openSync } from 'node:fs';
import { join, relative } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { droppingTo, ownBash, spawnClean } from '../clean-spawn.ts';
import type { InTree, KeptTree } from '../ports.ts';
import { spawnAside } from '../starter/starter.ts';
import { emptied, lastOf } from './in-tree.ts';
import type { JobEnvironment, JobPaths } from './job-shell.ts';
import type { TakenBuilds } from './process-builds.ts';
import { dropTo, type JobUser, type RunFile, readRunFile, writeRunFile } from './run-file.ts';
import { packFiles } from './tar-names.ts';
import { exitOf } from './tree-removal.ts';

interface TreeOf {
  /** The agent's folder of the run. */
  folder: string;
  /** Its TMPDIR, by which what runs here is found after the agent was killed. */
  tmp: string;
  projectDir: string;
  user: JobUser | null;
  path: string | undefined;
  /** Its control group, and those that only limit: what works in the tree is the job's, and has no more of the machine. */
  cgroup: string | null;
  limits: readonly string[];
}

/** The first descriptor behind input, output and errors. */
const firstGroup = 3;

/** What another user owns by now, such as a container's root, goes out of the job's way. */
const emptying = `chmod -R u+rwX . 2>/dev/null
rm -rf -- ./* ./.[!.]* ./..?* 2>/dev/null && exit
here=$(pwd -P)
cd .. && mv -- "$here" "$here.left$$" && mkdir -m 700 -- "$here"`;

/** A project's tree in a builds folder that stays, for the run that has it. */
export class ProcessTree implements KeptTree {
  readonly isLeft: boolean;
  readonly #taken: TakenBuilds;
  readonly #of: TreeOf;

  constructor({ taken, isLeft }: { taken: TakenBuilds; isLeft: boolean }, of: TreeOf) {
    this.isLeft = isLeft;
    this.#taken = taken;
    this.#of = of;
  }

  async run(script: string, args: string[], environment: Record<string, string>, signal: AbortSignal): Promise<InTree> {
    signal.throwIfAborted();
    const { projectDir, user, path, tmp } = this.#of;
    // Gigabytes: not by the starter, whose messages would cost them twice.
    const groups = this.#openGroups();
    const enter = groups.map((_, at) => `{ echo 0 >&${firstGroup + at}; } 2>/dev/null; exec ${firstGroup + at}>&-\n`);
    const whole = `cd -- "$1" || exit 3; shift\n${script}`;
    const { uid, gid } = dropTo(user);
    // What has become the job's user has none of these files any more: opened by root they take any process of the machine.
    const drop = uid === undefined ? null : droppingTo(uid, gid);
    const entering = [
      '--norc',
      '--noprofile',
      '-p',
      '-c',
      `${enter.join('')}exec "$@"`,
      'autogit-enter',
      ...(drop ?? []),
    ];
    const child = begun(groups, () =>
      spawnClean(ownBash() ?? 'bash', [...entering, 'sh', '-c', whole, 'sh', projectDir, ...args], {
        cwd: '/',
        env: { ...environment, PATH: path, TMPDIR: tmp },
        stdio: ['pipe', 'pipe', 'pipe', ...groups],
        detached: true,
        isFirstToGo: true,
        ...(drop ? {} : dropTo(user)),
      }),
    );
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

  /** By the agent, which may write there; the job's user may not. */
  #openGroups(): number[] {
    const { cgroup, limits } = this.#of;
    const paths = [...(cgroup === null ? [] : [cgroup]), ...limits].map((group) => join(group, 'cgroup.procs'));
    const groups: number[] = [];
    try {
      for (const path of paths) if (existsSync(path)) groups.push(openSync(path, 'w'));
      return groups;
    } catch (cause) {
      // One that cannot be opened leaves none of the others open.
      for (const group of groups) closeSync(group);
      throw cause;
    }
  }

  async empty(): Promise<void> {
    const { signal } = new AbortController();
    await emptied(await this.run(emptying, [], {}, signal));
  }

  async forget(): Promise<void> {
    this.#taken.isKept = false;
    const file = readRunFile(this.#of.folder);
    if (file?.builds) writeRunFile(this.#of.folder, { ...file, builds: { ...file.builds, isKept: false } } as RunFile);
  }
}

/** The child has them by then, or was never begun. */
function begun<T>(files: readonly number[], begin: () => T): T {
  try {
    return begin();
  } finally {
    for (const file of files) closeSync(file);
  }
}

const laying = 'umask 077; cd -P -- "$1" && mkdir -p -- "./$2" "./$3" && exec tar -x -o -p -f - -C "./$2"';

/**
 * The folders of a run, and its variables of type file, in a builds folder that jobs had before: as the job's user, as who
 * still works in there could have put a link where root would write. False where that user cannot.
 */
export async function layIn(
  user: JobUser,
  { buildsDir, projectDir, filesDir }: JobPaths,
  files: JobEnvironment['files'],
): Promise<boolean> {
  const words = [buildsDir, ...[filesDir, projectDir].map((path) => relative(buildsDir, path))];
  const child = spawnAside('/bin/sh', ['-c', laying, 'sh', ...words], {
    cwd: '/',
    env: { PATH: process.env.PATH },
    stdio: ['pipe', 'ignore', 'ignore'],
    ...dropTo(user),
  });
  const exit = exitOf(child);
  const tar = packFiles(files.map((file) => ({ ...file, mode: 0o600, uid: user.uid, gid: user.gid })));
  // Its end says how it went.
  await pipeline(tar, child.stdin as NodeJS.WritableStream).catch(() => undefined);
  return (await exit) === 0;
}
