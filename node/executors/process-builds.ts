import { existsSync, lstatSync, rmSync, writeFileSync } from 'node:fs';
import { chmod, mkdir, readdir, rename, statfs } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { sentenceOf } from '../../protocol/errors.ts';
import { type Disk, diskOf, usedBy } from '../disk-use.ts';
import type { Log } from '../log.ts';
import type { TreeWish } from '../ports.ts';
import { spawnAside } from '../starter/starter.ts';
import { KeptTrees, type TreeLimits, treeBytes } from './kept-trees.ts';
import { dropTo, type JobUser, ownerName, ownerOfBuilds as ownerOf } from './run-file.ts';
import { runSlug } from './run-slug.ts';
import { TreeKeeper, untilFree } from './tree-keeper.ts';
import { aside, exitOf, removeTree } from './tree-removal.ts';

interface BuildsOptions {
  workDir: string;
  /** Where is kept what is kept. */
  home: string;
  limits: TreeLimits;
  log: Pick<Log, 'info'>;
  wallMs(): number;
  /** For tests: how a tree is removed. */
  remove?: typeof removeTree;
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
/** What could not be removed, beside what the next job gets. */
const asideStart = 'left-';
/** A tree of millions of files. */
const measureMs = 120_000;

/** Null: the agent's own. */
const idsOf = (user: JobUser | null): { uid: number; gid: number } => ({
  uid: user?.uid ?? process.getuid?.() ?? 0,
  gid: user?.gid ?? process.getgid?.() ?? 0,
});

const buildsPlaces = (workDir: string): string => join(workDir, name);
export const isBuildsPlace = (folder: string): boolean => folder === name;
/** Whose run a path below that folder is of, by its name; empty: nobody's any more. */
export const ownerBelow = (workDir: string, [folder = '', key = '']: readonly string[]): string =>
  isBuildsPlace(folder) ? (ownerOf(join(buildsPlaces(workDir), key)) ?? '') : folder;

/**
 * CI_BUILDS_DIR of the jobs of a project, at a path that stays: tools write it into what they build. One run at a time has
 * it; between two of them nobody but the agent can reach it, so what root does there (a look, a move of ownership, a
 * removal) nobody can turn elsewhere by a link.
 */
export class ProcessBuilds {
  readonly #options: BuildsOptions;
  readonly #trees: KeptTrees;
  readonly #keeper: TreeKeeper;
  /** Keys that runs of this process have taken: a sweep, which knows those of before, leaves them alone. One a project. */
  readonly #own = new Set<string>();
  /** By key: what a sweep removes now. */
  readonly #swept = new Map<string, Promise<void>>();

