/** Which caches of jobs go, by when they were last used. Pure. */
export interface CacheFacts {
  file: string;
  sizeBytes: number;
  /** Wall ms at which it was kept, or brought into a job, last. */
  usedAt: number;
}

interface Room {
  /** All of them together. */
  limitBytes: number;
  /** So much must come back for the disk's sake; 0: nothing. */
  shortBytes: number;
  /** So long unused, one goes. */
  ageMs: number;
  wallMs: number;
}

/** The longest unused first; of the same moment, by name, so that it is always the same ones. */
export function outgrown<T extends CacheFacts>(caches: readonly T[], room: Room): T[] {
  const { limitBytes, shortBytes, ageMs, wallMs } = room;
  const sorted = [...caches].sort((a, b) => a.usedAt - b.usedAt || (a.file < b.file ? -1 : 1));
  let heldBytes = sorted.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  let backBytes = 0;
  const gone: T[] = [];
  for (const cache of sorted) {
    const isOld = wallMs - cache.usedAt > ageMs;
    if (!isOld && heldBytes <= limitBytes && backBytes >= shortBytes) break;
    gone.push(cache);
    heldBytes -= cache.sizeBytes;
    backBytes += cache.sizeBytes;
  }
  return gone;
}
