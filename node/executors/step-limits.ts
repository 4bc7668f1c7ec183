import type { Clock } from '../clock.ts';
import { killGraceMs } from '../ports.ts';

/** Node's timers end at 2^31 ms, and they stand still in suspend while boot time goes on: each looks again at least hourly. */
const lookAgainMs = 3_600_000;

interface StepLimitsOptions {
  clock: Pick<Clock, 'bootMs'>;
  isOver(index: number): boolean;
  /** What cannot be ended shows in the step's end, which is not known before the node is looked at. */
  end(graceMs: number, because: string): Promise<void>;
}

/** Ends the steps of a run that run longer than they may, counted in boot time: also those that an earlier agent began. */
export class StepLimits {
  readonly #options: StepLimitsOptions;
  readonly #timers = new Map<number, NodeJS.Timeout>();

  constructor(options: StepLimitsOptions) {
    this.#options = options;
  }

  watch(index: number, begunMs: number, timeoutMs: number | null): void {
    if (timeoutMs === null || timeoutMs === 0) return;
    const { clock, isOver, end } = this.#options;
    const look = (): void => {
      if (isOver(index)) return;
      if (clock.bootMs() < begunMs + timeoutMs) return this.watch(index, begunMs, timeoutMs);
      end(killGraceMs, `it ran longer than its limit of ${Math.round(timeoutMs / 1000)} s`).catch(() => {});
    };
    const leftMs = Math.max(0, begunMs + timeoutMs - clock.bootMs());
    this.#timers.set(index, setTimeout(look, Math.min(leftMs, lookAgainMs)).unref());
  }

  forget(index: number): void {
    clearTimeout(this.#timers.get(index));
  }

  forgetAll(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
  }
}
