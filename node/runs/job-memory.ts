import type { Measured } from '../../protocol/report.ts';
import { saysMemory } from '../../scheduler/jobs/demand.ts';

/**
 * What a job may use of memory, decided when its place is made. A tag is a promise and a limit; a job without one was
 * placed by the floor, and may use what the machine has free now: a limit of the floor kills every larger build
 * (official-runner F13). Out of memory the kernel takes jobs' processes first.
 */
export function jobMemory(tags: readonly string[], floorBytes: number, measured: Measured | null): number {
  if (measured === null || saysMemory(tags)) return floorBytes;
  const { capacity, usedMemoryBytes, reserveMemoryBytes } = measured;
  return Math.max(floorBytes, capacity.memoryBytes - usedMemoryBytes - reserveMemoryBytes);
}
