import { patchedText } from '../bundle.ts';
import type { Mutant } from './mutant.ts';

/** Throws where a planted bug does not match the code as it is. */
export function fitAll(mutants: readonly Mutant[]): void {
  for (const { patches } of mutants)
    for (const file of new Set(patches.map((patch) => patch.file)))
      patchedText(
        file,
        patches.filter((patch) => patch.file === file),
      );
}
