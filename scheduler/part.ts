import type { NodeId } from '../protocol/ids.ts';
import type { Ledger } from '../protocol/ledger.ts';
import type { Effect } from './effects.ts';
import type { Input } from './inputs.ts';
import type { LedgerEdit } from './ledger-edit.ts';

/**
 * What a part of the core may know of election and ledger, on which all parts stand. `ledger` is the newest document of
 * the leader (accepted) while leading, and the committed one otherwise; null before this node is in a mesh.
 */
export interface PartContext {
  at: number;
  wallMs: number;
  self: NodeId;
  boot: string;
  isLeader: boolean;
  /** True once the leader's re-stamp is committed in its own term: only then may it grant or write to GitLab. */
  mayAct: boolean;
  term: number;
  /** This step began another era, in which terms begin anew (SAFETY L15). */
  isNewEra: boolean;
  leader: NodeId | null;
  /** This node was asked to go. */
  isLeaving: boolean;
  ledger: Ledger | null;
  committed: Ledger | null;
  /** `at` when this node last had proof that the leader leads (own quorum round when leading); -Infinity when never. */
  leaderContactAt(): number;
  /** What is known of another machine: `alive`; `dead` = agent refused; `silent` = machine does not answer; `since` = at. */
  liveness(node: NodeId): { state: 'alive' | 'dead' | 'silent'; since: number };
}

export interface PartStep<S> {
  state: S;
  effects: Effect[];
  /** Changes of the ledger that only a leader makes; applied at once to its newest document, in order. */
  edits: LedgerEdit[];
  /** `at` by which it wants to be stepped again; Infinity when only an input can change anything. */
  wakeAt: number;
}

/**
 * One part, pure: called with every input, after the election has heard it and before it acts. A message that was void
 * comes as a mere `ticked`, and of `persisted` a part hears only its own.
 */
export type Part<S> = (state: S, input: Input, context: PartContext) => PartStep<S>;
