import type { NodeId } from '../../protocol/ids.ts';
import { sameStamp } from '../../protocol/stamp.ts';
import { note } from '../note.ts';
import { isArranged } from './departure.ts';
import { makeRound } from './leading.ts';
import { allCommitted, configurationCommitted } from './proposal.ts';
import { rankedVoters } from './quorum.ts';
import type { Handover } from './raft-state.ts';
import { raftTimings } from './raft-timings.ts';
import { nameOf, peerOf, type RaftTurn, send } from './raft-turn.ts';
import { stepDown } from './term.ts';

/**
 * Moving leadership on purpose. Life of it: a reason -> the leader takes no change any more (who asked keeps it and asks
 * the next leader, SAFETY L16) -> all is committed and an heir has acknowledged it -> the commit mark, then `timeout-now`
 * -> the heir stands, and this node follows. It leads on until then. Nothing ever moves leadership back.
 */

/** Null: it leads on. `isForced`: it leaves leadership even if nobody better is there. */
function reason(turn: RaftTurn): { because: string; isForced: boolean } | null {
  const { raft, self } = turn;
  const { configuration, nodes } = raft.accepted;
  if (configuration.next !== null || !configurationCommitted(turn)) return null;
  const isForced = !(self in configuration.voters);
  const { leaving, committed } = raft;
  if (leaving && !leaving.gone && committed && isArranged(committed, self))
    return { because: 'this node leaves', isForced: true };
  if (nodes[self]?.drained) return { because: 'this node is drained', isForced };
  if (isForced) return { because: 'this node votes no more', isForced };
  if (raft.leading?.unwanted === 'asked') return { because: 'this node is to be removed', isForced: true };
  if (!raft.healthy) return { because: 'this node is not well', isForced: false };
  return null;
}

/**
 * Who could lead instead, best first: well before unwell, drained ones last, the one that was asked in vain after the
 * others, then the heavier. All of them vote, are here and are not leaving.
 */
function transferTargets(turn: RaftTurn, isForced: boolean): NodeId[] {
  const { raft } = turn;
  const { configuration, nodes } = raft.accepted;
  const able = rankedVoters(configuration).filter((node) => {
    const { acked, cloned, well } = peerOf(raft, node);
    if (node === turn.self || cloned || !acked?.stamp || nodes[node]?.left !== false) return false;
    if (!isForced && (!well || nodes[node].drained)) return false;
    return acked.store === configuration.voters[node]?.store && turn.at - acked.sentAt < raftTimings.checkQuorumMs;
  });
  return able.sort((a, b) => penalty(turn, a) - penalty(turn, b));
}

function penalty({ raft }: RaftTurn, node: NodeId): number {
  const isDrained = raft.accepted.nodes[node]?.drained ?? false;
  const wasAsked = raft.leading?.handoverTo === node;
  return (peerOf(raft, node).well ? 0 : 4) + (isDrained ? 2 : 0) + (wasAsked ? 1 : 0);
}

/** A leader that votes no more leads on until that is committed, and then goes (SAFETY L6); a sick one asks another. */
export function transferIfDue(turn: RaftTurn): void {
  const { raft } = turn;
  if (!raft.leading) return;
  const why = reason(turn);
  const { handover } = raft.leading;
  if (why === null) {
    if (handover) raft.leading = { ...raft.leading, handover: null };
    return;
  }
  if (handover !== null) return goOn(turn, handover, why.isForced);
  if (!why.isForced && turn.at - raft.leading.handoverAt < raftTimings.handoverPauseMs) return;
  if (transferTargets(turn, why.isForced).length > 0) {
    const begun = { since: turn.at, because: why.because, to: null, askedAt: Number.POSITIVE_INFINITY };
    raft.leading = { ...raft.leading, handover: begun };
    goOn(turn, begun, why.isForced);
  } else if (!votes(turn) && allCommitted(turn)) {
    tellCommitted(turn);
    stepDown(turn, `${why.because}, so it leads no more`);
  } else triedInVain(turn);
}

/** Whoever wants it removed is served by itself then. */
function triedInVain({ raft }: RaftTurn): void {
  if (raft.leading?.unwanted === 'asked') raft.leading = { ...raft.leading, unwanted: 'tried' };
}

const votes = ({ raft, self }: RaftTurn): boolean => self in raft.accepted.configuration.voters;

function goOn(turn: RaftTurn, handover: Handover, isForced: boolean): void {
  const { raft } = turn;
  if (!raft.leading) return;
  const { stamp } = raft.accepted;
  if (turn.at - (handover.to === null ? handover.since : handover.askedAt) >= raftTimings.handoverMs) {
    // Not voting it has no say any more: the others elect without being asked.
    if (!votes(turn) && allCommitted(turn)) return stepDown(turn, `${handover.because}, so it leads no more`);
    raft.leading = { ...raft.leading, handover: null, handoverAt: turn.at, handoverTo: handover.to };
    triedInVain(turn);
    if (raft.leaving) raft.leaving = { ...raft.leaving, handedOverAt: null };
    return;
  }
  if (handover.to !== null || !allCommitted(turn)) return;
  const able = transferTargets(turn, isForced);
  const to = able.find((node) => sameStamp(peerOf(raft, node).acked!.stamp!, stamp));
  if (to === undefined) return;
  // A better one that lacks the newest ledger gets half of the time to have it.
  if (penalty(turn, to) > penalty(turn, able[0]!) && 2 * (turn.at - handover.since) < raftTimings.handoverMs) return;
  raft.leading = { ...raft.leading, handover: { ...handover, to, askedAt: turn.at } };
  if (raft.leaving) raft.leaving = { ...raft.leaving, handedOverAt: turn.at };
  tellCommitted(turn);
  send(turn, to, { kind: 'timeout-now', term: raft.term });
  const name = nameOf(turn, to);
  // `closedMs`: for how long it has taken no changes, so that the heir could have them all.
  note(turn, {
    event: 'handing-over',
    because: `${name} shall lead: ${handover.because}`,
    fields: {
      to: name,
      closedMs: turn.at - handover.since,
    },
  });
}

/** The others must know that it is committed before they are asked to lead by it. */
function tellCommitted(turn: RaftTurn): void {
  const { raft } = turn;
  if (!raft.leading) return;
  raft.leading = { ...raft.leading, nextRoundAt: turn.at };
  makeRound(turn);
}

/** `at` by which a hand-over under way has waited long enough. */
export function nextHandoverAt({ raft }: RaftTurn): number {
  const { handover } = raft.leading ?? {};
  if (!handover) return Number.POSITIVE_INFINITY;
  return (handover.to === null ? handover.since : handover.askedAt) + raftTimings.handoverMs;
}
