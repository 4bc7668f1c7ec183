import type { DeployCheck } from '../../protocol/asks.ts';
import { AutogitError, type ErrorCode } from '../../protocol/errors.ts';
import { createProgress, type Progress, withFix } from '../progress-lines.ts';
import type { Context } from './context.ts';

export const linesOf = ({ settings }: Context): Progress =>
  createProgress({ color: settings.isOn('color'), quiet: settings.isOn('quiet') });

/** What was found, line by line. Returns those that speak against it. */
export function sayChecks(lines: Progress, checks: readonly DeployCheck[]): DeployCheck[] {
  for (const { state, what, sentence, fix } of checks) lines[state](what, withFix(sentence, fix));
  return checks.filter(({ state }) => state === 'fail');
}

interface Refusal {
  code?: ErrorCode;
  /** What is not done, as the sentence begins. */
  nothing: string;
  /** The fix, where what was found names none. */
  otherwise: string;
}

/** What was found is shown; a line `fail` ends it before anything is begun. */
export function requireFit(
  context: Context,
  plan: { lines: readonly DeployCheck[] },
  { code, nothing, otherwise }: Refusal,
): void {
  const [failed] = sayChecks(linesOf(context), plan.lines);
  if (failed === undefined) return;
  if (context.settings.isOn('json')) context.out.json({ state: 'refused', plan });
  throw new AutogitError(code ?? 'unsupported', `${nothing}: ${failed.sentence}`, { hint: failed.fix ?? otherwise });
}