  constructor(options: BuildsOptions) {
    this.#options = options;
    this.#trees = new KeptTrees(options.home, 'process');
    this.#keeper = new TreeKeeper({
      ...options,
      trees: this.#trees,
      isTaken: (key) => this.#isTaken(key),
      remove: (key) => this.#remove(join(this.#place(key), 'builds')),
    });
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
    this.#own.add(key);
    await this.#swept.get(key);
    await mkdir(place, { recursive: true, mode: 0o700 });
    const isOthers = (): boolean => ownerOf(place) !== runSlug(run) && this.#isTaken(key);
    if (!(await untilFree(isOthers, signal))) return null;
    const owner = ownerOf(place);
    // Of a run that nobody gave back: what it left half done may hold its variables.
    if (owner !== null) await this.#clear(key);
    // From here on nothing else removes it.
    writeFileSync(join(place, ownerName), runSlug(run), { mode: 0o600 });
    await this.#keeper.untilRemoved(key);
    const folder = join(place, 'builds');
    const isLeft = await this.#isFor(wish, folder, user);
    if (!isLeft) await this.#clear(key);
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
    const { uid, gid } = idsOf(user);
    if (tree.uid === uid && tree.gid === gid) return true;
    if (!user?.isAuto || tree.isAuto !== true) return false;
    // Only what was that uid's: a link to another's file, made where the kernel lets anybody, changes no owner.
    const words = ['-R', '-h', '-P', `--from=${tree.uid}:${tree.gid}`, `${uid}:${gid}`, '--', folder];
    return (await exitOf(spawnAside('chown', words, aside()))) === 0;
  }

  /** The run has ended, all of it. Only its tree stays, and that only where it is to be kept. Never throws. */
  async give(
    run: string,
    { key, folder, project, isKept }: TakenBuilds,
    projectDir: string,
    user: JobUser | null,
  ): Promise<void> {
    const place = dirname(folder);
    // Given back already, by a try to remove the run that failed later: another run may have it by now.
    if (ownerOf(place) !== runSlug(run)) return;
    // Since it began the runs of this agent lie elsewhere.
    if (place !== this.#place(key)) return removeTree(place).catch(() => undefined);
    const isThere = isKept && (await onlyPath(folder, relative(folder, projectDir), user));
    await chmod(place, 0o700).catch(() => undefined);
    if (!isThere) await this.#keeper.remove(key).catch(() => undefined);
    else {
      const usedAt = this.#options.wallMs();
      this.#trees.set(key, { project, ...idsOf(user), usedAt, bytes: null, ...(user?.isAuto && { isAuto: true }) });
    }
    rmSync(join(place, ownerName), { force: true });
    void this.tidy().catch(() => undefined);
  }

  /** Measures what is new, and removes what goes. */
  async tidy(): Promise<void> {
    const { workDir } = this.#options;
    for (const { key } of this.#trees.all())
      await this.#keeper.measure(key, () => {
        const device = lstatSync(workDir, { throwIfNoEntry: false })?.dev ?? 0;
        return usedBy(this.#place(key), device, measureMs);
      });
    await this.#keeper.thin(await this.#disk());
  }

  /** All that no run has now. False where there was none. */
  giveBack(): Promise<boolean> {
    return this.#keeper.giveBack();
  }

  /** What runs of before left that nobody gave back; `isKept` says which runs go on. */
  async sweep(isKept: (slug: string) => boolean): Promise<void> {
    const names = await readdir(buildsPlaces(this.#options.workDir)).catch(() => []);
    for (const key of names) {
      const place = this.#place(key);
      for (const left of (await readdir(place).catch(() => [])).filter((one) => one.startsWith(asideStart)))
        await this.#remove(join(place, left)).catch(() => undefined);
      // Runs go on and are taken beside this: whoever came first has it.
      if (this.#own.has(key)) continue;
      const sweeping = this.#sweepOne(key, isKept).finally(() => this.#swept.delete(key));
      this.#swept.set(key, sweeping);
      await sweeping;
    }
  }

  async #sweepOne(key: string, isKept: (slug: string) => boolean): Promise<void> {
    const place = this.#place(key);
    const owner = ownerOf(place);
    if (owner === null && this.#trees.get(key) !== null) return;
    if (owner !== null && isKept(owner)) return;
    await this.#keeper.remove(key).catch(() => undefined);
    await this.#remove(place).catch(() => undefined);
  }

  /**
   * For a job that must find nothing. What cannot be removed (files of a container's root, where the agent is not root) goes
   * out of its way, and is tried again when the agent starts.
   */
  async #clear(key: string): Promise<void> {
    try {
      await this.#keeper.remove(key);
    } catch (cause) {
      const { log, wallMs } = this.#options;
      const aside = join(this.#place(key), `${asideStart}${Math.round(wallMs())}`);
      await rename(join(this.#place(key), 'builds'), aside).catch(() => {
        throw cause;
      });
      log.info(`what a job left cannot be removed (${sentenceOf(cause)}): sudo rm -r ${aside}`);
    }
  }

  #remove(path: string): Promise<void> {
    return (this.#options.remove ?? removeTree)(path);
  }

  #isTaken(key: string): boolean {
    const owner = ownerOf(this.#place(key));
    return owner !== null && this.#isRun(owner);
  }

  /** A full disk, or a power cut, leaves a name that is empty. */
  #isRun(slug: string): boolean {
    return slug !== '' && existsSync(join(this.#options.workDir, slug));
  }

  #place(key: string): string {
    return join(buildsPlaces(this.#options.workDir), key);
  }

  #disk(): Promise<Disk | null> {
    return statfs(this.#options.workDir).then(diskOf, () => null);
  }
}

/** All that no run has, without an agent (of a start on a full disk), or where its runs lay before. */
export async function removeKeptBuilds(
  workDir: string,
  isRun = (owner: string): boolean => existsSync(join(workDir, owner)),
): Promise<void> {
  for (const key of await readdir(buildsPlaces(workDir)).catch(() => [])) {
    const place = join(buildsPlaces(workDir), key);
    const owner = ownerOf(place) ?? '';
    if (owner === '' || !isRun(owner)) await removeTree(place).catch(() => undefined);
  }
}

/** Removes all of a folder but what is at a path in it, of which no part may be a link. What is mounted in it stays. */
const keeping = `cd -P -- "$1" || exit 1
shift
one=--one-file-system; rm -f $one 2>/dev/null || one=
for part do
  for other in * .[!.]* ..?*; do
    [ "$other" != "$part" ] || continue
    [ -e "$other" ] || [ -L "$other" ] || continue
    rm -rf $one -- "$other" 2>/dev/null || { chmod -R u+rwX -- "$other"; rm -rf $one -- "$other"; } || exit 1
  done
  [ ! -L "$part" ] && cd -P -- "./$part" || exit 1
done`;

/**
 * False where it is not there, or the rest cannot be removed. By the tree's own user: who still works in there (a job that ran
 * beside and was let in, what another service began) could put a link in root's way.
 */
async function onlyPath(folder: string, path: string, user: JobUser | null): Promise<boolean> {
  const words = ['-c', keeping, 'sh', folder, ...path.split('/')];
  return (await exitOf(spawnAside('/bin/sh', words, { ...aside(), ...dropTo(user) }))) === 0;
}
