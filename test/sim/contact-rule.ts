import type { Configuration } from '../../protocol/ledger.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { leaderContactAt } from '../../scheduler/views.ts';
import type { Agent } from './agent.ts';
import { quorum } from './history.ts';
import { require as must } from './violation.ts';

/**
 * SAFETY L12: a leader's contact with a quorum is as old as the round that was answered, however late it handles the
 * answer. Counted again from what it sent and heard; ms of its machine's boot time.
 */
export class ContactRule {
  /** "life era term" -> when each round went out. */
  readonly #sent = new Map<string, Map<number, number>>();
  /** "life era term" -> "node/store" -> when the newest round went out that it answered. */
  readonly #answered = new Map<string, Map<string, number>>();
  /** "life era term" -> what was last claimed, and was true: what is answered only becomes newer. */
  readonly #claimed = new Map<string, { configuration: Configuration; contactAt: number }>();

  sends(reign: string, round: number, at: number): void {
    const rounds = this.#sent.get(reign) ?? new Map<number, number>();
    if (!rounds.has(round)) rounds.set(round, at);
    this.#sent.set(reign, rounds);
  }

  /** A leader has heard that acknowledgement. */
  counts({ life, machine, state }: Agent, from: string, ack: MessageOf<'ack'>): void {
    const { term, accepted } = state.raft;
    const reign = `${life} ${accepted.era.id} ${term}`;
    if (ack.term === term) this.#hears(reign, `${from}/${ack.store}`, ack.round);
    if (state.raft.leading)
      this.#claims(reign, `${machine.id}/${machine.disk.store}`, accepted.configuration, leaderContactAt(state));
  }

  #hears(reign: string, disk: string, round: number): void {
    const at = this.#sent.get(reign)?.get(round);
    if (at === undefined) return;
    const answered = this.#answered.get(reign) ?? new Map<string, number>();
    answered.set(disk, Math.max(at, answered.get(disk) ?? at));
    this.#answered.set(reign, answered);
  }

  /** `own`: the leader's disk, which is always there. */
  #claims(reign: string, own: string, configuration: Configuration, contactAt: number): void {
    if (contactAt === Number.NEGATIVE_INFINITY) return;
    const last = this.#claimed.get(reign);
    if (last?.configuration === configuration && last.contactAt === contactAt) return;
    this.#claimed.set(reign, { configuration, contactAt });
    const answered = this.#answered.get(reign);
    must(
      quorum(configuration, (disk) => disk === own || (answered?.get(disk) ?? Number.NEGATIVE_INFINITY) >= contactAt),
      'contact-is-when-it-was-sent',
      () =>
        `${reign}: claims a quorum's contact as of ${contactAt}, and answered are ${JSON.stringify([...(answered ?? [])])}`,
    );
  }
}
