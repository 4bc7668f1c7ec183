import type { NodeId } from '../../protocol/ids.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import type { Effect } from '../effects.ts';
import type { LedgerEdit } from '../ledger-edit.ts';
import type { PartContext } from '../part.ts';
import type { HostingState } from './hosting-state.ts';

/** One step of this part under way, as in jobs/jobs-turn.ts: `hosting` is a shallow copy whose fields are replaced. */
export interface HostingTurn {
  readonly context: PartContext;
  readonly at: number;
  readonly hosting: { -readonly [K in keyof HostingState]: HostingState[K] };
  readonly effects: Effect[];
  readonly edits: LedgerEdit[];
  /** From this node to itself: the host may lead. */
  readonly inbox: PeerMessage[];
  wakeAt: number;
}

/** Asks to be stepped again at `at`, if nothing earlier does. */
export function wake(turn: HostingTurn, at: number): void {
  if (at > turn.at && at < turn.wakeAt) turn.wakeAt = at;
}

export function tell(turn: HostingTurn, to: NodeId, message: PeerMessage): void {
  if (to === turn.context.self) turn.inbox.push(message);
  else turn.effects.push({ kind: 'send', to, message });
}
