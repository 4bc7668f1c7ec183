import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { AutogitError } from '../../protocol/errors.ts';
import { spawnCleanSync } from '../clean-spawn.ts';
import { type Clock, systemClock } from '../clock.ts';
import { usedBy } from '../disk-use.ts';
import type { Executor, ExecutorSpec, Workspace } from '../ports.ts';
import { processFeatures } from './features.ts';
import { type JobPaths, jobEnvironment, jobPaths } from './job-shell.ts';
import { endAll, type JobUser, ProcessWorkspace } from './process-workspace.ts';
import { makeRunCgroup, removeCgroup } from './run-cgroup.ts';
import { limitRun, missingLimits } from './run-limits.ts';
import { processesWith, runMarker, signalAll } from './run-processes.ts';
import { runSlug } from './run-slug.ts';
import { supervisor } from './step-record.ts';
import { removeTree } from './tree-removal.ts';

export interface ProcessExecutorOptions {
  /** The agent's home; runs live in its folder `work` unless `workDir` says another. */
  home: string;
  /** Absolute. With `user` it must be reachable for that user; then the default is a folder below /var/lib. */
  workDir?: string;
  /** As root: the user that jobs run as. Without it they run as the agent's own user. */
  user?: string | null;
  /** Off: signals only, even where a control group could be made. For tests. */
  cgroups?: boolean;
  /** What a job's owner should read in its trace, e.g. variables that no shell can hold. */
  note?: (run: string, sentence: string) => void;
  clock?: Clock;
}

interface RunFile {
  run: string;
  bootId: string;
  /** TMPDIR of the run: short, as paths of Unix sockets end at 107 characters. */
  tmp: string;
  cgroup: string | null;
  /** Control groups that only limit. Absent in runs of an earlier agent. */
  limits: string[];
}

/** An agent's home is closed to other users, so the runs of one who drops to another user lie elsewhere. */
export const userWorkDir = (home: string): string =>
  `/var/lib/autogit-node-work/${createHash('sha256').update(resolve(home)).digest('hex').slice(0, 8)}`;

const workMarker = 'AUTOGIT_WORK';
const fallbackPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Bash on the machine itself. No isolation; its owner must have switched it on (DESIGN §9). */
export class ProcessExecutor implements Executor {
  readonly kind = 'process';
  readonly features = processFeatures;
  readonly #options: ProcessExecutorOptions;
  readonly #workDir: string;
  readonly #clock: Clock;

  constructor(options: ProcessExecutorOptions) {
    // Root by name is root as ever. Only another user's runs lie elsewhere (and once, those of root by name did too).
    const isRoot = process.getuid?.() === 0 && (options.user ?? 'root') === 'root';
    this.#options = isRoot ? { ...options, user: null } : options;
    const [here, elsewhere] = [join(options.home, 'work'), userWorkDir(options.home)];
    const isElsewhere = isRoot ? existsSync(elsewhere) && !existsSync(here) : Boolean(options.user);
    this.#workDir = options.workDir ?? (isElsewhere ? elsewhere : here);
    this.#clock = options.clock ?? systemClock();
  }

  async check(): Promise<string> {
    const bash = spawnCleanSync('bash', ['--norc', '-p', '-c', 'echo "$BASH_VERSION"; type -P tar']);
    if (bash.error || bash.status !== 0)
      throw new AutogitError('executor-failed', 'the process executor needs bash and tar on this machine', {
        hint: 'install them: apt-get install bash tar',
      });
    const user = this.#user();
    await this.#makeWorkDir();
    const who = user ? `as user ${user.name}` : 'as the agent’s own user';
    const root = !user && process.getuid?.() === 0 ? ', which is root' : '';
    return `bash ${bash.stdout.split('\n')[0]} on the machine itself, ${who}${root}: no isolation between jobs and this machine${await this.#unlimited()}`;
  }

  /** What a job may use up of this machine, whatever it asked for. */
  async #unlimited(): Promise<string> {
    if (this.#options.cgroups === false) return '';
    const cgroup = makeRunCgroup(`check-${process.pid}`);
    const missing = missingLimits(cgroup);
    if (cgroup !== null) await removeCgroup(cgroup);
    return missing.length === 0 ? '' : `, and no limit of ${missing.join(', ')} can be set here`;
  }

