import type { AskedBy } from '../protocol/audit.ts';
import type { Change } from '../protocol/changes.ts';
import type { NodeId, StoreId } from '../protocol/ids.ts';
import type { Era, Run } from '../protocol/ledger.ts';
import type { MessageOf, PeerMessage } from '../protocol/messages.ts';
import type { QueuedJob } from '../protocol/queued-job.ts';
import type { GitlabSeen, Measured, ProtectedSeen, Report, StandbySeen } from '../protocol/report.ts';
import type { Sealed } from '../protocol/sealed.ts';
import type { PartKey } from './effects.ts';

/** What a TCP connect to a machine's evidence port proved (DESIGN §6). */
export type ProbeResult = 'refused' | 'accepted' | 'silent';

/** How `POST /jobs/request` for a grant ended on the node. */
export type TakeOutcome =
  | { kind: 'taken'; run: Run }
  /** 204, or 409 to the end of the patience. */
  | { kind: 'empty'; because: string }
  /** GitLab refused or was away. `maybeTaken`: the request went out and no answer came, so a job may be lost (SAFETY J3). */
  | {
      kind: 'failed';
      because: string;
      maybeTaken: boolean;
      /** GitLab itself does not know the class's runner (403). */
      unknownRunner?: boolean;
      /** GitLab asked to wait so long. */
      waitMs?: number;
    };

/** What happened, in the past tense. The shell reports; the core decides. */
export type Happened =
  | { kind: 'ticked' }
  /** `era`: as its envelope says (SAFETY L15); messages of an older era are void. */
  | { kind: 'heard'; from: NodeId; message: PeerMessage; era?: Era | null }
  | { kind: 'report-heard'; from: NodeId; report: Report }
  /** A direct stream to that member opened or closed. Closing is a hint, never a proof. */
  | { kind: 'connected'; node: NodeId }
  | { kind: 'disconnected'; node: NodeId }
  | { kind: 'probed'; node: NodeId; result: ProbeResult; tookMs: number }
  /** The `persist` effect of that part and number is on disk. */
  | { kind: 'persisted'; part: PartKey; seq: number }
  /** Local callers (CLI, enrolment, GitLab hook) ask for changes; each gets the effect `answer` with its id. */
  | { kind: 'requested'; requests: readonly { readonly id: string; readonly change: Change; readonly by?: AskedBy }[] }
  /**
   * Answer to `mint-store`. No store may ever have had this id, and none that is a copy of this process's memory may
   * draw it too: it comes fresh from the kernel.
   */
  | { kind: 'store-minted'; store: StoreId }
  | { kind: 'measured'; measured: Measured; addresses: string[]; version: string }
  /**
   * A person wants this node to go on alone (SAFETY L15). `era`: a fresh id; `seenOff`: names of the machines seen switched
   * off. Answered under `id` when it is on disk, or refused.
   */
  | { kind: 'recovery-asked'; id: string; era: string; seenOff: readonly string[] }
  /**
   * This agent was asked to go (SIGTERM, `leave`, sleep): hand over, then say `departed`. `backMs`: it means to be back within
   * that time, and its runs wait for it (SAFETY J2).
   */
  | { kind: 'leave-asked'; backMs?: number }
  /** This machine's loss as a leader is rehearsed: it leads no more from now on, and stands for nothing for `forMs`. */
  | { kind: 'silence-asked'; forMs: number }
  /** It stays after all (the machine woke up): take its place again. */
  | { kind: 'return-asked' }
  /** Answer to `read-queue`. */
  /** `canceling`: jobs of any runner that somebody is canceling. */
  | { kind: 'queue-read'; jobs: QueuedJob[]; complete: boolean; canceling?: readonly number[] }
  /** `isRefused`: GitLab answers, and will not have the token. */
  | { kind: 'queue-failed'; because: string; isRefused?: boolean }
  /** GitLab was asked to cancel this job, as a person here wanted. */
  | { kind: 'cancel-asked'; job: number }
  /** Something happened at GitLab (webhook, finished run): look at the queue now. */
  | { kind: 'queue-hinted'; answers?: boolean }
  | { kind: 'runner-created'; class: string; nonce: string; runner: number; token: Sealed }
  | { kind: 'runner-failed'; class: string; nonce: string; because: string }
  | { kind: 'runner-deleted'; class: string }
  /** Answer to `remove-runners`. `left`: those that are still there, as far as they are known; `because`: null when none is. */
  | { kind: 'runners-removed'; removed: number; left: readonly number[]; because: string | null }
  /** Answer to `check-runner`, with the token that was asked about. `unclear`: GitLab did not say. */
  | {
      kind: 'runner-checked';
      class: string;
      token: Sealed;
      state: 'known' | 'unknown' | 'unclear';
      because: string;
    }
  | { kind: 'take-ended'; grant: string; outcome: TakeOutcome }
  /** A run of this node went on: the whole record as persisted by the run's own code. */
  | { kind: 'run-changed'; run: Run }
  /** Answer to `fail-run`: GitLab knows that the run is lost (or disowned it before). */
  | { kind: 'run-failed-at-gitlab'; run: string; ok: boolean; because: string }
  /** Answer to `compare-runs`: what GitLab thinks our runners run (SAFETY J3). */
  | {
      kind: 'runs-compared';
      running: {
        job: number;
        projectId: number;
        runner: number;
        systemId: string | null;
        startedAt: number | null;
        /** Its cancel has begun; absent or false: it runs. */
        canceling?: boolean;
      }[];
    }
  /** What this machine sees of the mesh's GitLab, which it hosts; null: nothing any more. Others hear it with the report. */
  | { kind: 'gitlab-seen'; report: GitlabSeen | null }
  /** What this machine has of a GitLab that another one runs; null: nothing, and it is not asked to. */
  | { kind: 'protected-seen'; report: ProtectedSeen | null }
  | { kind: 'standby-seen'; report: StandbySeen | null }
  /** What this machine's owner says of such copies; null: nothing. */
  | { kind: 'copies-said'; copies: 'never' | null }
  /** Answer to `end-lease`: the gate has read that it is closed for that epoch. */
  | { kind: 'gate-closed'; epoch: number }
  /** Answer to `find-round`, as the leader hears it. */
  | { kind: 'round-found'; to: NodeId; told: MessageOf<'round-told'> }
  /** Answer to `rescue-job`. Not `done`: ask again later. */
  | { kind: 'job-rescued'; job: number; done: boolean; because: string }
  /** A person says that jobs may be taken here again, whatever became of those before. */
  | { kind: 'jobs-trusted' }
  /** Answer to `retry-job`. `made`: it is tried again, by whomever. Not `done`: ask again later. */
  | { kind: 'job-retried'; run: string; done: boolean; made: boolean; because: string };

/**
 * `at`: ms of boot time (/proc/uptime), which goes on in suspend. `wallMs`: ms since the Unix epoch, for display and
 * the expiry of invitations only.
 */
export type Input = { at: number; wallMs: number } & Happened;
export type InputOf<K extends Happened['kind']> = Extract<Input, { kind: K }>;
