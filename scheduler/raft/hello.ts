import type { NodeId } from '../../protocol/ids.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { compareStamps, showStamp } from '../../protocol/stamp.ts';
import { nameOf, note, peerOf, send, setPeer, type Turn } from './turn.ts';

/**
 * The first word on every stream: who I am (store, boot), how far I am, and, to a store that has forgotten it, what it
 * promised (SAFETY L9).
 */
export function sayHello(turn: Turn, to: NodeId, promised: MessageOf<'hello'>['promised']): void {
  const { raft, identity } = turn;
  const { boot, store, version } = identity;
  send(turn, to, { kind: 'hello', boot, store, term: raft.term, stamp: raft.accepted.stamp, promised, version });
}

/** So many returns to an earlier boot say that two machines share one identity. */
const cloneReturns = 6;

export function hearConnected(turn: Turn, node: NodeId): void {
  setPeer(turn, node, { connected: true, connectedAt: turn.at, ledgerSent: null });
  sayHello(turn, node, null);
  if (turn.raft.leading) turn.raft.leading = { ...turn.raft.leading, nextRoundAt: turn.at };
}

export function hearHello(turn: Turn, from: NodeId, message: MessageOf<'hello'>): void {
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
  });
  if (cloned && !before.cloned) {
    const because = `two machines call themselves ${nameOf(turn, from)}: its disk was copied; its votes do not count until one of them is forgotten`;
    note(turn, 'node-cloned', because, { node: from }, 'error');
  }
  const { promised } = before;
  if (promised?.store === message.store)
    if (promised.term > message.term || compareStamps(promised.stamp, message.stamp) > 0) {
      setPeer(turn, from, { acked: null, ledgerSent: null });
      sayHello(turn, from, { term: promised.term, stamp: promised.stamp });
    }
  if (message.promised) rememberOwnPromise(turn, from, message.promised);
}

/** Behind its own promise a store has forgotten something: it must not vote again under this id (SAFETY L9). */
function rememberOwnPromise(turn: Turn, from: NodeId, promised: NonNullable<MessageOf<'hello'>['promised']>): void {
  const { raft } = turn;
  if (raft.rolledBack !== null) return;
  if (promised.term <= raft.term && compareStamps(promised.stamp, raft.accepted.stamp) <= 0) return;
  raft.rolledBack = `this store was rolled back: ${nameOf(turn, from)} has its promise of term ${promised.term}, ledger ${showStamp(promised.stamp)}, and it knows only term ${raft.term}, ledger ${showStamp(raft.accepted.stamp)}`;
  raft.campaign = null;
  raft.planned = null;
  const because = `${raft.rolledBack}; it does not vote until its store folder is moved away and the agent is started again`;
  note(turn, 'store-rolled-back', because, { term: promised.term }, 'error');
}
