import type { Answer, Ask } from '../../protocol/asks.ts';
import type { Attention } from '../../protocol/status.ts';

/** Most of what is asked is unchanged: a leader is asked at most this often, and not waited for longer than a person notices. */
const keptMs = 3_000;
export const leaderLinesAskMs = 400;

/** What only the leader sees and every machine's `status` should say: jobs in the queue that fit no machine. */
export class LeaderLines {
  readonly #ask: (ask: Ask) => Promise<Answer | null>;
  readonly #bootMs: () => number;
  #lines: Promise<Attention[]> | null = null;
  #askedAtMs = Number.NEGATIVE_INFINITY;

  /** `ask`: answers null when this node leads, or the leader does not answer. */
  constructor(ask: (ask: Ask) => Promise<Answer | null>, bootMs: () => number) {
    this.#ask = ask;
    this.#bootMs = bootMs;
  }

  read(): Promise<Attention[]> {
    if (this.#lines === null || this.#bootMs() - this.#askedAtMs > keptMs) {
      this.#askedAtMs = this.#bootMs();
      this.#lines = this.#ask({ kind: 'jobs', canceling: true, brief: true }).then((answer) =>
        answer?.kind === 'jobs' ? (answer.attention ?? []) : [],
      );
    }
    return this.#lines;
  }
}
