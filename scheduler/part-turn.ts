import type { NodeId } from '../protocol/ids.ts';
import type { PeerMessage } from '../protocol/messages.ts';
import type { Effect } from './effects.ts';
import type { LedgerEdit } from './ledger-edit.ts';
import type { PartContext } from './part.ts';

/** One step of a part under way: what it reads, and what it has decided so far beside its own state. Lives for one call of its step. */
export interface PartTurn {
  readonly context: PartContext;
  readonly at: number;
  readonly effects: Effect[];
  readonly edits: LedgerEdit[];
  /** Messages from this node to itself: the leader may grant to its own machine, and the host may lead. */
  readonly inbox: PeerMessage[];
  wakeAt: number;
}

/** Asks to be stepped again at `at`, if nothing earlier does. */
export function wake(turn: PartTurn, at: number): void {
  if (at > turn.at && at < turn.wakeAt) turn.wakeAt = at;
}

export function tell(turn: PartTurn, to: NodeId, message: PeerMessage): void {
  if (to === turn.context.self) turn.inbox.push(message);
  else turn.effects.push({ kind: 'send', to, message });
}
