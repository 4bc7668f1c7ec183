import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, lstatSync, readdirSync } from 'node:fs';
import { chmod, lchown, mkdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { AutogitError } from '../../protocol/errors.ts';
import { spawnCleanSync } from '../clean-spawn.ts';
import { type Clock, systemClock } from '../clock.ts';
import { usedBy } from '../disk-use.ts';
import type { Log } from '../log.ts';
import type { Executor, ExecutorSpec, Workspace } from '../ports.ts';
import { processFeatures } from './features.ts';
import { agentPath, autoUser, namedUser, ownerOfRun, wantedUser } from './job-account.ts';
import { type JobPaths, jobEnvironment, jobPaths } from './job-shell.ts';
import { type TreeLimits, usualTreeLimits } from './kept-trees.ts';
import { processAbilities, sayAbilities } from './process-abilities.ts';
import { isBuildsPlace, ownerBelow, ProcessBuilds, removeKeptBuilds } from './process-builds.ts';
import { endAll } from './process-ending.ts';
import { layIn } from './process-tree.ts';
import { ProcessWorkspace } from './process-workspace.ts';
import { makeRunCgroup } from './run-cgroup.ts';
import {
  buildsOf,
  freshHome,
  type JobUser,
  marksOf,
  type RunFile,
  readRunFile,
  tmpOf,
  writeRunFile,
} from './run-file.ts';
import { limitRun } from './run-limits.ts';
import { straysBelow, terminate } from './run-processes.ts';
import { runSlug } from './run-slug.ts';
import { endUser, keepUid, readAutoUser, takeUid, uidsBelow, usualRange } from './run-uids.ts';
import { laySupervision } from './step-record.ts';
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
  /** What trees of projects stay for their next jobs. */
  trees?: TreeLimits;
  log?: Pick<Log, 'info'>;
  clock?: Clock;
}

/** An agent's home is closed to other users, so the runs of one who drops to another user lie elsewhere. */
export const userWorkDir = (home: string): string =>
  `/var/lib/autogit-node-work/${createHash('sha256').update(resolve(home)).digest('hex').slice(0, 8)}`;

/** Bash on the machine itself. No isolation; its owner must have switched it on (DESIGN §9). */
export class ProcessExecutor implements Executor {
  readonly kind = 'process';
  readonly features = processFeatures;
  readonly #options: ProcessExecutorOptions;
  readonly #workDir: string;
  /** Where runs may lie: what `--user` was when they began decided it, and it may be another now. */
  readonly #places: readonly string[];
  readonly #clock: Clock;
  readonly #builds: ProcessBuilds;

