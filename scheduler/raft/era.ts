import type { NodeId } from '../../protocol/ids.ts';
import type { Era, Ledger } from '../../protocol/ledger.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { compareStamps, showStamp, zeroStamp } from '../../protocol/stamp.ts';
import type { InputOf } from '../inputs.ts';
import { note } from '../note.ts';
import { compareEras } from './ledger-order.ts';
import { commit } from './proposal.ts';
import { nothingTold } from './raft-state.ts';
import { nameIn, peerOf, type RaftTurn, setPeer, thisPersist } from './raft-turn.ts';
import { claimRelay, sayHello } from './say-hello.ts';
import { foundRolledBack } from './store-renewal.ts';
import { loseLeader, stepDown } from './term.ts';

/**
 * A recovery without quorum starts a new era (SAFETY L15). Terms, stamps, votes and acknowledgements mean something
 * within one era only, so a message of another one is void. Life of a meeting of two: both say hello -> the one of the
 * newer era answers what is older with its committed ledger -> the other one, which leads, votes and stands no more since
 * it knows, takes that for both of its documents and begins anew in it, as a node that never promised anything there.
 */

/** Why a node that has seen a newer era takes no part in its own any more. */
export const newerEraBegan = 'the mesh was recovered by force: a newer era has begun';

/** True when the message was of another era: it is void, and what it tells of that era is done. */
export function hearOtherEra(turn: RaftTurn, { from, message, era }: InputOf<'heard'>): boolean {
  if (!era) return false;
  const order = compareEras(era, turn.raft.accepted.era);
  if (order < 0) bringOver(turn, from);
  if (order > 0) hearNewer(turn, from, era, message.kind === 'hello' ? message : null);
  return order !== 0;
}

/** One that the new era has left behind gets its ledger, and what it promised in it, if it forgot that. */
function bringOver(turn: RaftTurn, to: NodeId): void {
  const { accepted, committed } = turn.raft;
  // An era that is not on disk yet may never have been.
  if (!committed || compareEras(committed.era, accepted.era) !== 0 || !Object.hasOwn(committed.nodes, to)) return;
  if (claimRelay(turn, to)) sayHello(turn, to, peerOf(turn.raft, to).promised, committed);
}

/** On sight of a newer era this node ceases to take part in its own, and asks for the other's ledger. */
function hearNewer(turn: RaftTurn, from: NodeId, era: Era, hello: MessageOf<'hello'> | null): void {
  const { raft } = turn;
  stepDown(turn, newerEraBegan);
  loseLeader(turn, newerEraBegan, 'new-era');
  raft.campaign = null;
  raft.planned = null;
  raft.waitingPreVotes = [];
  if (raft.newerEra === null || compareEras(era, raft.newerEra) > 0) raft.newerEra = era;
  if (hello?.ledger && compareEras(hello.ledger.era, raft.accepted.era) > 0)
    return adopt(turn, from, hello, hello.ledger);
  if (claimRelay(turn, from)) sayHello(turn, from, null);
}

function adopt(turn: RaftTurn, from: NodeId, hello: MessageOf<'hello'>, ledger: Ledger): void {
  const lost = lossOf(turn, ledger);
  commit(turn, ledger);
  enterEra(turn, ledger, Math.max(hello.term, ledger.stamp.term));
  const how = `the mesh was recovered by force${ledger.recovery ? ` on ${nameIn(ledger, ledger.recovery.by)}` : ''}: this node follows`;
  note(turn, {
    event: 'era-changed',
    level: 'warn',
    because: lost === null ? how : `${how}; ${lost}`,
    fields: { era: ledger.era.counter },
  });
  const { promised } = hello;
  if (promised && promised.store === turn.identity.store) foundRolledBack(turn, from, promised);
}

/** The accepted ledger is of another era from now on; what was promised, told and counted in the old one is void. */
export function enterEra(turn: RaftTurn, ledger: Ledger, term: number): void {
  const { raft, save } = turn;
  raft.term = term;
  raft.votedFor = null;
  raft.accepted = ledger;
  if (raft.newerEra !== null && compareEras(raft.newerEra, ledger.era) <= 0) raft.newerEra = null;
  raft.diskStamp = zeroStamp;
  raft.leaderDisk = null;
  raft.onTheirWay = [];
  raft.eraSeq = thisPersist(turn);
  raft.timerAt = turn.at;
  for (const node in raft.peers) setPeer(turn, node, { ...nothingTold, promised: null });
  save.promise = true;
  save.accepted = true;
}

/** The first ledger of an era is committed by being on the disk of its only voter. */
export function commitEra(turn: RaftTurn): void {
  const { accepted, committed, diskSeq, eraSeq } = turn.raft;
  const isOther = committed === null || compareEras(committed.era, accepted.era) !== 0;
  if (isOther && eraSeq <= diskSeq) commit(turn, accepted);
}

/** What this node's mesh had decided and the new era does not know; null when that is nothing. */
function lossOf({ raft }: RaftTurn, { recovery }: Ledger): string | null {
  const known = raft.committed;
  if (!known || !recovery) return null;
  const { era, stamp } = recovery.from;
  if (compareEras(era, known.era) === 0 && compareStamps(known.stamp, stamp) <= 0) return null;
  const since = compareEras(era, known.era) === 0 ? ` after ${showStamp(stamp)}` : '';
  return `what was decided here${since}, up to ledger ${showStamp(known.stamp)}, is lost: approvals, settings and jobs of that time may have to be done again`;
}
