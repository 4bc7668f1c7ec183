import type { Clock } from '../clock.ts';
import type { RunDesk } from '../runs/run-desk.ts';
import { startWatchdog, writeBeat } from '../watchdog.ts';

const beatEveryMs = 400;

/**
 * Tells the watchdog, a process of its own, until when each run may go on (SAFETY J1). It is started with the first run
 * and ends by itself when none is left; when this agent dies, it freezes what may not go on.
 */
export class RunWatch {
  readonly #home: string;
  readonly #runs: RunDesk;
  readonly #clock: Clock;
  #timer: NodeJS.Timeout | null = null;
  #isBeating = false;
  #hadRuns = false;

  constructor(home: string, runs: RunDesk, clock: Clock) {
    this.#home = home;
    this.#runs = runs;
    this.#clock = clock;
  }

  start(): void {
    this.#timer = setInterval(() => void this.#beat(), beatEveryMs);
  }

  stop(): void {
    if (this.#timer) clearInterval(this.#timer);
  }

  async #beat(): Promise<void> {
    if (this.#isBeating) return;
    this.#isBeating = true;
    try {
      const beats = await this.#runs.beats();
      if (beats.length === 0 && !this.#hadRuns) return;
      this.#hadRuns = beats.length > 0;
      const runs = beats.flatMap(({ run, freezer, mayRunUntilBootMs, held }) =>
        freezer ? [{ run, until: mayRunUntilBootMs, freeze: freezer, held }] : [],
      );
      await writeBeat(this.#home, { bootId: this.#clock.bootId(), runs });
      if (runs.length > 0) await startWatchdog(this.#home);
    } finally {
      this.#isBeating = false;
    }
  }
}
