import { InvariantError } from '../protocol/errors.ts';
import type { NodeId, StoreId } from '../protocol/ids.ts';
import type { Durable } from './effects.ts';
import type { HostingState } from './hosting/hosting-state.ts';
import { emptyHosting } from './hosting/step-hosting.ts';
import { emptyJobs, type JobsState } from './jobs/step-jobs.ts';
import type { RaftState } from './raft/raft-state.ts';

/** Who this agent process is. `boot`: the kernel's boot id. `seed` starts the generator that stands for chance. */
export interface NodeIdentity {
  readonly node: NodeId;
  readonly name: string;
  readonly store: StoreId;
  readonly boot: string;
  readonly startedAtWallMs: number;
  readonly seed: number;
  readonly version: string;
}

/** What stands on election and ledger; one entry a part, so that the compiler asks for its step and its first state. */
export interface PartStates {
  readonly jobs: JobsState;
  readonly hosting: HostingState;
}

/** All that the core knows. `step` never changes it; it returns another one. */
export interface CoreState extends PartStates {
  readonly identity: NodeIdentity;
  readonly raft: RaftState;
}

/**
 * The state after a start or restart: always a follower, whatever it was before (SAFETY L10). `at`: ms of boot time.
 * `who.store`: the id that the store was created with.
 * Throws InvariantError without an accepted ledger: the core runs on members only.
 */
export function restoredState(who: NodeIdentity, durable: Durable, at: number): CoreState {
  const { promise, accepted, committed } = durable;
  const identity = { ...who, store: durable.store ?? who.store };
  if (accepted === null) throw new InvariantError('the core was woken without a ledger');
  const raft: RaftState = {
    term: Math.max(promise.term, accepted.stamp.term),
    votedFor: promise.term >= accepted.stamp.term ? promise.votedFor : null,
    accepted,
    committed,
    seq: 0,
    diskSeq: 0,
    diskStamp: accepted.stamp,
    onTheirWay: [],
    leader: null,
    leaderDisk: null,
    contactAt: Number.NEGATIVE_INFINITY,
    timerAt: at,
    backlogUntil: Number.NEGATIVE_INFINITY,
    wakeAt: Number.POSITIVE_INFINITY,
    peers: {},
    campaign: null,
    planned: null,
    notBefore: at,
    waitingPreVotes: [],
    leading: null,
    leaderChanges: [],
    lastRound: 0,
    clientRequests: [],
    nextRequest: 1,
    addresses: null,
    healthy: true,
    introducedAt: Number.NEGATIVE_INFINITY,
    introducedTerm: -1,
    leaving: null,
    rolledBack: null,
    newerEra: null,
    eraSeq: 0,
    random: identity.seed | 0,
  };
  return { identity, raft, jobs: emptyJobs(durable.asking), hosting: emptyHosting };
}
