import { setTimeout as sleep } from 'node:timers/promises';
import type { Disk } from '../disk-use.ts';
import type { Log } from '../log.ts';
import { showBytes } from '../settings/quantities.ts';
import { type KeptTrees, type TreeLimits, treesThatGo } from './kept-trees.ts';

interface KeeperOptions {
  trees: KeptTrees;
  limits: TreeLimits;
  log: Pick<Log, 'info'>;
  wallMs(): number;
  /** A run has it: nothing else touches it. */
  isTaken(key: string): boolean;
  /** Removes what lies there. */
  remove(key: string): Promise<void>;
}

const waitMs = 10_000;
/** Of one that is not measured in two minutes: it has about a million files, of a block each at least. */
const unmeasuredBytes = 4 * 2 ** 30;

/**
 * Jobs that run at once have each a tree of their own: who has this one has ended, and is about to give it back. False: it has
 * not within 10 s, will not soon (`isStuck`), or `signal` aborted.
 */
export async function untilFree(
  isTaken: () => boolean,
  signal: AbortSignal,
  isStuck: () => boolean = () => false,
): Promise<boolean> {
  for (const until = performance.now() + waitMs; isTaken(); await sleep(10))
    if (performance.now() > until || signal.aborted || isStuck()) return false;
  return true;
}

/** Measures and removes kept trees, wherever an executor has them: those that no run has. */
export class TreeKeeper {
  readonly #options: KeeperOptions;
  /** By key: a removal that goes on. */
  readonly #removals = new Map<string, Promise<void>>();

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  /** It and its record. Throws what the removal throws; the record is gone all the same. */
  remove(key: string): Promise<void> {
    this.#options.trees.delete(key);
    const removal = this.#options.remove(key).finally(() => {
      if (this.#removals.get(key) === removal) this.#removals.delete(key);
    });
    this.#removals.set(key, removal);
    return removal;
  }

  /** For who has just taken it: what had begun to remove it before is waited for. */
  async untilRemoved(key: string): Promise<void> {
    await this.#removals.get(key)?.catch(() => undefined);
  }

  /** One that cannot be removed, such as one that a container of before still has, keeps none of the others. */
  isRemoved(key: string): Promise<boolean> {
    return this.remove(key).then(
      () => true,
      () => false,
    );
  }

  /** All that no run has now. False where there was none. */
  async giveBack(): Promise<boolean> {
    const { trees, isTaken, log } = this.#options;
    let count = 0;
    for (const { key } of trees.all()) if (!isTaken(key) && (await this.isRemoved(key))) count++;
    if (count > 0) log.info(`removed the kept trees of ${count} projects`);
    return count > 0;
  }

  /** Once after each run that had it; what is not known in time is bounded, and measured after the next. */
  async measure(key: string, bytesOf: () => Promise<number | null>): Promise<void> {
    const { trees, isTaken, log } = this.#options;
    const tree = trees.get(key);
    if (tree === null || tree.bytes !== null || isTaken(key)) return;
    const found = await bytesOf();
    const bytes = found ?? tree.bytesBefore ?? unmeasuredBytes;
    if (found === null)
      log.info(`a kept tree (${tree.project}) takes too long to measure: it counts as ${showBytes(bytes)}`);
    if (trees.get(key)?.usedAt === tree.usedAt) trees.set(key, { ...tree, bytes });
  }

  /** Removes what goes by its age, the limit and the room on its disk. */
  async thin(disk: Disk | null): Promise<void> {
    const { trees, limits, log, wallMs, isTaken } = this.#options;
    const unused = trees.all().filter(({ key }) => !isTaken(key));
    for (const { key, because } of treesThatGo(unused, limits, disk, wallMs(), trees.others())) {
      if (isTaken(key)) continue;
      const project = trees.get(key)?.project;
      if (await this.isRemoved(key)) log.info(`removed the kept tree of a project (${project}): ${because}`);
    }
  }
}
