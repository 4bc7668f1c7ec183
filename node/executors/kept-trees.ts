import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Disk } from '../disk-use.ts';
import { thinned } from '../least-used.ts';

/** Trees of projects that stay for their next jobs: what is kept, and what goes. Where they lie is each executor's own. */

const KeptRecord = z.looseObject({
  /** Whose it is, at which GitLab. */
  project: z.string().max(512),
  /** Who owns its files: a later job of somebody else gets a new one. */
  uid: z.int().nonnegative(),
  gid: z.int().nonnegative(),
  /** The uid was one run's alone, and may be somebody else's by now. */
  isAuto: z.boolean().optional(),
  /** Wall ms. */
  usedAt: z.number(),
  /** Null: not measured since a job had it last. */
  bytes: z.number().nonnegative().nullable(),
  /** When it was measured before. */
  bytesBefore: z.number().nonnegative().optional(),
});
type KeptRecord = z.infer<typeof KeptRecord>;

const mostTrees = 1000;
const Trees = z.looseObject({ v: z.literal(1), trees: z.record(z.string().max(128), KeptRecord) });

/** What a machine's owner gives kept trees of its disk. */
export interface TreeLimits {
  /** Of all of them together; null: a tenth of their disk, at most 50 GiB. 0: none is kept. */
  limitBytes: number | null;
  /** So long unused, one goes. */
  ageMs: number;
  /** With less free, in percent, they go, the longest unused first. */
  roomPercent: number;
}

export const usualTreeLimits: TreeLimits = { limitBytes: null, ageMs: 30 * 86_400_000, roomPercent: 10 };
const mostUsualBytes = 50 * 2 ** 30;

/** Bytes that all of them may have; of a disk that is not known, the most. */
export const treeBytes = ({ limitBytes }: TreeLimits, disk: Disk | null): number =>
  limitBytes ?? Math.min(mostUsualBytes, Math.floor((disk?.totalBytes ?? Number.POSITIVE_INFINITY) / 10));

const words = {
  age: 'no job used it for long',
  limit: 'kept trees have a limit',
  room: 'its disk is short of room',
} as const;

/** What it was before is a better guess than nothing. */
export const countedBytes = ({ bytes, bytesBefore }: KeptRecord): number => bytes ?? bytesBefore ?? 0;

type Named = KeptRecord & { key: string };

/** Which of them go now and why. `others`: what the machine's other executor keeps, which counts for the limit, and is its own to remove. Pure. */
export function treesThatGo(
  trees: readonly Named[],
  limits: TreeLimits,
  disk: Disk | null,
  nowMs: number,
  others: readonly Named[] = [],
): { key: string; because: string }[] {
  const sized = (tree: Named) => ({ tree, key: tree.key, usedAt: tree.usedAt, sizeBytes: countedBytes(tree) });
  const shortBytes = disk === null ? 0 : (disk.totalBytes * limits.roomPercent) / 100 - disk.freeBytes;
  const most = { limitBytes: treeBytes(limits, disk), mostCount: mostTrees, wallMs: nowMs };
  const gone = thinned(trees.map(sized), { ...most, shortBytes, ageMs: limits.ageMs });
  const own = new Set(trees);
  const together = { ...most, shortBytes: 0, ageMs: Number.POSITIVE_INFINITY };
  for (const one of others.length === 0 ? [] : thinned([...trees, ...others].map(sized), together))
    if (own.has(one.one.tree) && !gone.some(({ one: { key } }) => key === one.one.key)) gone.push(one);
  return gone.map(({ one, why }) => ({ key: one.key, because: words[why] }));
}

/** What trees an executor keeps, in a file of the home; without a home nothing is remembered. */
export class KeptTrees {
  readonly #file: string | null;
  readonly #others: string[];
  readonly #trees: Map<string, KeptRecord>;

  constructor(home: string | null, executor: string) {
    this.#file = home === null ? null : join(home, keptTreesFile(executor));
    const kinds = home === null ? [] : executorKinds.filter((kind) => kind !== executor);
    this.#others = kinds.map((kind) => join(home as string, keptTreesFile(kind)));
    this.#trees = new Map(Object.entries(this.#file === null ? {} : readKeptTrees(this.#file)));
  }

  get(key: string): KeptRecord | null {
    return this.#trees.get(key) ?? null;
  }

  all(): Named[] {
    return [...this.#trees].map(([key, tree]) => ({ key, ...tree }));
  }

  /** What the machine's other executor keeps, as it stands in its file. */
  others(): Named[] {
    return this.#others.flatMap((file) => Object.entries(readKeptTrees(file)).map(([key, tree]) => ({ key, ...tree })));
  }

  /** One that is not measured any more keeps what it was measured with before. */
  set(key: string, tree: KeptRecord): void {
    const before = this.#trees.get(key);
    const bytesBefore = before?.bytes ?? before?.bytesBefore;
    this.#trees.set(key, tree.bytes === null && bytesBefore !== undefined ? { ...tree, bytesBefore } : tree);
    this.#write();
  }

  delete(key: string): void {
    if (this.#trees.delete(key)) this.#write();
  }

  /** A disk that is full costs only the memory of what is kept: the next agent then makes such trees anew. */
  #write(): void {
    if (this.#file === null) return;
    try {
      const trees = Object.fromEntries(this.#trees);
      writeFileSync(`${this.#file}.new`, JSON.stringify({ v: 1, trees }), { mode: 0o600 });
      renameSync(`${this.#file}.new`, this.#file);
    } catch {
      // See above.
    }
  }
}

export const executorKinds = ['docker', 'process'] as const;
export const keptTreesFile = (executor: string): string => `trees-${executor}.json`;

/** Of a file that is missing or damaged: none. */
export function readKeptTrees(file: string): Record<string, KeptRecord> {
  try {
    return Trees.parse(JSON.parse(readFileSync(file, 'utf8'))).trees;
  } catch {
    return {};
  }
}
