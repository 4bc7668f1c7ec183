import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { MessageOf } from '../../protocol/messages.ts';

/** A question that this host asked a leader, with its own time: a lease counts from then (SAFETY H5). */
interface OpenAsk {
  readonly nonce: string;
  readonly to: NodeId;
  readonly epoch: number;
  readonly at: number;
}

/** A question that reached this leader, with the time of its arrival. */
interface HeardAsk {
  readonly from: NodeId;
  readonly nonce: string;
  readonly epoch: number;
  readonly data: string;
  readonly at: number;
}

/** What a machine answered that may go on with GitLab. */
export type ToldOfRounds = Pick<MessageOf<'round-told'>, 'round' | 'takenAt' | 'there' | 'because' | 'rather'>;

/** The host is silent for long enough, and these were asked for their newest rounds (SAFETY H10). */
export interface OpenQuestion {
  readonly nonce: string;
  readonly at: number;
  /** `at` of the first of these questions in a row. */
  readonly firstAt: number;
  readonly epoch: number;
  /** Of the in-sync set by which they were chosen. */
  readonly version: number;
  readonly asked: readonly NodeId[];
  readonly told: Readonly<Record<NodeId, ToldOfRounds>>;
  /** Why nobody could be named the last time. */
  readonly said: string;
}

/** What this leader has seen of GitLab's host. */
interface HostWatch {
  readonly node: NodeId;
  readonly epoch: number;
  /** The boot that its last report was of; `at` of when its last silence began and ended. */
  readonly boot: string | null;
  readonly silent: { readonly from: number; readonly to: number } | null;
  /** `at` since when it has served at this machine without a silence; null while it does not. */
  readonly calmSince: number | null;
  /** A silence was said. */
  readonly isSaid: boolean;
}

/** Nothing of it is on disk: an agent that starts trusts no lease of before, and asks anew (SAFETY H8). */
export interface HostingState {
  readonly asks: readonly OpenAsk[];
  readonly nextAskAt: number;
  readonly counter: number;
  readonly lease: { readonly epoch: number; readonly data: string; readonly until: number } | null;
  /** The gate is to be closed for this epoch, and has not said yet that it is. */
  readonly closing: { readonly epoch: number; readonly because: string; readonly saidAt: number } | null;
  /** The highest epoch that the gate here is closed for. */
  readonly closed: number;
  /** While this node leads. */
  readonly lead: {
    readonly term: number;
    /** `at` of the election, and of the last lease given since. */
    readonly since: number;
    readonly givenAt: number;
    /** The epoch that is committed, and `at` of when this leader first knew it. */
    readonly named?: { readonly epoch: number; readonly at: number };
    readonly asks: readonly HeardAsk[];
    /** `at` of the host's last question, whether or not it was answered. */
    readonly askedAt?: number;
    readonly question?: OpenQuestion | null;
    readonly watch?: HostWatch;
  } | null;
  /** A word of that machine, GitLab's host then, has come since this agent began. */
  readonly heardHost: NodeId | null;
  /** What the last look went by. */
  readonly seen: {
    readonly ledger: Ledger | null;
    readonly committed: Ledger | null;
    readonly leader: NodeId | null;
    readonly term: number;
  };
  readonly wakeAt: number;
}

export const emptyHosting: HostingState = {
  asks: [],
  nextAskAt: Number.NEGATIVE_INFINITY,
  counter: 0,
  lease: null,
  closing: null,
  closed: 0,
  lead: null,
  heardHost: null,
  seen: { ledger: null, committed: null, leader: null, term: -1 },
  wakeAt: Number.NEGATIVE_INFINITY,
};
