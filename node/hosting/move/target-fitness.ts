import { sentenceOf } from '../../../protocol/errors.ts';
import type { Clock } from '../../clock.ts';
import type { Finding } from '../../doctor/finding.ts';
import { withLimit } from '../../executors/docker-engine.ts';

/**
 * Whether GitLab could go on at this machine now. `never`: it would not come up, so that no round is promised for it. `rather`: it may, but
 * another machine can sooner, or with less trouble.
 */
export interface TargetFitness {
  never: string | null;
  rather: string | null;
}

interface FitnessFacts {
  /** Of a move to here (`move-checks.ts`), but for what its owner wants. */
  checks: readonly Pick<Finding, 'state' | 'what' | 'sentence'>[];
  /** The image has to be pulled first. */
  mustPull: boolean;
  /** Its owner wants it for himself now, in words. */
  paused: string | null;
}

/** Pure. A person who moves GitLab is shown both, and decides. */
export function fitnessOf({ checks, mustPull, paused }: FitnessFacts): TargetFitness {
  const never = checks.find(({ state }) => state === 'fail')?.sentence ?? null;
  const warned = checks.find(({ state, what }) => state === 'warn' && what !== 'address')?.sentence ?? null;
  return { never, rather: paused ?? (mustPull ? "GitLab's image has to be pulled first" : warned) };
}

const timings = {
  /** A look is good for so long, and shown for so long while the next one is under way. */
  freshMs: 5_000,
  goodMs: 60_000,
} as const;

/** Looks beside whoever asks: an engine may take longer over it than a leader waits. */
export class FitnessLook {
  readonly #clock: Pick<Clock, 'bootMs'>;
  #known: { of: string; at: number; found: TargetFitness } | null = null;
  #looking: { of: string; work: Promise<void> } | null = null;

  constructor(clock: Pick<Clock, 'bootMs'>) {
    this.#clock = clock;
  }

  /** What is known of that GitLab after `withinMs` at most; begun now where that is not fresh. */
  async of(of: string, look: () => Promise<TargetFitness>, withinMs: number): Promise<TargetFitness> {
    const age = (): number =>
      this.#known?.of === of ? this.#clock.bootMs() - this.#known.at : Number.POSITIVE_INFINITY;
    if (age() < timings.freshMs) return this.#known!.found;
    if (this.#looking?.of !== of) this.#looking = { of, work: this.#look(of, look) };
    await withLimit(this.#looking.work, withinMs).catch(() => undefined);
    if (age() < timings.goodMs) return this.#known!.found;
    return { never: null, rather: 'it has not found out yet whether it could' };
  }

  async #look(of: string, look: () => Promise<TargetFitness>): Promise<void> {
    const found = await look().catch((error: unknown): TargetFitness => {
      return { never: null, rather: `it could not be looked at: ${sentenceOf(error)}` };
    });
    this.#known = { of, at: this.#clock.bootMs(), found };
    if (this.#looking?.of === of) this.#looking = null;
  }
}
