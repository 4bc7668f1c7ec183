import type { NodeId } from '../../../protocol/ids.ts';
import { compareRounds, newestOf, type RoundName, roundText } from '../../../protocol/round-name.ts';
import type { CopyRules } from '../../../scheduler/hosting/copies/copy-rules.ts';
import { type HeldRound, heldByUuid, uuidsOf } from '../../../scheduler/hosting/copies/held-rounds.ts';
import { type AwayState, StandbyRecord } from '../../../scheduler/hosting/copies/standby-record.ts';

/** What is known of one part's rounds on one standby: which difference comes next, and which rounds nobody may thin. */
export interface SendBook {
  /** What it listed; `own`: what is on this disk. */
  held(listed: readonly HeldRound[], own: readonly HeldRound[]): void;
  parentFor(own: readonly RoundName[]): RoundName | null;
  sent(round: RoundName, parent: RoundName | null): void;
  /** So many bytes more of it arrived there. */
  moved(bytes: number): void;
  acknowledged(round: RoundName): void;
  lost(because: string, state: AwayState): void;
  pins(): RoundName[];
}

/** What each machine said that it holds, and got since. */
export type HeldRounds = Map<NodeId, readonly RoundName[]>;

/** The hot part goes by the rules of the in-sync set. */
export const hotBook = (rules: CopyRules, node: NodeId, bootMs: () => number, seen: HeldRounds): SendBook => ({
  held: (listed, own) => {
    // Of one name it may hold another round, of a time from which this disk fell back.
    seen.set(node, heldByUuid(listed, uuidsOf(own)).held);
    rules.held(node, listed, own);
  },
  parentFor: (own) => rules.parentFor(node, own),
  sent: (round, parent) => rules.sent(node, round, parent),
  moved: (bytes) => rules.moved(node, bytes, bootMs()),
  acknowledged: (round) => {
    seen.set(node, [...(seen.get(node) ?? []), round]);
    rules.acknowledged(node, round, bootMs());
  },
  lost: (because, state) => rules.lost(node, bootMs(), because, state),
  pins: () => rules.pins(),
});

/** The bulk part is behind it: no push waits for it, and nobody enters or leaves a set by it. */
export class BulkBooks {
  readonly #records = new Map<NodeId, StandbyRecord>();
  readonly #newest = new Map<NodeId, RoundName | null>();

  of(node: NodeId): SendBook {
    const record = this.#records.get(node) ?? new StandbyRecord(null);
    this.#records.set(node, record);
    return {
      held: (listed, own) => {
        const rounds = heldByUuid(listed, uuidsOf(own)).held;
        record.lists(rounds);
        // What it holds beside the host's own is of a time from which that one's disk fell back.
        const texts = new Set(rounds.map(roundText));
        this.#newest.set(node, newestOf(own.filter(({ name }) => texts.has(roundText(name))))?.name ?? null);
      },
      parentFor: (own) => record.commonWith(own),
      sent: (round, parent) => record.sends(round, parent),
      moved: () => {},
      acknowledged: (round) => {
        record.receives(round);
        this.#newest.set(node, round);
      },
      lost: () => {
        record.inFlight = null;
      },
      pins: () => this.pins(),
    };
  }

  forget(node: NodeId): void {
    this.#records.delete(node);
    this.#newest.delete(node);
  }

  pins(): RoundName[] {
    return [...this.#records.values()].flatMap(({ pin, inFlight }) => [pin, inFlight]).filter((one) => one !== null);
  }

  /** Whether it has that round of the bulk part, or a later one. */
  has(node: NodeId, round: RoundName): boolean {
    const newest = this.#newest.get(node);
    return newest != null && compareRounds(newest, round) >= 0;
  }

  newestOf(node: NodeId): RoundName | null {
    return this.#newest.get(node) ?? null;
  }
}
