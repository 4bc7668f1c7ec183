import { existsSync, lstatSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { chmod, mkdir, readdir, statfs } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Disk, diskOf, usedBy } from '../disk-use.ts';
import type { Log } from '../log.ts';
import type { TreeWish } from '../ports.ts';
import { spawnAside } from '../starter/starter.ts';
import { KeptTrees, type TreeLimits, treeBytes, treesThatGo } from './kept-trees.ts';
import type { JobUser } from './run-file.ts';
import { runSlug } from './run-slug.ts';
import { exitOf, removeTree } from './tree-removal.ts';

interface BuildsOptions {
  workDir: string;
  /** Where is kept what is kept. */
  home: string;
  limits: TreeLimits;
  log: Pick<Log, 'info'>;
  wallMs(): number;
}

/** What a run has of it. */
export interface TakenBuilds {
  key: string;
  /** CI_BUILDS_DIR. */
  folder: string;
  project: string;
  isKept: boolean;
}

/** Beside the runs' own folders; no run has a name with a dot in front. */
const name = '.builds';
const ownerName = 'run';
/** A tree of millions of files. */
const measureMs = 120_000;
const waitMs = 10_000;

export const buildsPlaces = (workDir: string): string => join(workDir, name);
export const isBuildsPlace = (folder: string): boolean => folder === name;

/**
 * CI_BUILDS_DIR of the jobs of a project, at a path that stays: tools write it into what they build. One run at a time has
 * it; between two of them nobody but the agent can reach it, so what root does there (a look, a move of ownership, a
 * removal) nobody can turn elsewhere by a link.
 */
export class ProcessBuilds {
  readonly #options: BuildsOptions;
  readonly #trees: KeptTrees;
  /** By key: a removal that goes on. */
  readonly #removals = new Map<string, Promise<void>>();

  constructor(options: BuildsOptions) {
    this.#options = options;
    this.#trees = new KeptTrees(options.home, 'process');
  }

  /** Null: another run has it. `isLeft`: a job before left its tree there. */
  async take(
    wish: TreeWish,
    run: string,
    user: JobUser | null,
    signal: AbortSignal,
  ): Promise<(TakenBuilds & { isLeft: boolean }) | null> {
    const { key, project } = wish;
    const place = this.#place(key);
    await mkdir(place, { recursive: true, mode: 0o700 });
    const isOthers = (owner: string | null): boolean => owner !== null && owner !== runSlug(run) && this.#isRun(owner);
    // Jobs that run at once have each their own: who has this one has ended, and is about to give it back.
    for (const until = performance.now() + waitMs; isOthers(ownerOf(place)); await sleep(10))
      if (performance.now() > until || signal.aborted) return null;
    const owner = ownerOf(place);
    // Of a run that nobody gave back: what it left half done may hold its variables.
    if (owner !== null) await this.#empty(key);
    writeFileSync(join(place, ownerName), runSlug(run), { mode: 0o600 });
    // From here on nothing else removes it; what had begun to before is waited for.
    await this.#removals.get(key)?.catch(() => undefined);
    const folder = join(place, 'builds');
    const isLeft = await this.#isFor(wish, folder, user);
    if (!isLeft) await this.#empty(key);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    if (user) for (const path of [buildsPlaces(this.#options.workDir), place]) await chmod(path, 0o711);
    // A job that makes no tree leaves one only where it was given one.
    const isKept =
      wish.isKept && (isLeft || !wish.isOnlyLeft) && treeBytes(this.#options.limits, await this.#disk()) > 0;
    return { key, folder, project, isKept, isLeft };
  }

  /** Whether what is there is this project's and this user's, or can be made so. */
  async #isFor({ key, project, isKept, isFresh }: TreeWish, folder: string, user: JobUser | null): Promise<boolean> {
    const tree = this.#trees.get(key);
    if (tree === null || !isKept || isFresh || tree.project !== project || !existsSync(folder)) return false;
    const uid = user?.uid ?? process.getuid?.() ?? 0;
    const gid = user?.gid ?? process.getgid?.() ?? 0;
    if (tree.uid === uid && tree.gid === gid) return true;
    if (!user?.isAuto || tree.isAuto !== true) return false;
    // Only what was that uid's: a link to another's file, made where the kernel lets anybody, changes no owner.
    const words = ['-R', '-h', '-P', `--from=${tree.uid}:${tree.gid}`, `${uid}:${gid}`, '--', folder];
    return (await exitOf(spawnAside('chown', words, { stdio: 'ignore', cwd: '/' }))) === 0;
  }

