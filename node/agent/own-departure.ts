import type { Happened } from '../../scheduler/inputs.ts';

/** This member's hand-over to the others, before its agent ends or its machine sleeps. */
export class Departure {
  readonly #feed: (happened: Happened) => void;
  #onDone: (() => void) | null = null;
  /** Under way, or done: who asks meanwhile waits for the same one. */
  #departure: Promise<boolean> | null = null;

  constructor(feed: (happened: Happened) => void) {
    this.#feed = feed;
  }

  /** False when the core did not say within `patienceMs` that all is handed over. */
  leave(patienceMs: number, backMs?: number): Promise<boolean> {
    this.#departure ??= this.#depart(patienceMs, backMs);
    return this.#departure;
  }

  /** The core says that all is handed over. */
  done(): void {
    this.#onDone?.();
  }

  /** Takes its place again, when the agent did not end after all. */
  comeBack(): void {
    this.#departure = null;
    this.#feed({ kind: 'return-asked' });
  }

  #depart(patienceMs: number, backMs: number | undefined): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), patienceMs);
      this.#onDone = () => {
        clearTimeout(timer);
        resolve(true);
      };
      this.#feed({ kind: 'leave-asked', ...(backMs === undefined ? {} : { backMs }) });
    });
  }
}
