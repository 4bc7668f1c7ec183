import type { NodeRow, StatusSnapshot } from '../protocol/status.ts';
import { plural } from '../scheduler/phrases.ts';
import { showDuration } from './settings/quantities.ts';

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

/** What of a machine is not free, by its own word; null of one that says nothing. */
export function machineUse({
  capacity,
  room,
}: Pick<NodeRow, 'capacity' | 'room'>): { cpuPercent: number; memoryBytes: number; ofBytes: number } | null {
  if (!capacity || !room) return null;
  const busy = capacity.cpuMillis > 0 ? (100 * (capacity.cpuMillis - room.cpuMillis)) / capacity.cpuMillis : 0;
  return {
    cpuPercent: Math.min(100, Math.max(0, Math.round(busy))),
    memoryBytes: Math.max(0, capacity.memoryBytes - room.memoryBytes),
    ofBytes: capacity.memoryBytes,
  };
}
