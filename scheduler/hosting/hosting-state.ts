import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';

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
  } | null;
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
  seen: { ledger: null, committed: null, leader: null, term: -1 },
  wakeAt: Number.NEGATIVE_INFINITY,
};
