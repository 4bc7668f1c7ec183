import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { compareStamps } from '../../protocol/stamp.ts';
import { note } from '../note.ts';
import { isNews } from './ledger-order.ts';
import { commit } from './proposal.ts';
import { nameOf, peerOf, type RaftTurn, setPeer } from './raft-turn.ts';
import { relay, sayHello } from './say-hello.ts';
import { foundRolledBack, hasForgotten } from './store-renewal.ts';
import { raiseTerm } from './term.ts';

/** What another member has committed is committed, whoever brings it; it is taken as a late append would be. */
function takeCommitted(turn: RaftTurn, ledger: Ledger): void {
  const { raft } = turn;
  if (raft.committed && !isNews(raft.committed, ledger)) return;
  if (isNews(raft.accepted, ledger)) {
    raiseTerm(turn, ledger.stamp.term, `term ${ledger.stamp.term} was seen`);
    raft.accepted = ledger;
    turn.save.accepted = true;
    turn.save.promise = true;
  }
  commit(turn, ledger);
}

/** So many returns to an earlier boot say that two machines share one identity. */
const cloneReturns = 6;

export function hearConnected(turn: RaftTurn, node: NodeId): void {
  setPeer(turn, node, {
    connected: true,
    connectedAt: turn.at,
    ledgerSent: null,
    diskSent: null,
    // Who answers now may be of another version; its hello comes behind this.
    commitsAlone: false,
    relayedAt: Number.NEGATIVE_INFINITY,
  });
  // Said first of all: a store that was rolled back would find no fault with itself once it has a ledger of today.
  sayHello(turn, node, peerOf(turn.raft, node).promised);
  if (turn.raft.leading) turn.raft.leading = { ...turn.raft.leading, hasNews: true };
}

export function hearHello(turn: RaftTurn, from: NodeId, message: MessageOf<'hello'>): void {
  const before = peerOf(turn.raft, from);
  const moved = before.boot !== null && before.boot !== message.boot;
  // One machine never returns to an earlier boot, but an old word of it may come late: many returns are two machines.
  const returns = before.returns + (moved && before.formerBoot === message.boot ? 1 : 0);
  const cloned = returns >= cloneReturns;
  setPeer(turn, from, {
    store: message.store,
    boot: message.boot,
    formerBoot: moved ? before.boot : before.formerBoot,
    returns,
    cloned,
    commitsAlone: message.commitsAlone === true,
  });
  if (cloned && !before.cloned) {
    const because = `two machines call themselves ${nameOf(turn, from)}: its disk was copied; its votes do not count until one of them is forgotten`;
    note(turn, { event: 'node-cloned', level: 'error', because, fields: { node: from } });
  }
  const { promised } = before;
  if (promised?.store === message.store)
    if (promised.term > message.term || compareStamps(promised.stamp, message.stamp) > 0) {
      setPeer(turn, from, { acked: null, ledgerSent: null });
      sayHello(turn, from, promised);
    }
  if (message.promised && hasForgotten(turn, message.promised)) foundRolledBack(turn, from, message.promised);
  if (message.ledger) takeCommitted(turn, message.ledger);
  relay(turn, from, message.stamp);
}
