import { describe, expect, it } from 'vitest';
import { patchedText } from '../bundle.ts';
import { hunt } from './hunt.ts';
import { mutants } from './table.ts';

/** CPU time, so that a busy computer changes nothing. Found ones end sooner, most of them within a second. */
const budgetMs = 60_000;
const asItIsMs = 15_000;

it('every planted bug matches the code as it is', () => {
  for (const { patches } of mutants)
    for (const file of new Set(patches.map((patch) => patch.file)))
      expect(() =>
        patchedText(
          file,
          patches.filter((patch) => patch.file === file),
        ),
      ).not.toThrow();
});

describe.concurrent('a bug planted in a safety rule is found', { timeout: 600_000 }, () => {
  for (const mutant of mutants)
    it(`${mutant.rule}: ${mutant.name}`, async () => {
      const { found, seeds } = await hunt(mutant, budgetMs, mutant.hunt);
      expect(found, `no violation in ${seeds} seeds`).not.toBeNull();
      // A crash may have any cause; a bug counts as found when a rule names it.
      expect(found?.rule, found?.sentence).not.toBe('no-exception');
    });

  for (const kind of ['storm', 'common', 'long'] as const)
    it(`the code as it is breaks no rule (${kind})`, async () => {
      const { found } = await hunt(null, asItIsMs, kind);
      expect(found).toBeNull();
    });
});
