/** How many stay, of each day, week and month. */
interface Keep {
  daily: number;
  weekly: number;
  monthly: number;
}

/** `arrivedMs`: by this machine's clock; when it was made its host alone says. `of`: which GitLab's, as its host says. */
export interface KeptBackup {
  id: string;
  of: string;
  arrivedMs: number;
}

const dayMs = 86_400_000;
/** Fewer shall stay: that holds only after so long, so that nobody takes all of history away at once. */
export const lowerAfterMs = 14 * dayMs;
/** The first of January 1970 was a Thursday. */
const mondayMs = 4 * dayMs;

const month = (ms: number): string => new Date(ms).toISOString().slice(0, 7);
const buckets: Record<keyof Keep, (ms: number) => string> = {
  daily: (ms) => String(Math.floor(ms / dayMs)),
  weekly: (ms) => String(Math.floor((ms - mondayMs) / (7 * dayMs))),
  monthly: month,
};

/**
 * Which backups go. Of each day, week and month that has any the first that arrived stays, of so many of them; and the newest of
 * all. So a host that is not itself any more makes none of before go sooner than time does, however many it sends and whatever
 * times it gives them. Those of one GitLab never make those of another go.
 */
export function toForget(backups: readonly KeptBackup[], keep: Keep): string[] {
  const stays = new Set<string>();
  for (const of of new Set(backups.map((one) => one.of))) {
    const mine = backups.filter((one) => one.of === of).sort((a, b) => a.arrivedMs - b.arrivedMs);
    stays.add((mine.at(-1) as KeptBackup).id);
    for (const [kind, bucketOf] of Object.entries(buckets)) {
      const first = new Map<string, string>();
      for (const { id, arrivedMs } of mine) if (!first.has(bucketOf(arrivedMs))) first.set(bucketOf(arrivedMs), id);
      const count = keep[kind as keyof Keep];
      if (count > 0) for (const id of [...first.values()].slice(-count)) stays.add(id);
    }
  }
  return backups.flatMap(({ id }) => (stays.has(id) ? [] : [id]));
}

/** What holds here, and what the mesh has wanted instead, since when. */
interface KeepNotes {
  keep: Keep;
  lower: { keep: Keep; sinceMs: number } | null;
}

const kinds = ['daily', 'weekly', 'monthly'] as const;
const isSame = (a: Keep, b: Keep): boolean => kinds.every((kind) => a[kind] === b[kind]);
const most = (a: Keep, b: Keep): Keep => ({
  daily: Math.max(a.daily, b.daily),
  weekly: Math.max(a.weekly, b.weekly),
  monthly: Math.max(a.monthly, b.monthly),
});

/** More shall stay: at once. Fewer: once the mesh has wanted that for a fortnight. */
export function keepInForce(notes: KeepNotes | null, wanted: Keep, nowMs: number): KeepNotes {
  if (notes === null) return { keep: wanted, lower: null };
  const keep = most(notes.keep, wanted);
  if (isSame(keep, wanted)) return { keep, lower: null };
  const { lower } = notes;
  // A clock that was ahead must not make it wait for years.
  if (lower === null || !isSame(lower.keep, wanted) || lower.sinceMs > nowMs)
    return { keep, lower: { keep: wanted, sinceMs: nowMs } };
  return nowMs - lower.sinceMs >= lowerAfterMs ? { keep: wanted, lower: null } : { keep, lower };
}
