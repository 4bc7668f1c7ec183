import type { NodeRow, StatusSnapshot } from '../../protocol/status.ts';
import { plural } from '../../scheduler/phrases.ts';
import { showDuration } from '../settings/quantities.ts';

/** The mesh in one line: `3 nodes, leader kang (term 12, 3 h), can lose 1`. */
export function meshWords({
  leader,
  nodes,
  quorum,
  at,
}: Pick<StatusSnapshot, 'leader' | 'nodes' | 'quorum' | 'at'>): string {
  const approved = nodes.filter((node) => node.state !== 'waiting').length;
  const since = leader && showDuration(Date.parse(at) - Date.parse(leader.since));
  const led = leader ? `leader ${leader.node} (term ${leader.term}, ${since})` : 'no leader';
  return `${plural(approved, 'node')}, ${led}, can lose ${quorum.canLose}`;
}

/** What anything uses of a machine, by its own word; of an agent that does not tell, what jobs cannot have. Null of one that says nothing. */
export const usedOf = ({
  used,
  capacity,
  room,
}: Pick<NodeRow, 'used' | 'capacity' | 'room'>): { cpuMillis: number; memoryBytes: number } | null =>
  used ??
  (capacity && room
    ? { cpuMillis: capacity.cpuMillis - room.cpuMillis, memoryBytes: capacity.memoryBytes - room.memoryBytes }
    : null);

/** Of the disk on which a machine has its jobs. Null of one that says nothing of it. */
export const diskUse = ({
  used,
  capacity,
}: Pick<NodeRow, 'used' | 'capacity'>): { diskBytes: number; ofBytes: number } | null =>
  used?.diskBytes === undefined || !capacity || capacity.diskBytes <= 0
    ? null
    : { diskBytes: Math.min(used.diskBytes, capacity.diskBytes), ofBytes: capacity.diskBytes };

/** The same as `status` and the page show it. */
export function machineUse(
  node: Pick<NodeRow, 'used' | 'capacity' | 'room'>,
): { cpuPercent: number; memoryBytes: number; ofBytes: number } | null {
  const [used, { capacity }] = [usedOf(node), node];
  if (!capacity || !used) return null;
  const busy = capacity.cpuMillis > 0 ? (100 * used.cpuMillis) / capacity.cpuMillis : 0;
  return {
    cpuPercent: Math.min(100, Math.max(0, Math.round(busy))),
    memoryBytes: Math.max(0, used.memoryBytes),
    ofBytes: capacity.memoryBytes,
  };
}
