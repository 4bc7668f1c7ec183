import { join } from 'node:path';
import { z } from 'zod';
import { sentenceOf } from '../../../protocol/errors.ts';
import { type FencedName, type FencedSeen, fencedEpoch } from '../../../protocol/fenced.ts';
import type { HostedCopies } from '../../../protocol/ledger-gitlab.ts';
import { compareRounds, newestOf, type RoundName } from '../../../protocol/round-name.ts';
import { tookBeyond } from '../../../scheduler/hosting/sides.ts';
import type { Clock } from '../../clock.ts';
import type { Log } from '../../log.ts';
import { bulkBeside } from '../replica/bulk-beside.ts';
import { readSmallFile } from '../small-file.ts';
import { replaceFile, type SystemTools } from '../system-tools.ts';
import { type DataSide, haveSamePushes, sideIn } from '../vault/compare-data.ts';
import { keptRounds, roundFolder } from '../vault/kept-rounds.ts';
import { tookFile } from '../vault/vault-tree.ts';
import { writtenAt } from '../written-at.ts';

interface TakenOptions {
  clock: Pick<Clock, 'bootMs'>;
  log: Pick<Log, 'info' | 'warn'>;
  tools: SystemTools;
}

/** ms: refs of all repositories are read twice. */
const compareMs = 600_000;
/** ms after which what could not be told is looked at again: a round that comes back here, a disk that reads again. */
const againMs = { looked: 60_000, compared: 600_000 } as const;

const Took = z.looseObject({ took: z.enum(['none', 'more']) });
type Known = 'none' | 'more' | 'looking' | 'unknown';

/** The round with which the epoch after that one began; null where the ledger names none. */
export function baseAfter(bases: HostedCopies['bases'] | undefined, epoch: number): RoundName | null {
  const next = Object.keys(bases ?? {})
    .map(Number)
    .filter((one) => one > epoch)
    .sort((a, b) => a - b)[0];
  return next === undefined ? null : (bases?.[String(next)] ?? null);
}

/** A round of this machine's as a side to compare with; null where it is not here, or half of it. */
export function roundSide(tree: string, name: RoundName): DataSide | null {
  const hot = keptRounds(tree, 'hot').find((one) => compareRounds(one.name, name) === 0);
  const bulk = hot && bulkBeside(hot, keptRounds(tree, 'bulk'));
  if (!hot || !bulk) return null;
  return { live: roundFolder(tree, 'hot', hot.name), bulk: roundFolder(tree, 'bulk', bulk.name) };
}

/**
 * Of what this machine served beside a mesh that was recovered by force: whether it is more than the round with which the mesh went on,
 * which is here too (scheduler/hosting/sides.ts). Found once and kept beside those data, as rounds are thinned.
 */
export class TakenBeside {
  readonly #options: TakenOptions;
  readonly #known = new Map<string, Known>();
  /** Boot ms from which what is not known is looked at again. */
  readonly #againAt = new Map<string, number>();
  #stopped = new AbortController();
  #comparing: Promise<void> = Promise.resolve();

  constructor(options: TakenOptions) {
    this.#options = options;
  }

  async end(): Promise<void> {
    this.#stopped.abort();
    await this.#comparing;
    this.#stopped = new AbortController();
    for (const [name, known] of this.#known) if (known === 'looking' || known === 'unknown') this.#known.delete(name);
  }

  forget(name: FencedName): void {
    this.#known.delete(name);
  }

  seen(tree: string, name: FencedName, bases: HostedCopies['bases'] | undefined): Pick<FencedSeen, 'took'> {
    let known = this.#known.get(name);
    if (known === undefined || (known === 'unknown' && this.#nowMs() >= (this.#againAt.get(name) ?? 0))) {
      known = this.#begin(tree, name, bases);
      this.#set(name, known, againMs.looked);
    }
    return known === 'unknown' ? {} : { took: known };
  }

  #nowMs(): number {
    return this.#options.clock.bootMs();
  }

  #set(name: FencedName, known: Known, waitMs: number): void {
    this.#known.set(name, known);
    if (known === 'unknown') this.#againAt.set(name, this.#nowMs() + waitMs);
  }

  #begin(tree: string, name: FencedName, bases: HostedCopies['bases'] | undefined): Known {
    const noted = noteIn(join(tree, name));
    if (noted !== null) return noted;
    const epoch = fencedEpoch(name);
    const base = baseAfter(bases, epoch);
    const rounds = keptRounds(tree, 'hot');
    const baseAt = rounds.find((one) => base !== null && compareRounds(one.name, base) === 0)?.wallMs ?? null;
    const newest = newestOf(rounds.filter((one) => one.name.epoch === epoch && one.name.era === base?.era));
    const at = writtenAt(join(tree, name, 'live'));
    const took = tookBeyond(epoch, { base, baseAt, newest: newest?.name ?? null, writtenAt: at });
    if (took === null) return 'unknown';
    const side = base && roundSide(tree, base);
    if (took === 'none' && side === null) return 'unknown';
    const { signal } = this.#stopped;
    this.#comparing = this.#comparing.then(() => this.#find(tree, name, took === 'none' ? side : null, signal));
    return took === 'more' ? 'more' : 'looking';
  }

  /** `side`: what it is compared with; null: it is more. */
  async #find(tree: string, name: FencedName, side: DataSide | null, stopped: AbortSignal): Promise<void> {
    if (stopped.aborted) return;
    const folder = join(tree, name);
    try {
      const signal = AbortSignal.any([stopped, AbortSignal.timeout(compareMs)]);
      const isMore = side === null || !(await haveSamePushes(sideIn(folder), side, signal));
      const took = isMore ? 'more' : 'none';
      await replaceFile(join(folder, tookFile), JSON.stringify({ took }), this.#options.tools);
      if (this.#known.has(name)) this.#known.set(name, took);
      if (!isMore) this.#options.log.info(`no push is in ${folder} that the mesh did not go on with`);
    } catch (error) {
      if (stopped.aborted) return;
      if (this.#known.get(name) === 'looking') this.#set(name, 'unknown', againMs.compared);
      this.#options.log.warn(`whether pushes are in ${folder} alone cannot be told: ${sentenceOf(error)}`);
    }
  }
}

/** Null where nothing was found out yet, or it makes no sense. */
function noteIn(folder: string): 'none' | 'more' | null {
  try {
    return Took.parse(JSON.parse(readSmallFile(join(folder, tookFile)))).took;
  } catch {
    return null;
  }
}
