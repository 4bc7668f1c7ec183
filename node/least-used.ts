/** What is kept only to save time, by when it was last used. Pure. */
interface Kept {
  /** 0 where it was not measured yet. */
  sizeBytes: number;
  /** Wall ms. */
  usedAt: number;
}

export interface KeptRoom {
  /** All of it together; 0: nothing is kept. */
  limitBytes: number;
  /** Left out: as many as there are. */
  mostCount?: number;
  /** So much must come back for the disk's sake; 0: nothing. */
  shortBytes: number;
  /** So long unused, it goes. */
  ageMs: number;
  wallMs: number;
}

interface Gone<T> {
  one: T;
  why: 'age' | 'limit' | 'room';
}

/**
 * Which of it goes now and why: unused for long, beyond the limit, or for want of room; the longest unused first, of one moment in the
 * order given, but before all others what is beyond the limit alone, which would else drive them out.
 */
export function thinned<T extends Kept>(all: readonly T[], room: KeptRoom): Gone<T>[] {
  const { limitBytes, mostCount = Number.POSITIVE_INFINITY, shortBytes, ageMs, wallMs } = room;
  let heldBytes = all.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  let backBytes = 0;
  let count = all.length;
  const isAlone = ({ sizeBytes }: Kept): number => Number(sizeBytes > limitBytes);
  const gone: Gone<T>[] = [];
  for (const one of [...all].sort((a, b) => isAlone(b) - isAlone(a) || a.usedAt - b.usedAt)) {
    const isBeyond = heldBytes > limitBytes || limitBytes === 0 || count > mostCount;
    const why = wallMs - one.usedAt > ageMs ? 'age' : isBeyond ? 'limit' : backBytes < shortBytes ? 'room' : null;
    if (why === null) continue;
    gone.push({ one, why });
    heldBytes -= one.sizeBytes;
    backBytes += one.sizeBytes;
    count -= 1;
  }
  return gone;
}
