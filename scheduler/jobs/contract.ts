import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Effect } from '../effects.ts';
import type { LedgerEdit } from '../ledger-edit.ts';

/**
 * What the jobs' half of the core may know of the other half. `ledger` is the newest document of the leader (accepted)
 * while leading, and the committed one otherwise; null before this node is in a mesh.
 */
export interface JobsContext {
  at: number;
  wallMs: number;
  self: NodeId;
  boot: string;
  isLeader: boolean;
  /** True once the leader's re-stamp is committed in its own term: only then may it grant or write to GitLab. */
  mayAct: boolean;
  term: number;
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

export interface JobsStep<S> {
  jobs: S;
  effects: Effect[];
  /** Changes of the ledger that only a leader makes; applied at once to its newest document, in order. */
  edits: LedgerEdit[];
  /** `at` by which it wants to be stepped again; Infinity when only an input can change anything. */
  wakeAt: number;
}
