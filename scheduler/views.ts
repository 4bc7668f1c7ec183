import type { NodeId, StoreId } from '../protocol/ids.ts';
import type { Ledger } from '../protocol/ledger.ts';
import { reportPatienceMs } from './jobs/report-pace.ts';
import { ownContactAt } from './raft/own-contact.ts';
import { raftTimings } from './raft/raft-timings.ts';
import { nameIn, peerOf } from './raft/raft-turn.ts';
import { planRecovery } from './raft/recovery.ts';
import { hasUnseen } from './recovered.ts';
import type { CoreState } from './state.ts';

/** What the shell may ask of a state; everything else in it is the core's own. */

export const committedLedger = (state: CoreState): Ledger | null => state.raft.committed;

export const leaderOf = (state: CoreState): { node: NodeId; term: number; sinceAt: number } | null => state.raft.leader;

/**
 * `at` when this node last had proof that the leader leads (SAFETY J1); -Infinity when never. A leader: when it sent the
 * last round that a quorum answered (L12), also when it has just stepped down: that round was a proof then, and is no older.
 */
export function leaderContactAt(state: Pick<CoreState, 'identity' | 'raft'>): number {
  const { raft, identity } = state;
  return raft.leading ? ownContactAt(raft, identity.node, identity.store) : raft.contactAt;
}

/**
 * `at` of the last word of a leader by which a run may go on here (SAFETY J1). After a recovery by force there is none
 * until all of the former era have come over: one of them may lead there, and give the run up at GitLab.
 */
export const runContactAt = (state: CoreState): number =>
  isRecovering(state) ? Number.NEGATIVE_INFINITY : leaderContactAt(state);

/** The mesh was recovered by force, and not every machine of the former era is known to have come over. */
export const isRecovering = ({ raft: { accepted, committed } }: CoreState): boolean =>
  hasUnseen(accepted) || (committed !== null && hasUnseen(committed));

/** What `recover --force` would ask a person at `at`, by names; `refused`: why it would not go on. */
export function recoveryOf(state: CoreState, at: number): { refused: string | null; off: string[] } {
  const { refused, off } = planRecovery(state, at);
  return { refused, off: off.map((node) => nameIn(state.raft.accepted, node)) };
}

/** How often the leader has changed within the last hour, as this node heard it. */
export const leaderChangesOf = ({ raft }: CoreState, at: number): number =>
  raft.leaderChanges.filter((one) => at - one < raftTimings.leaderChangesMs).length;

/** The store that a node last said it has; null when that is not known. */
export const storeOf = ({ raft, identity }: CoreState, node: NodeId): StoreId | null =>
  node === identity.node ? identity.store : peerOf(raft, node).store;

interface Liveness {
  state: 'alive' | 'dead' | 'silent';
  /** ms of boot time: since when it is dead or silent; when alive, its last sign of life. */
  since: number;
}

/**
 * What this node knows of another machine at `at`: `dead` = its agent refused; `silent` = a look at it found nothing
 * there, and nothing was heard since, or nothing came from it for a second (longer when this node does not lead: only
 * reports come then). The leader counts from when the answered round was sent.
 */
export function livenessOf(state: Pick<CoreState, 'identity' | 'raft'>, node: NodeId, at: number): Liveness {
  const { raft, identity } = state;
  if (node === identity.node) return { state: 'alive', since: at };
  const { acked, heardAt: spokeAt, reportAt, probe, connected, connectedAt } = peerOf(raft, node);
  const heardAt = Math.max(spokeAt, reportAt);
  const { leading } = raft;
  const isMyLeader = raft.leader?.node === node;
  // One that has just come back has not had the time to answer a round.
  const opened = connected ? connectedAt : Number.NEGATIVE_INFINITY;
  const lastSign = leading
    ? Math.max(acked?.sentAt ?? Number.NEGATIVE_INFINITY, leading.sinceAt, raft.timerAt, opened)
    : Math.max(heardAt, isMyLeader ? raft.contactAt : heardAt);
  const isBelied = probe?.result === 'silent' && probe.at > Math.max(heardAt, acked?.sentAt ?? heardAt);
  if (probe?.result === 'refused' && probe.at > Math.max(spokeAt, acked?.sentAt ?? spokeAt) && !connected)
    return { state: 'dead', since: probe.since };
  const isHeardOften = leading || isMyLeader;
  const patience = isHeardOften ? raftTimings.checkQuorumMs : reportPatienceMs(Object.keys(raft.accepted.nodes).length);
  return { state: at - lastSign <= patience && !isBelied ? 'alive' : 'silent', since: lastSign };
}

/**
 * Who must be able to speak with each other: all nodes, and voters that were forgotten, until they are out of the
 * configuration, milliseconds later. Without them there may be no quorum to take them out: a mesh that forgot its leader
 * would be stuck for good.
 */
export function linkedNodes({ nodes, configuration }: Ledger): NodeId[] {
  const { voters, next } = configuration;
  return [...new Set([nodes, voters, next ?? {}].flatMap((part) => Object.keys(part)))];
}
