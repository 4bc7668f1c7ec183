import { Chance } from '../sim/chance.ts';

/**
 * Rounds of fuzz for so many seconds, each with chance of its own from a seed (1, 2, 3 ...): so many as this machine
 * gets through, always the same ones. A round that fails names its seed, and `AUTOGIT_FUZZ_SEED=N` repeats that round
 * alone; `AUTOGIT_FUZZ_TIMES=10` goes on ten times as long. Answers how many rounds there were.
 */
export async function fuzzRounds(
  name: string,
  seconds: number,
  round: (chance: Chance, seed: number) => unknown,
): Promise<number> {
  const { AUTOGIT_FUZZ_SEED: only, AUTOGIT_FUZZ_TIMES: times } = process.env;
  const end = performance.now() + seconds * 1000 * (Number(times) || 1);
  let yieldAt = 0;
  let rounds = 0;
  for (let seed = Number(only) || 1; rounds === 0 || (!only && performance.now() < end); seed++, rounds++) {
    try {
      await round(new Chance(seed), seed);
    } catch (error) {
      const again = `AUTOGIT_FUZZ_SEED=${seed} npx vitest run --config test/vitest.config.ts --project real -t '${name}'`;
      throw new Error(`fuzz of ${name}, seed ${seed} (again: ${again}): ${(error as Error).message}`, { cause: error });
    }
    if (performance.now() < yieldAt) continue;
    // The test runner lives in this process too.
    await new Promise((resolve) => setImmediate(resolve));
    yieldAt = performance.now() + 100;
  }
  return rounds;
}

/** How many rounds a test may demand: one, when one is repeated. */
export const least = (count: number): number => (process.env.AUTOGIT_FUZZ_SEED ? 0 : count);

/** vitest's limit for a test of so many seconds of fuzz, in ms. */
export const fuzzTimeoutMs = (seconds: number): number =>
  seconds * 1000 * (Number(process.env.AUTOGIT_FUZZ_TIMES) || 1) + 30_000;