  async prepare(spec: ExecutorSpec, signal: AbortSignal): Promise<Workspace> {
    signal.throwIfAborted();
    const folder = this.#folder(spec.run);
    if (existsSync(join(folder, 'run.json'))) {
      const found = await this.adopt(spec, folder);
      if (found) return found;
    }
    const user = this.#user();
    await this.#makeWorkDir();
    await mkdir(folder, { recursive: true, mode: 0o700 });
    // The job's user must get through to its own folders, but cannot list or change ours.
    if (user) await chmod(folder, 0o711);
    const paths = jobPaths(spec, join(folder, 'builds'));
    const tmp = await makeTmp(folder, user);
    const own = [tmp, join(folder, 'home'), join(folder, 'builds'), paths.filesDir, paths.projectDir];
    for (const path of own) await mkdir(path, { recursive: true, mode: 0o700 });
    const environment = jobEnvironment(spec, paths);
    const secrets = [[join(folder, 'environment.sh'), environment.script] as const].concat(
      environment.files.map(({ name, content }) => [join(paths.filesDir, name), content] as const),
    );
    for (const [path, content] of secrets) await writeFile(path, content, { mode: 0o600 });
    await writeFile(join(folder, 'supervisor.sh'), supervisor, { mode: 0o644 });
    if (user) await giveTo(user, [...own, ...between(join(folder, 'builds'), paths), ...secrets.map(([path]) => path)]);
    for (const key of environment.skipped)
      this.#options.note?.(spec.run, `variable ${key} has a name that no shell can hold and is not set`);
    const cgroup = this.#options.cgroups === false ? null : makeRunCgroup(runSlug(spec.run));
    const limits = this.#options.cgroups === false ? [] : limitRun(runSlug(spec.run), cgroup, spec).groups;
    const file: RunFile = { run: spec.run, bootId: this.#clock.bootId(), tmp, cgroup, limits };
    await writeFile(join(folder, 'run.json'), JSON.stringify(file), { mode: 0o600 });
    return this.#workspace(spec, paths, file, user);
  }

  async adopt(spec: ExecutorSpec, handle: string): Promise<Workspace | null> {
    const folder = this.#folder(spec.run);
    if (handle !== folder && existsSync(handle) === false) return null;
    const file = readRunFile(folder);
    if (file === null || file.run !== spec.run) return null;
    const workspace = this.#workspace(spec, jobPaths(spec, join(folder, 'builds')), file, this.#user());
    for (let index = 0; ; index++) {
      const record = workspace.record(index);
      if (record === null) break;
      if (record.exitCode === null && file.bootId === this.#clock.bootId()) workspace.watchTimeout(index, record);
    }
    return workspace;
  }

  usedBytes(handle: string, device: number): Promise<number> {
    return usedBy(handle, device);
  }

  async sweep(known: ReadonlySet<string>): Promise<string[]> {
    const removed: string[] = [];
    if (!existsSync(this.#workDir)) return removed;
    const kept = new Set([...known].map(runSlug));
    for (const name of readdirSync(this.#workDir)) {
      if (kept.has(name)) continue;
      const folder = join(this.#workDir, name);
      const file = readRunFile(folder);
      await endAll(file?.run ?? name, file?.cgroup ?? null, file?.limits ?? []);
      await removeTree(folder);
      await removeTree(file?.tmp ?? tmpOf(folder));
      removed.push(file?.run ?? name);
    }
    // Processes whose folder is gone already, e.g. removed by hand.
    const orphans = (): { pid: number }[] =>
      processesWith(`${workMarker}=${this.#workDir}`).filter(({ pid }) => !known.has(runOf(pid) ?? ''));
    signalAll(orphans, 'SIGKILL');
    return removed;
  }

  #workspace(spec: ExecutorSpec, paths: JobPaths, file: RunFile, user: JobUser | null): ProcessWorkspace {
    const folder = this.#folder(spec.run);
    const cgroup = file.cgroup !== null && existsSync(file.cgroup) ? file.cgroup : null;
    const environment = jobProcessEnvironment(spec, folder, file.tmp, this.#workDir, user);
    return new ProcessWorkspace({
      run: spec.run,
      folder,
      tmp: file.tmp,
      paths,
      environment,
      user,
      cgroup,
      limits: file.limits,
      bootId: file.bootId,
      clock: this.#clock,
    });
  }

  #folder(run: string): string {
    return join(this.#workDir, runSlug(run));
  }

  async #makeWorkDir(): Promise<void> {
    const user = this.#user();
    try {
      await mkdir(this.#workDir, { recursive: true, mode: user ? 0o711 : 0o700 });
      if (user) await chmod(this.#workDir, 0o711);
      accessSync(this.#workDir, constants.W_OK | constants.X_OK);
    } catch (cause) {
      throw new AutogitError('home-unwritable', `cannot make the folder for runs ${this.#workDir}`, { cause });
    }
    if (user && spawnCleanSync('/bin/sh', ['-c', 'cd "$1"', 'sh', this.#workDir], user).status !== 0)
      throw new AutogitError('home-unwritable', `user ${user.name} cannot reach ${this.#workDir}`, {
        hint: 'choose a folder for runs that this user can reach',
      });
  }

  #user(): JobUser | null {
    const name = this.#options.user ?? null;
    if (name === null) return null;
    if (process.getuid?.() !== 0)
      throw new AutogitError('bad-config', `only an agent that runs as root can run jobs as user ${name}`);
    const line = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .map((entry) => entry.split(':'))
      .find((fields) => fields[0] === name);
    const [uid, gid] = [Number(line?.[2]), Number(line?.[3])];
    if (!line || !Number.isInteger(uid) || !Number.isInteger(gid))
      throw new AutogitError('bad-config', `there is no user ${name} on this machine`, { hint: `useradd -m ${name}` });
    return { uid, gid, name };
  }
}

/** Nothing of the agent's own environment but PATH, language and time zone: tokens must not leak into jobs. */
function jobProcessEnvironment(
  spec: ExecutorSpec,
  folder: string,
  tmp: string,
  workDir: string,
  user: JobUser | null,
): NodeJS.ProcessEnv {
  const own = process.env;
  const name = user?.name ?? own.USER ?? (process.getuid?.() === 0 ? 'root' : 'job');
  // Empty hides all: a job that was given no GPU sees none.
  const gpus = (vendor: string): string =>
    spec.gpus
      .filter((gpu) => gpu.vendor === vendor)
      .map((gpu) => gpu.uuid)
      .join(',');
  return {
    PATH: own.PATH ?? fallbackPath,
    HOME: join(folder, 'home'),
    TMPDIR: tmp,
    USER: name,
    LOGNAME: name,
    SHELL: '/bin/bash',
    LANG: own.LANG ?? 'C.UTF-8',
    TERM: 'dumb',
    ...(own.TZ && { TZ: own.TZ }),
    CUDA_VISIBLE_DEVICES: gpus('nvidia'),
    [runMarker]: spec.run,
    [workMarker]: workDir,
  };
}

/** The folders from builds down to the project: they belong to the job's user too. */
const between = (buildsDir: string, paths: JobPaths): string[] => {
  const found: string[] = [];
  for (
    let path = join(paths.projectDir, '..');
    path !== buildsDir && path.startsWith(buildsDir);
    path = join(path, '..')
  )
    found.push(path);
  return found;
};

const tmpOf = (folder: string): string =>
  join(tmpdir(), `autogit-${createHash('sha256').update(folder).digest('hex').slice(0, 12)}`);

/** In a folder where anybody may make things: one that is there already must be ours, from before a crash. */
async function makeTmp(folder: string, user: JobUser | null): Promise<string> {
  const path = tmpOf(folder);
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (cause) {
    const found = lstatSync(path, { throwIfNoEntry: false });
    const owners = [process.getuid?.(), user?.uid];
    if (!found?.isDirectory() || !owners.includes(found.uid))
      throw new AutogitError('executor-failed', `cannot make the folder for temporary files ${path}`, { cause });
  }
  return path;
}

const giveTo = async (user: JobUser, paths: string[]): Promise<void> => {
  for (const path of paths) await chown(path, user.uid, user.gid);
};

export const readRunFile = (folder: string): RunFile | null => {
  try {
    const file = JSON.parse(readFileSync(join(folder, 'run.json'), 'utf8')) as Partial<RunFile>;
    if (typeof file.run !== 'string' || typeof file.bootId !== 'string') return null;
    if (typeof file.tmp !== 'string') return null;
    return {
      run: file.run,
      bootId: file.bootId,
      tmp: file.tmp,
      cgroup: typeof file.cgroup === 'string' ? file.cgroup : null,
      limits: Array.isArray(file.limits) ? file.limits.filter((path) => typeof path === 'string').slice(0, 3) : [],
    };
  } catch {
    return null;
  }
};

const runOf = (pid: number): string | null => {
  try {
    const entries = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
    return entries.find((entry) => entry.startsWith(`${runMarker}=`))?.slice(runMarker.length + 1) ?? null;
  } catch {
    return null;
  }
};
