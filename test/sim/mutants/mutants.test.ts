import { describe, expect, it } from 'vitest';
import { hunt } from './hunt.ts';
import { keptSeeds } from './kept-seeds.ts';
import { mutants } from './table.ts';

/**
 * CPU time, so that a busy computer changes little. The seed that is kept finds nearly all of them at once. Where code has changed
 * since, a hunt is as long as it was without it: within a second for most; the longest two took 88 and 96 s on a machine that was
 * slow on that day (2026-11-30), where 60 s were not enough for four of them.
 */
const budget = { cpuMs: 180_000 };
const kept = keptSeeds();
/** So many seeds, however fast the computer is: a test must not find another fault on a faster one. About 15 s each. */
const asItIs = [
  ['storm', 220],
  ['common', 130],
  ['long', 30],
  ['recovered', 80],
  ['twoSides', 8],
  ['bothRecovered', 8],
] as const;

describe.concurrent('a bug planted in a safety rule is found', { timeout: 1_500_000 }, () => {
  for (const mutant of mutants)
    it(`${mutant.rule}: ${mutant.name}`, async () => {
      const { found, seeds } = await hunt(mutant, budget, mutant.hunt, { first: kept[mutant.name] });
      expect(found, `no violation in ${seeds} seeds`).not.toBeNull();
      // A crash may have any cause; a bug counts as found when a rule names it.
      expect(found?.rule, found?.sentence).not.toBe('no-exception');
    });

  for (const [kind, count] of asItIs)
    it(`the code as it is breaks no rule (${count} × ${kind})`, async () => {
      const { found, seeds } = await hunt(null, { seeds: count }, kind);
      expect(found).toBeNull();
      expect(seeds).toBe(count);
    });
});
