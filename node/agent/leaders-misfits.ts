import type { Answer, Ask } from '../../protocol/asks.ts';
import type { Misfit } from '../../protocol/job-asks.ts';

/** Most of what is asked is unchanged: a leader is asked at most this often, and not waited for longer than a person notices. */
const keptMs = 3_000;
export const misfitsAskMs = 400;

/** What only the leader sees and every machine should say: jobs in the queue that fit no machine, and since when the oldest waits. */
export class LeadersMisfits {
  readonly #ask: (ask: Ask) => Promise<Answer | null>;
  readonly #bootMs: () => number;
  #misfits: Promise<Misfit[]> | null = null;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  /** As it was when `read` last ended: wall ms, null when none waits, undefined where nobody can say. */
  oldestQueuedAt: number | null | undefined;

  /** `ask` answers null when the leader does not. */
  constructor(ask: (ask: Ask) => Promise<Answer | null>, bootMs: () => number) {
    this.#ask = ask;
    this.#bootMs = bootMs;
  }

  read(): Promise<Misfit[]> {
    if (this.#misfits === null || this.#bootMs() - this.#askedAtMs > keptMs) {
      this.#askedAtMs = this.#bootMs();
      this.#misfits = this.#ask({ kind: 'jobs', canceling: true, brief: true }).then(
        (answer) => {
          this.oldestQueuedAt = answer?.kind === 'jobs' ? answer.oldestQueuedAt : undefined;
          return answer?.kind === 'jobs' ? (answer.misfits ?? []) : [];
        },
        () => {
          this.oldestQueuedAt = undefined;
          return [];
        },
      );
    }
    return this.#misfits;
  }
}
