import { sentenceOf } from '../../../protocol/errors.ts';
import { asSentence } from '../../../protocol/ids.ts';
import type { VaultSeen } from '../../../protocol/report.ts';
import type { Clock } from '../../clock.ts';
import { InTurn } from '../../in-turn.ts';
import type { Log } from '../../log.ts';
import { withFix } from '../with-fix.ts';
import type { Say } from './backup-run.ts';

/** ms after the first, second, … failure in a row. */
const againMs = [60_000, 300_000, 900_000, 3_600_000, 14_400_000];

type Doing = NonNullable<VaultSeen['doing']>;

/** One thing at a time: what is under way, how far it is, why the last one failed, and when the next may begin. */
export class VaultWork {
  readonly #clock: Pick<Clock, 'bootMs'>;
  readonly #log: Pick<Log, 'warn'>;
  readonly #ended = new AbortController();
  #work: Promise<void> | null = null;
  #given: AbortController | null = null;
  #faults = 0;
  #notBefore = 0;
  readonly #naming = new InTurn();
  doing: Doing | null = null;
  problem: string | null = null;

  constructor(clock: Pick<Clock, 'bootMs'>, log: Pick<Log, 'warn'>) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Fires when the agent ends. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  get isBusy(): boolean {
    return this.#work !== null;
  }

  /** Nothing is under way, and what failed has had its pause. */
  get isFree(): boolean {
    return this.#work === null && !this.signal.aborted && this.#clock.bootMs() >= this.#notBefore;
  }

  /** What is asked for by a person waits for no pause. */
  retryNow(): void {
    this.problem = null;
    this.#notBefore = 0;
  }

  /** `signal`: it is to end, with the agent or for what is more urgent. */
  begin(what: Doing['what'], phase: string, work: (say: Say, signal: AbortSignal) => Promise<void>): void {
    const given = new AbortController();
    this.#given = given;
    const signal = AbortSignal.any([this.signal, given.signal]);
    const say = (now: string, percent?: number): void => {
      if (given.signal.aborted) return;
      const floor = percent === undefined ? null : Math.floor(percent * 100);
      this.doing = { what, phase: now.slice(0, 200), percent: floor };
    };
    say(phase);
    this.#work = work(say, signal)
      .then(
        () => {
          this.#faults = 0;
          this.problem = null;
        },
        (error: unknown) => {
          if (signal.aborted) return;
          if (what !== 'restore') this.problem = asSentence(withFix(error));
          const wait = againMs[Math.min(this.#faults, againMs.length - 1)] as number;
          this.#faults += 1;
          this.#notBefore = this.#clock.bootMs() + wait;
          this.#log.warn(`the ${what} of GitLab failed: ${withFix(error)}`);
        },
      )
      .finally(() => {
        this.doing = null;
        this.#work = null;
      });
  }

  /** What is under way ends first, without a fault of its own; whoever asks meanwhile finds this one under way already. */
  instead(what: Doing['what'], phase: string, work: (say: Say, signal: AbortSignal) => Promise<void>): void {
    this.#given?.abort();
    this.doing = { what, phase: 'ends the backup that is under way', percent: null };
    const before = this.#work ?? Promise.resolve();
    this.#work = before.then(() => {
      if (!this.signal.aborted) this.begin(what, phase, work);
      return this.#work ?? undefined;
    });
  }

  /** One after the other: of two people at once the second finds what the first has done. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    return this.#naming.do(work);
  }

  /** Nobody is told of it: what an agent that was killed has left goes away. */
  tidy(work: Promise<void>): void {
    this.#work = work
      .catch((error: unknown) => this.#log.warn(`what was left of a backup does not go: ${sentenceOf(error)}`))
      .finally(() => {
        this.#work = null;
      });
  }

  /** What is under way ends; what it has done so far is found again by the next try. */
  async stop(): Promise<void> {
    this.#ended.abort();
    await this.#work;
  }
}
