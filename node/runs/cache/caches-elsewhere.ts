/** One that another machine of the mesh keeps. */
export interface FoundElsewhere {
  /** The machine, by name. */
  node: string;
  /** Wall ms, by the clock of the machine that kept it first. */
  savedAt: number;
  sizeBytes: number;
  /** All of its bytes, into a file that is not there yet. Throws in words. */
  fetch(file: string, signal: AbortSignal): Promise<void>;
}

/** Caches of the mesh's other machines, by the sums that their folders and files are called. */
export interface CachesElsewhere {
  /** The newest that was kept after `than` (wall ms); null: none is known within moments. Never throws. */
  newest(owner: string, key: string, than: number, signal: AbortSignal): Promise<FoundElsewhere | null>;
}

/** A clock that is so far ahead is wrong: what it dates would be the newest for ever. */
const mostAheadMs = 600_000;

/** Of what machines answered, the newest; of the same moment, the one of the least node id. Pure. */
export function newestOf<T extends { node: string; savedAt: number }>(
  found: readonly T[],
  { than, wallMs }: { than: number; wallMs: number },
): T | null {
  const good = found.filter(({ savedAt }) => savedAt > than && savedAt <= wallMs + mostAheadMs);
  return good.sort((a, b) => b.savedAt - a.savedAt || (a.node < b.node ? -1 : 1))[0] ?? null;
}
