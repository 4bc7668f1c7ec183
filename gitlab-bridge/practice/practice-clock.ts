/** The practice GitLab's clock: the wall's, plus what a test has moved it ahead. */
export interface PracticeClock {
  /** ms since the epoch. */
  now(): number;
  /** Moves it ahead; sweeps do not run by themselves then: call `sweep()`. */
  advance(ms: number): void;
}

export const practiceClock = (now: () => number): PracticeClock => {
  let ahead = 0;
  return {
    now: () => now() + ahead,
    advance: (ms) => {
      ahead += ms;
    },
  };
};

export const iso = (ms: number): string => new Date(ms).toISOString();
export const isoOrNull = (ms: number | null): string | null => (ms === null ? null : iso(ms));