  constructor(options: ProcessExecutorOptions) {
    // Root by name is root as ever. Only another user's runs lie elsewhere (and once, those of root by name did too).
    const isRoot = process.getuid?.() === 0 && (options.user ?? 'root') === 'root';
    this.#options = isRoot ? { ...options, user: null } : options;
    const [here, elsewhere] = [join(options.home, 'work'), userWorkDir(options.home)];
    const isElsewhere = isRoot
      ? existsSync(elsewhere) && !existsSync(here)
      : process.getuid?.() === 0 && Boolean(options.user);
    this.#workDir = options.workDir ?? (isElsewhere ? elsewhere : here);
    const other = isElsewhere ? here : elsewhere;
    this.#places = options.workDir || process.getuid?.() !== 0 ? [this.#workDir] : [this.#workDir, other];
    this.#clock = options.clock ?? systemClock();
    this.#builds = new ProcessBuilds({
      ...{ workDir: this.#workDir, home: options.home, limits: options.trees ?? usualTreeLimits },
      log: options.log ?? { info: () => undefined },
      wallMs: this.#clock.wallMs,
    });
  }

  async check(): Promise<string> {
    const bash = spawnCleanSync('bash', ['--norc', '-p', '-c', 'echo "$BASH_VERSION"; type -P tar']);
    if (bash.error || bash.status !== 0)
      throw new AutogitError('executor-failed', 'the process executor needs bash and tar on this machine', {
        hint: 'install them: apt-get install bash tar',
      });
    const kind = this.#kindOfUser();
    await this.#makeWorkDir();
    const said = kind === 'named' ? this.#named().said : null;
    const root = kind === 'own' && process.getuid?.() === 0 ? ', which is root' : '';
    const who = {
      own: 'as the agent’s own user',
      named: `as user ${this.#options.user}`,
      auto: 'as a user of its own',
    };
    const can = this.#options.cgroups === false ? [] : sayAbilities(await processAbilities());
    const parts = ['no isolation between jobs and this machine', ...can, ...(said === null ? [] : [said])];
    return `bash ${bash.stdout.split('\n')[0]} on the machine itself, each job ${who[kind]}${root}: ${parts.join(', and ')}`;
  }

  giveBack(): Promise<boolean> {
    return this.#builds.giveBack();
  }

  workFolder(): string {
    return this.#workDir;
  }

  async prepare(spec: ExecutorSpec, signal: AbortSignal): Promise<Workspace> {
    signal.throwIfAborted();
    if (spec.isolation?.length)
      throw new AutogitError('executor-failed', 'the process executor isolates no job: its tags ask for more');
    const folder = this.#folder(spec.run);
    if (existsSync(join(folder, 'run.json'))) {
      const found = await this.adopt(spec, folder);
      if (found) return found;
    }
    await this.#makeWorkDir();
    // Of an agent that died while it prepared this run: it may be another uid's already, with links where we would write.
    if (existsSync(folder)) await this.#clear(folder, null);
    try {
      return await this.#make(spec, folder, signal);
    } catch (error) {
      // On a full disk, for one: its variables do not stay, nor its uid, nor its hold on the project's tree.
      await this.#clear(folder, null).catch(() => undefined);
      throw error;
    }
  }

  async #make(spec: ExecutorSpec, folder: string, signal: AbortSignal): Promise<Workspace> {
    const user = await this.#userFor(spec.run, folder);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    // The job's user must get through to its own folders, but cannot list or change ours.
    if (user) await chmod(folder, 0o711);
    let builds = spec.tree ? await this.#builds.take(spec.tree, spec.run, user, signal) : null;
    const buildsDir = buildsOf(folder, { builds });
    const paths = jobPaths(spec, buildsDir);
    const environment = jobEnvironment(spec, paths);
    const isLaid = builds?.isLeft === true && user !== null && (await layIn(user, paths, environment.files));
    // In a new one nobody but the agent has been yet.
    if (spec.tree && builds?.isLeft && user && !isLaid)
      builds = await this.#builds.take({ ...spec.tree, isFresh: true }, spec.run, user, signal);
    const tmp = await makeTmp(folder, user);
    const own = [tmp, freshHome(folder), buildsDir, ...(isLaid ? [] : [paths.filesDir, paths.projectDir])];
    for (const path of own) await mkdir(path, { recursive: true, mode: 0o700 });
    const secrets = [[join(folder, 'environment.sh'), environment.script] as const].concat(
      (isLaid ? [] : environment.files).map(({ name, content }) => [join(paths.filesDir, name), content] as const),
    );
    for (const [path, content] of secrets) await writeFile(path, content, { mode: 0o600 });
    await laySupervision(folder);
    const above = isLaid ? [] : between(buildsDir, paths);
    if (user) await giveTo(user, [...own, ...above, ...secrets.map(([path]) => path)]);
    for (const key of environment.skipped)
      this.#options.note?.(spec.run, `variable ${key} has a name that no shell can hold and is not set`);
    const cgroup = this.#options.cgroups === false ? null : makeRunCgroup(runSlug(spec.run));
    const limits = this.#options.cgroups === false ? [] : limitRun(runSlug(spec.run), cgroup, spec).groups;
    const file: RunFile = { run: spec.run, bootId: this.#clock.bootId(), tmp, cgroup, limits, user, builds };
    writeRunFile(folder, file);
    return this.#workspace(spec, paths, file, builds?.isLeft);
  }

  async adopt(spec: ExecutorSpec, handle: string): Promise<Workspace | null> {
    const folder = this.#folder(spec.run);
    if (handle !== folder && existsSync(handle) === false) return null;
    const file = readRunFile(folder);
    // Whose file is damaged cannot be gone on with: it fails, and must not run on meanwhile.
    if (file === null && existsSync(folder)) await this.#clear(folder, null);
    if (file === null || file.run !== spec.run) return null;
    const workspace = this.#workspace(spec, jobPaths(spec, buildsOf(folder, file)), file);
    for (let index = 0; ; index++) {
      const record = workspace.record(index);
      if (record === null) break;
      if (record.exitCode === null && file.bootId === this.#clock.bootId()) workspace.watchTimeout(index, record);
    }
    return workspace;
  }

  async usedBytes(handle: string, device: number): Promise<number> {
    const builds = readRunFile(handle)?.builds;
    const both = [handle, ...(builds ? [builds.folder] : [])].map((path) => usedBy(path, device));
    return (await Promise.all(both)).reduce<number>((sum, bytes) => sum + (bytes ?? 0), 0);
  }

  tidy(): Promise<void> {
    return this.#builds.tidy();
  }

  async sweep(known: ReadonlySet<string>): Promise<string[]> {
    const kept = new Set([...known].map(runSlug));
    const removed: string[] = [];
    for (const place of this.#places) removed.push(...(await this.#sweepPlace(place, kept)));
    return removed;
  }

  async #sweepPlace(place: string, kept: ReadonlySet<string>): Promise<string[]> {
    const removed: string[] = [];
    for (const name of existsSync(place) ? readdirSync(place) : []) {
      if (kept.has(name) || isBuildsPlace(name)) continue;
      const folder = join(place, name);
      const file = readRunFile(folder);
      await this.#clear(folder, file);
      removed.push(file?.run ?? name);
    }
    // What a person who removed the folder by hand has left.
    for (const { folder } of uidsBelow(place))
      if (!kept.has(basename(folder)) && !existsSync(folder)) await this.#clear(folder, null);
    await terminate(() => straysBelow(place, (path) => kept.has(ownerBelow(place, path))));
    if (place === this.#workDir) await this.#builds.sweep((slug) => kept.has(slug));
    else await removeKeptBuilds(place, (slug) => kept.has(slug));
    return removed;
  }

  /** All of a run that nobody looks after any more, and the uid that it had. */
  async #clear(folder: string, file: RunFile | null): Promise<void> {
    const taken = uidsBelow(dirname(folder)).filter((one) => one.folder === folder);
    const uids = new Set([...taken.map(({ uid }) => uid), ...(file?.user?.isAuto ? [file.user.uid] : [])]);
    await endAll(marksOf(folder, file), file?.cgroup ?? null, file?.limits ?? []);
    for (const uid of uids) await endAll({ entries: [], places: [], uid, isUidAlone: true }, null, []);
    await removeTree(folder);
    await removeTree(file?.tmp ?? tmpOf(folder));
    for (const uid of uids) await endUser(uid, folder);
  }

  #workspace(spec: ExecutorSpec, paths: JobPaths, file: RunFile, isLeft = false): ProcessWorkspace {
    const folder = this.#folder(spec.run);
    const user = file.user === undefined ? ownerOfRun(folder) : file.user;
    if (user?.isAuto) keepUid(user.uid, folder);
    const cgroup = file.cgroup !== null && existsSync(file.cgroup) ? file.cgroup : null;
    const environment = jobProcessEnvironment(spec, folder, file.tmp, user);
    return new ProcessWorkspace({
      run: spec.run,
      folder,
      tmp: file.tmp,
      paths,
      environment,
      user,
      cgroup,
      limits: file.limits,
      marks: marksOf(folder, file, user),
      memoryBytes: spec.memoryBytes,
      bootId: file.bootId,
      clock: this.#clock,
      builds: file.builds ? { taken: file.builds, isLeft, store: this.#builds } : null,
    });
  }

  #folder(run: string): string {
    const found = this.#places.find((place) => existsSync(join(place, runSlug(run), 'run.json')));
    return join(found ?? this.#workDir, runSlug(run));
  }

  async #makeWorkDir(): Promise<void> {
    const mode = this.#dropsUser() ? 0o711 : 0o700;
    try {
      await mkdir(this.#workDir, { recursive: true, mode });
      // The agent's umask would keep it, and the folder of all agents above it, from jobs.
      const above = dirname(userWorkDir(this.#options.home));
      const ours = dirname(this.#workDir) === above ? [above, this.#workDir] : [this.#workDir];
      if (this.#dropsUser()) for (const place of ours) await chmod(place, mode);
      accessSync(this.#workDir, constants.W_OK | constants.X_OK);
    } catch (cause) {
      throw new AutogitError('home-unwritable', `cannot make the folder for runs ${this.#workDir}`, { cause });
    }
  }

  #kindOfUser(): ReturnType<typeof wantedUser> {
    return wantedUser(this.#options.user ?? null);
  }

  #dropsUser(): boolean {
    return this.#kindOfUser() !== 'own' && process.getuid?.() === 0;
  }

  #named(): ReturnType<typeof namedUser> {
    return namedUser(this.#options.user ?? '', this.#workDir);
  }

  async #userFor(run: string, folder: string): Promise<JobUser | null> {
    const kind = this.#kindOfUser();
    if (kind === 'own') return null;
    if (kind === 'named') {
      const { user, said } = this.#named();
      if (said !== null) this.#options.note?.(run, said);
      return user;
    }
    const range = readAutoUser(this.#options.user ?? '') ?? usualRange;
    return autoUser(await takeUid(range, folder), this.#workDir);
  }
}

/** Nothing of the agent's own environment but PATH, language and time zone: tokens must not leak into jobs. */
function jobProcessEnvironment(
  spec: ExecutorSpec,
  folder: string,
  tmp: string,
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
    PATH: user?.path ?? agentPath(),
    HOME: user?.home ?? freshHome(folder),
    TMPDIR: tmp,
    USER: name,
    LOGNAME: name,
    SHELL: user?.shell ?? '/bin/bash',
    LANG: own.LANG ?? 'C.UTF-8',
    TERM: 'dumb',
    ...(own.TZ && { TZ: own.TZ }),
    CUDA_VISIBLE_DEVICES: gpus('nvidia'),
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

/**
 * The deepest first, and never through a link: whose folder it is can put a link in place of what is in it, while others
 * are still given, and would be given what is at the link's other end.
 */
const giveTo = async (user: JobUser, paths: string[]): Promise<void> => {
  for (const path of [...paths].sort((a, b) => b.length - a.length)) await lchown(path, user.uid, user.gid);
};
