import type { ChangeOutcome } from '../protocol/changes.ts';
import type { NodeId, StoreId } from '../protocol/ids.ts';
import type { Era, Ledger, Run } from '../protocol/ledger.ts';
import type { PeerMessage } from '../protocol/messages.ts';
import type { Report } from '../protocol/report.ts';
import type { Sealed } from '../protocol/sealed.ts';

/**
 * What is on disk. `promise` is the term and the vote in it; `accepted` and `committed` are the two documents of SAFETY
 * L1; `asking` lists the grants of this node whose POST may have gone out (SAFETY J3); `store` is the id that this store
 * goes by since it was found to have been rolled back, null for the one it was created with (L9).
 */
export interface Durable {
  promise: { term: number; votedFor: NodeId | null };
  accepted: Ledger | null;
  committed: Ledger | null;
  asking: { grant: string; class: string; runner: number | null; wallMs: number }[];
  store: StoreId | null;
}
/** Whose persists they are, and the core's parts: each numbers its own. */
export type PartKey = 'raft' | 'jobs';

export type Write = { [K in keyof Durable]: { key: K; value: Durable[K] } }[keyof Durable];

/**
 * What the shell shall do, in the imperative. Effects return nothing; an answer comes back as an input.
 * `persist`: write all `writes` in one batch with fsync, in order with earlier ones, then do `then`, then feed
 * `persisted {part, seq}`. What must be on disk before it is said stands in `then`.
 */
export type Effect =
  | { kind: 'persist'; part: PartKey; seq: number; writes: Write[]; then: Effect[] }
  /** `era`: the one that it was made in, which its envelope must say, however late it goes out (SAFETY L15); `step` sets it. */
  | { kind: 'send'; to: NodeId; message: PeerMessage; era?: Era }
  | { kind: 'gossip'; report: Report }
  | { kind: 'probe'; node: NodeId }
  /** It sent what no honest node could: its link ends, and begins anew (SAFETY L17). */
  | { kind: 'cut-link'; node: NodeId; because: string }
  | { kind: 'answer'; id: string; outcome: ChangeOutcome }
  /** The committed ledger changed: who may connect, what the enrolment shows, what the CLI sees. */
  | { kind: 'publish-ledger'; ledger: Ledger }
  /** This store needs another id: one that never was, drawn now (`store-minted`; SAFETY L9). */
  | { kind: 'mint-store'; because: string }
  /** Everything is handed over: the agent may exit. */
  | { kind: 'departed'; because: string }
  | { kind: 'read-queue'; because: string }
  | { kind: 'create-runner'; class: string; tags: string[]; nonce: string }
  | { kind: 'delete-runner'; class: string; runner: number; nonce: string }
  /** Does GitLab still know the runner of this token? */
  | { kind: 'check-runner'; class: string; token: Sealed }
  /** `because`: why this node was placed; the run that comes of it carries it on. */
  | {
      kind: 'take-job';
      grant: string;
      class: string;
      tags: string[];
      token: Sealed;
      gpus: string[];
      because?: string;
    }
  /** Tell GitLab, with the run's own token, that its machine is lost: failed, `runner_system_failure`. */
  | { kind: 'fail-run'; run: Run; because: string }
  /** Another try of a job whose run failed by no doing of its own. Looks first: never both ours and the one of its `retry:`. */
  | { kind: 'retry-job'; run: string; projectId: number; job: number; because: string }
  /**
   * End a job that GitLab gave away and that nobody owns (SAFETY J3): cancel, by force where it stays `canceling`, then
   * retry it where `retry` says so. Looks before each of them, so it goes on where another leader stopped.
   */
  | { kind: 'rescue-job'; projectId: number; job: number; retry: boolean; because: string }
  /** Delete every runner that this mesh made at GitLab, as long as the ledger still says so of the connection `of`. */
  | { kind: 'remove-runners'; of: string }
  | { kind: 'compare-runs'; runners: number[] }
  /** Somebody cancels this run at GitLab: ask there now, its script may say nothing for long. */
  | { kind: 'hint-run'; run: string }
  /**
   * This machine may serve the mesh's GitLab of that epoch until `until`, ms of boot time (SAFETY H5). Comes again with each
   * renewal; never after `end-lease` of that epoch.
   */
  | { kind: 'hold-lease'; epoch: number; data: string; until: number }
  /** Close the gate for that epoch and every lower one, for good, then say `gate-closed`. */
  | { kind: 'end-lease'; epoch: number; because: string }
  /** Which is the newest whole round of these data here? It stays until the ledger is past that epoch; `round-found` goes to `to`. */
  | { kind: 'find-round'; to: NodeId; nonce: string; epoch: number; data: string }
  /** This run is no longer ours: stop it and forget it. */
  | { kind: 'drop-run'; run: string; because: string }
  /** A line for agent.log, with a stable event name (INTERFACE.md, Events), and the sentence. */
  | {
      kind: 'note';
      event: string;
      level: 'debug' | 'info' | 'warn' | 'error';
      because: string;
      fields: Record<string, string | number | boolean | null>;
    };
export type EffectOf<K extends Effect['kind']> = Extract<Effect, { kind: K }>;