  /** The run has ended, all of it. Only its tree stays, and that only where it is to be kept. Never throws. */
  async give(
    run: string,
    { key, folder, project, isKept }: TakenBuilds,
    projectDir: string,
    user: JobUser | null,
  ): Promise<void> {
    const place = this.#place(key);
    // Given back already, by a try to remove the run that failed later: another run may have it by now.
    if (ownerOf(place) !== runSlug(run)) return;
    await chmod(place, 0o700).catch(() => undefined);
    const isThere = isKept && (await onlyPath(folder, relative(folder, projectDir)).catch(() => false));
    if (!isThere) await this.#empty(key).catch(() => undefined);
    else {
      const uid = user?.uid ?? process.getuid?.() ?? 0;
      const gid = user?.gid ?? process.getgid?.() ?? 0;
      const usedAt = this.#options.wallMs();
      this.#trees.set(key, { project, uid, gid, usedAt, bytes: null, ...(user?.isAuto && { isAuto: true }) });
    }
    rmSync(join(place, ownerName), { force: true });
    void this.tidy().catch(() => undefined);
  }

  /** Measures what is new, and removes what goes. */
  async tidy(): Promise<void> {
    const { limits, wallMs, log, workDir } = this.#options;
    for (const { key, bytes, ...tree } of this.#trees.all()) {
      if (bytes !== null || this.#isTaken(key)) continue;
      const device = lstatSync(workDir, { throwIfNoEntry: false })?.dev ?? 0;
      const measured = await usedBy(this.#place(key), device, measureMs);
      if (this.#trees.get(key)?.usedAt === tree.usedAt) this.#trees.set(key, { ...tree, bytes: measured });
    }
    const unused = this.#trees.all().filter(({ key }) => !this.#isTaken(key));
    for (const { key, because } of treesThatGo(unused, limits, await this.#disk(), wallMs())) {
      if (this.#isTaken(key)) continue;
      const project = this.#trees.get(key)?.project;
      await this.#empty(key);
      log.info(`removed the kept tree of a project (${project}): ${because}`);
    }
  }

  /** All that no run has now. False where there was none. */
  async giveBack(): Promise<boolean> {
    const going = this.#trees.all().filter(({ key }) => !this.#isTaken(key));
    for (const { key } of going) await this.#empty(key);
    if (going.length > 0) this.#options.log.info(`removed the kept trees of ${going.length} projects`);
    return going.length > 0;
  }

  /** What runs of before left that nobody gave back; `isKept` says which runs go on. */
  async sweep(isKept: (slug: string) => boolean): Promise<void> {
    const names = await readdir(buildsPlaces(this.#options.workDir)).catch(() => []);
    for (const key of names) {
      const owner = ownerOf(this.#place(key));
      if (owner === null && this.#trees.get(key) !== null) continue;
      if (owner !== null && isKept(owner)) continue;
      await this.#empty(key);
      await removeTree(this.#place(key));
    }
  }

  #empty(key: string): Promise<void> {
    this.#trees.delete(key);
    const removal = removeTree(join(this.#place(key), 'builds')).finally(() => {
      if (this.#removals.get(key) === removal) this.#removals.delete(key);
    });
    this.#removals.set(key, removal);
    return removal;
  }

  #isTaken(key: string): boolean {
    return ownerOf(this.#place(key)) !== null;
  }

  #isRun(slug: string): boolean {
    return existsSync(join(this.#options.workDir, slug));
  }

  #place(key: string): string {
    return join(buildsPlaces(this.#options.workDir), key);
  }

  #disk(): Promise<Disk | null> {
    return statfs(this.#options.workDir).then(diskOf, () => null);
  }
}

/** The same without an agent: of a start on a full disk. */
export async function removeKeptBuilds(workDir: string): Promise<void> {
  for (const key of await readdir(buildsPlaces(workDir)).catch(() => []))
    if (ownerOf(join(buildsPlaces(workDir), key)) === null) await removeTree(join(buildsPlaces(workDir), key));
}

function ownerOf(place: string): string | null {
  try {
    return readFileSync(join(place, ownerName), 'utf8');
  } catch {
    return null;
  }
}

/** Removes all of a folder but one path in it, of which no part may be a link. False where it is not there. */
async function onlyPath(folder: string, path: string): Promise<boolean> {
  let at = folder;
  for (const part of path.split('/')) {
    if (!lstatSync(at, { throwIfNoEntry: false })?.isDirectory()) return false;
    for (const other of await readdir(at)) if (other !== part) await removeTree(join(at, other));
    at = join(at, part);
  }
  return lstatSync(at, { throwIfNoEntry: false })?.isDirectory() === true;
}
