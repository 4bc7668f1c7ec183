import { type KeptRoom, thinned } from '../../least-used.ts';

export interface CacheFacts {
  file: string;
  sizeBytes: number;
  /** Wall ms at which it was kept, or brought into a job, last. */
  usedAt: number;
}

/** Which caches of jobs go; of the same moment, by name, so that it is always the same ones. Pure. */
export const outgrown = <T extends CacheFacts>(caches: readonly T[], room: KeptRoom): T[] =>
  thinned(
    [...caches].sort((a, b) => (a.file < b.file ? -1 : 1)),
    room,
  ).map(({ one }) => one);
