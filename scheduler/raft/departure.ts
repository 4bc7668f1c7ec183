import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { sameStamp } from '../../protocol/stamp.ts';
import { makeRound } from './leading.ts';
import { petition } from './petitions.ts';
import { allCommitted, configurationCommitted } from './proposal.ts';
import { rankedVoters } from './quorum.ts';
import { stepDown } from './term.ts';
import { timings } from './timings.ts';
import { nameOf, note, peerOf, send, type Turn } from './turn.ts';

/**
 * Going politely. The node asks to be marked as left, the leader takes it out of the voters (of two: gives the tie-break
 * to the one that stays, SAFETY L13), a leader hands over, and then the agent may exit. After `leaveMs` it goes anyway.
 */
export function hearLeaveAsked(turn: Turn): void {
  const { raft } = turn;
  if (raft.leaving) return;
  raft.leaving = { since: turn.at, handedOverAt: null, gone: false };
  raft.petitions = raft.petitions.filter((one) => one.local);
  if (raft.accepted.nodes[turn.self]?.left === false) petition(turn, { kind: 'depart', node: turn.self });
}

/** The best heir: it has the newest ledger and answered just now; the heavier first. */
function heir(turn: Turn): NodeId | null {
  const { raft } = turn;
  const { configuration, stamp, nodes } = raft.accepted;
  const able = rankedVoters(configuration).filter((node) => {
    const { acked, cloned } = peerOf(raft, node);
    if (node === turn.self || cloned || !acked?.stamp || !sameStamp(acked.stamp, stamp)) return false;
    const store = configuration.next?.[node]?.store ?? configuration.voters[node]?.store;
    return acked.store === store && turn.at - acked.sentAt < timings.checkQuorumMs && nodes[node]?.left !== true;
  });
  return able[0] ?? null;
}

/** Asks the heir to stand at once. False when there is none. */
function handOver(turn: Turn, because: string): boolean {
  const { raft } = turn;
  const to = heir(turn);
  if (to === null || !raft.leading) return false;
  raft.leading = { ...raft.leading, handoverAt: turn.at };
  send(turn, to, { kind: 'timeout-now', term: raft.term });
  note(turn, 'handing-over', `${nameOf(turn, to)} shall lead: ${because}`, { to: nameOf(turn, to) });
  return true;
}

/** A leader that votes no more leads on until that is committed, and then goes (SAFETY L6); a sick one asks another. */
export function leadNoMore(turn: Turn): void {
  const { raft } = turn;
  if (!raft.leading || raft.accepted.configuration.next !== null) return;
  if (!configurationCommitted(turn)) return;
  const votes = turn.self in raft.accepted.configuration.voters;
  if (!votes && allCommitted(turn)) {
    // The others must know that it is committed before they are asked to lead by it.
    makeRound(turn);
    handOver(turn, 'this node votes no more');
    return stepDown(turn, 'this node votes no more, so it leads no more');
  }
  if (votes && !raft.healthy && turn.at - raft.leading.handoverAt >= timings.handoverMs)
    handOver(turn, 'this node is not well');
}

/** Whether the mesh is arranged for this node's absence. */
function isArranged(ledger: Ledger, self: NodeId): boolean {
  const { voters, next } = ledger.configuration;
  const me = ledger.nodes[self];
  if (!me || (!(self in voters) && next === null)) return !me || me.left;
  const others = Object.keys(voters).filter((node) => node !== self);
  return me.left && next === null && (others.length === 0 || (others.length === 1 && voters[self]!.weight === 2));
}

export function depart(turn: Turn): void {
  const { raft } = turn;
  const { leaving } = raft;
  if (!leaving || leaving.gone) return;
  const go = (because: string): void => {
    raft.leaving = { ...leaving, gone: true };
    raft.campaign = null;
    if (raft.leading) stepDown(turn, because);
    turn.effects.push({ kind: 'departed', because });
  };
  if (turn.at - leaving.since >= timings.leaveMs)
    return go('nobody took over in time: the mesh will notice that this node is gone');
  if (!raft.committed || !isArranged(raft.committed, turn.self)) return;
  if (!raft.leading) {
    if (
      leaving.handedOverAt !== null &&
      raft.leader === null &&
      turn.at - leaving.handedOverAt < 2 * timings.handoverMs
    )
      return;
    return go('everything is handed over');
  }
  if (leaving.handedOverAt === null && handOver(turn, 'this node leaves')) {
    raft.leaving = { ...leaving, handedOverAt: turn.at };
    return;
  }
  if (leaving.handedOverAt !== null && turn.at - leaving.handedOverAt < timings.handoverMs) return;
  go('nobody else is here to take over: the mesh waits until this node is back');
}
