import type { Build } from './machine.ts';

export interface SimClaim {
  demand: { cpus: number; memoryGiB: number; gpus: number };
  gpus: readonly string[];
}

/** What the tags used here demand, written again by hand: what checks must not be what is checked. */
export function demandOfTags(tags: readonly string[]): SimClaim['demand'] {
  return {
    cpus: tags.includes('cpu-2') ? 2 : 1,
    memoryGiB: tags.includes('mem-8g') ? 8 : 1,
    gpus: tags.includes('gpu') ? 1 : 0,
  };
}

/** Says by how much the claims are more than the machine has; null when they fit. */
export function excessOf(build: Build, claims: readonly SimClaim[]): string | null {
  const cpus = claims.reduce((sum, claim) => sum + claim.demand.cpus, 0);
  if (cpus > build.cpus) return `${cpus} CPUs promised of ${build.cpus}`;
  const memory = claims.reduce((sum, claim) => sum + claim.demand.memoryGiB, 0);
  if (memory > build.memoryGiB) return `${memory} GiB promised of ${build.memoryGiB}`;
  const held = claims.flatMap((claim) => claim.gpus);
  if (new Set(held).size < held.length) return `a GPU is promised twice: ${held}`;
  const missing = claims.find((claim) => claim.demand.gpus > claim.gpus.length);
  return missing ? `a run that needs ${missing.demand.gpus} GPU has ${missing.gpus.length}` : null;
}
