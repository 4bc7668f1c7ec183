import type { Answer, Ask } from '../../protocol/asks.ts';
import type { Misfit } from '../../protocol/job-asks.ts';

/** Most of what is asked is unchanged: a leader is asked at most this often, and not waited for longer than a person notices. */
const keptMs = 3_000;
/** Who looks each second, as pages do, is told what was said before while the leader is asked anew: news waits for no other machine. */
const toldMs = 4_500;
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
    const ageMs = this.#bootMs() - this.#askedAtMs;
    if (this.#misfits !== null && ageMs <= keptMs) return this.#misfits;
    this.#askedAtMs = this.#bootMs();
    const asked = this.#asked();
    if (this.#misfits === null || ageMs > toldMs) this.#misfits = asked;
    else
      void asked.then(() => {
        this.#misfits = asked;
      });
    return this.#misfits;
  }

  #asked(): Promise<Misfit[]> {
    return this.#ask({ kind: 'jobs', canceling: true, brief: true }).then(
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
}
