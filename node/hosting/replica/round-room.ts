import type { Pressure } from '../../../scheduler/hosting/copies/thinning.ts';
import type { Disk } from '../../disk-use.ts';

/** Shares of a place that are to stay free: history goes for room before the living data feel it. */
const shares = { tight: 0.1, full: 0.03 } as const;

/**
 * How much history is given up for room. One step more each time that is asked, never all at once: what was deleted is free
 * a while later only. Back to none where there is room again.
 */
export function pressureAt({ freeBytes, totalBytes }: Disk, before: Pressure): Pressure {
  if (freeBytes >= shares.tight * totalBytes) return 0;
  return Math.min(3, before + 1) as Pressure;
}

/** Nothing more is taken in: what lies there already stays readable. */
export const isFull = ({ freeBytes, totalBytes }: Disk): boolean => freeBytes < shares.full * totalBytes;
