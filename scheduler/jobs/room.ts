import type { GpuRoom, Measured, Room } from '../../protocol/report.ts';
import { type Demand, demandOf } from './demand.ts';

/** What one run, reservation or grant takes of a machine. `by` says who, in words: "run 4813", "a grant for gpu". */
export interface Claim {
  by: string;
  /** Id of the run or the grant. */
  id: string;
  cpuMillis: number;
  memoryBytes: number;
  diskBytes: number;
  /** Uuids of the GPUs. */
  gpus: readonly string[];
  /** What it has said that it needs of each GPU's memory; 0 or absent: nothing was said, it is its own. */
  vramBytes?: number;
}

interface Claimant {
  by: string;
  id: string;
  gpus: readonly string[];
}

export const claimOf = (from: Claimant & { tags: readonly string[] }, defaultArch: string): Claim =>
  claimWith(demandOf(from.tags, defaultArch), from);

export const claimWith = (demand: Demand, { by, id, gpus }: Claimant): Claim => ({
  by,
  id,
  gpus,
  vramBytes: demand.vramBytes,
  cpuMillis: demand.cpuMillis,
  memoryBytes: demand.memoryBytes,
  diskBytes: demand.diskBytes,
});

const sum = (claims: readonly Claim[], of: (claim: Claim) => number): number =>
  claims.reduce((total, claim) => total + of(claim), 0);

/**
 * A node's room, derived anew from what is measured and what runs (DESIGN §5), never from counters.
 * - CPU: capacity less the demand of own runs. Not the load: others' busy CPU slows jobs, it must not starve them, and
 *   three agents on one box would lock each other out.
 * - Memory: less the reserve, what own runs may take, and what others use. Others' share is what was in use when
 *   nothing of ours ran (`othersBytes`), within the bounds that the measured use leaves.
 * - GPUs: by uuid, whole, to one run; or to those that have said how much of its memory they need (machine-fit.ts).
 */
export function roomOf(measured: Measured, claims: readonly Claim[], othersBytes: number | null): Room {
  const { capacity } = measured;
  const memoryClaimed = sum(claims, (claim) => claim.memoryBytes);
  const others = othersMemory(measured.usedMemoryBytes, memoryClaimed, othersBytes);
  const floor = (n: number): number => Math.max(0, n);
  return {
    cpuMillis: floor(capacity.cpuMillis - sum(claims, (claim) => claim.cpuMillis)),
    memoryBytes: floor(capacity.memoryBytes - measured.reserveMemoryBytes - others - memoryClaimed),
    diskBytes: floor(capacity.diskBytes - measured.usedDiskBytes - sum(claims, (claim) => claim.diskBytes)),
    gpus: gpuRooms(measured, claims),
  };
}

function othersMemory(used: number, claimed: number, whenIdle: number | null): number {
  const least = Math.max(0, used - claimed);
  return Math.min(used, Math.max(least, whenIdle ?? least));
}

function gpuRooms(measured: Measured, claims: readonly Claim[]): GpuRoom[] {
  return measured.capacity.gpus.map((gpu) => {
    const load = measured.gpus.find((other) => other.uuid === gpu.uuid);
    const room: GpuRoom = {
      uuid: gpu.uuid,
      memoryBytes: Math.max(0, gpu.memoryBytes - (load?.usedBytes ?? 0)),
      busyPercent: load?.busyPercent ?? 0,
      foreign: load?.foreign ?? false,
      ...(load?.usedBy === undefined ? {} : { usedBy: load.usedBy }),
      ...(load?.problem === undefined ? {} : { problem: load.problem }),
    };
    return heldBy(room, claims);
  });
}

/** A GPU's room with claims upon it that it does not count yet. */
function heldBy(gpu: GpuRoom, claims: readonly Claim[]): GpuRoom {
  const holders = claims.filter((claim) => claim.gpus.includes(gpu.uuid));
  const [first] = holders;
  if (first === undefined) return gpu;
  const { shared, ...room } = { ...gpu, held: gpu.held ?? first.id };
  const haveSaid = holders.every(({ vramBytes = 0 }) => vramBytes > 0);
  if (!haveSaid || (gpu.held !== undefined && shared === undefined)) return room;
  const bytes = (shared?.bytes ?? 0) + sum(holders, ({ vramBytes = 0 }) => vramBytes);
  return { ...room, shared: { runs: (shared?.runs ?? 0) + holders.length, bytes } };
}

/** What is left of one figure of a room. */
export const less = (left: number, taken: number): number => Math.max(0, left - taken);

/** Takes claims off the room in a report that does not count them yet. */
export function lessClaims(room: Room, claims: readonly Claim[]): Room {
  if (claims.length === 0) return room;
  let { cpuMillis, memoryBytes, diskBytes, gpus } = room;
  let takesGpus = false;
  for (const claim of claims) {
    cpuMillis -= claim.cpuMillis;
    memoryBytes -= claim.memoryBytes;
    diskBytes -= claim.diskBytes;
    takesGpus ||= claim.gpus.length > 0;
  }
  if (takesGpus) gpus = gpus.map((gpu) => heldBy(gpu, claims));
  [cpuMillis, memoryBytes, diskBytes] = [Math.max(0, cpuMillis), Math.max(0, memoryBytes), Math.max(0, diskBytes)];
  return { ...room, cpuMillis, memoryBytes, diskBytes, gpus };
}
