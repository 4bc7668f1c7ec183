import type { Configuration, Era } from '../../protocol/ledger.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { leaderContactAt } from '../../scheduler/views.ts';
import type { Agent } from './agent.ts';
import { quorum } from './history.ts';
import { require as must } from './violation.ts';

/** What an agent sent and heard while it led in one term of one era. */
class Reign {
  readonly era: Era;
  readonly term: number;
  /** When each round went out. */
  readonly sent = new Map<number, number>();
  /** "node/store" -> when the newest round went out that it answered. */
  readonly answered = new Map<string, number>();
  /** What was last claimed, and was true: what is answered only becomes newer. */
  claimed: { configuration: Configuration; contactAt: number } | null = null;

  constructor(era: Era, term: number) {
    this.era = era;
    this.term = term;
  }
}

/**
 * SAFETY L12: a leader's contact with a quorum is as old as the round that was answered, however late it handles the
 * answer. Counted again from what it sent and heard; ms of its machine's boot time.
 */
export class ContactRule {
  /** Newest last. */
  readonly #reigns = new WeakMap<Agent, Reign[]>();

  #reign(agent: Agent, era: Era, term: number): Reign {
    const reigns = this.#reigns.get(agent) ?? [];
    const known = reigns.findLast((one) => one.term === term && one.era.id === era.id);
    if (known) return known;
    const made = new Reign(era, term);
    this.#reigns.set(agent, reigns);
    reigns.push(made);
    return made;
  }

  sends(agent: Agent, era: Era, term: number, round: number): void {
    const { sent } = this.#reign(agent, era, term);
    if (!sent.has(round)) sent.set(round, agent.machine.bootMs());
  }

  /** A leader has heard that acknowledgement. */
  counts(agent: Agent, from: string, ack: MessageOf<'ack'>): void {
    const { leading, term, accepted } = agent.state.raft;
    const reign = this.#reign(agent, accepted.era, term);
    const at = ack.term === term ? reign.sent.get(ack.round) : undefined;
    const disk = `${from}/${ack.store}`;
    if (at !== undefined) reign.answered.set(disk, Math.max(at, reign.answered.get(disk) ?? at));
    if (leading) this.#claims(agent, reign, accepted.configuration, leaderContactAt(agent.state));
  }

  #claims({ life, machine }: Agent, reign: Reign, configuration: Configuration, contactAt: number): void {
    if (contactAt === Number.NEGATIVE_INFINITY) return;
    if (reign.claimed?.configuration === configuration && reign.claimed.contactAt === contactAt) return;
    reign.claimed = { configuration, contactAt };
    // Its own disk is always there.
    const own = `${machine.id}/${machine.disk.store}`;
    const answeredAt = (disk: string): number => reign.answered.get(disk) ?? Number.NEGATIVE_INFINITY;
    must(
      quorum(configuration, (disk) => disk === own || answeredAt(disk) >= contactAt),
      'contact-is-when-it-was-sent',
      () =>
        `${life} in term ${reign.term}: claims a quorum's contact as of ${contactAt}, and answered are ${JSON.stringify([...reign.answered])}`,
    );
  }
}
