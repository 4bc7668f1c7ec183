import type { NodeId } from '../../protocol/ids.ts';
import type { Era } from '../../protocol/ledger.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import type { Stamp } from '../../protocol/stamp.ts';
import type { InputOf } from '../inputs.ts';
import { note } from '../note.ts';
import { rankedVoters } from './quorum.ts';
import { raftTimings } from './raft-timings.ts';
import { nameOf, peerOf, type RaftTurn, setPeer } from './raft-turn.ts';

/**
 * What no honest node could say (SAFETY L17). Raft believes its members; these bounds keep one broken or taken-over
 * member from ending elections for good: numbers only ever rise, so a number near the end of all numbers would stay.
 */
export const farAhead = {
  /** An election raises the term by one, and only after pre-votes: this is days of nothing but elections. */
  term: 2 ** 20,
  /** Changes of the ledger: a machine may have been away for years. */
  version: 2 ** 32,
  /** Recoveries by force, each by a person. */
  era: 2 ** 20,
} as const;

/** True when the message is void: it was said in the log, and the link to its sender ends. */
export function refuseImpossible(turn: RaftTurn, { from, message, era }: InputOf<'heard'>): boolean {
  const because = whyImpossible(turn, message, era ?? null);
  if (because === null) return false;
  refuse(turn, from, message.kind, because);
  return true;
}

function refuse(turn: RaftTurn, from: NodeId, kind: string, because: string): void {
  const sentence = `${nameOf(turn, from)} sent what no honest machine could (${kind}): ${because}`;
  note(turn, {
    event: 'message-refused',
    level: 'error',
    because: sentence,
    fields: { node: from, name: nameOf(turn, from), kind },
  });
  turn.effects.push({ kind: 'cut-link', node: from, because: sentence });
}

function whyImpossible({ raft }: RaftTurn, message: PeerMessage, era: Era | null): string | null {
  const { term, accepted } = raft;
  if (era !== null && era.counter > accepted.era.counter + farAhead.era)
    return `era ${era.counter}, and this mesh is in era ${accepted.era.counter}`;
  const highest = Math.max('term' in message ? message.term : 0, highestOf(message, 'term'));
  if (highest > term + farAhead.term) return `term ${highest}, and this mesh is in term ${term}`;
  const newest = highestOf(message, 'version');
  if (newest > accepted.stamp.version + farAhead.version)
    return `version ${newest} of the ledger, and this machine knows version ${accepted.stamp.version}`;
  return null;
}

/** The highest of all numbers of a message's stamps and promises that may become this node's own; 0 without any. */
function highestOf(message: PeerMessage, part: keyof Stamp): number {
  const stamp = 'stamp' in message ? (message.stamp?.[part] ?? 0) : 0;
  if (message.kind === 'append') return Math.max(stamp, message.committed[part], message.ledger?.stamp[part] ?? 0);
  if (message.kind !== 'hello') return stamp;
  const { promised, ledger } = message;
  const promisedTerm = part === 'term' ? (promised?.term ?? 0) : 0;
  return Math.max(stamp, promised?.stamp[part] ?? 0, promisedTerm, ledger?.stamp[part] ?? 0);
}

/** Whether a node votes in either document of this node's. A newer configuration than both may know better (L7). */
function isListed({ raft }: RaftTurn, node: NodeId): boolean {
  if (rankedVoters(raft.accepted.configuration).includes(node)) return true;
  return raft.committed !== null && rankedVoters(raft.committed.configuration).includes(node);
}

/**
 * Whether a node that this one does not know for a voter may make its term rise by asking for a vote. It may be a voter of
 * a newer configuration, so it is not refused for good (SAFETY L7): it first asks for this node's pre-vote, which it gets
 * when this node hears no leader either. Who has not got it, and whom the others need not wait for, raises nothing here.
 */
export const mayStand = (turn: RaftTurn, node: NodeId, term: number): boolean =>
  term <= turn.raft.term || isListed(turn, node) || term <= peerOf(turn.raft, node).preVoted;

/**
 * Whether its word that a higher term has begun counts now. Of one that does not vote once a minute: it may have seen an
 * election that this node did not, and would stay behind for ever; more often it would only disturb.
 */
export function mayTellTerm(turn: RaftTurn, node: NodeId): boolean {
  if (isListed(turn, node)) return true;
  if (turn.at - peerOf(turn.raft, node).higherTermHeardAt < raftTimings.tellTermMs) return false;
  setPeer(turn, node, { higherTermHeardAt: turn.at });
  return true;
}
