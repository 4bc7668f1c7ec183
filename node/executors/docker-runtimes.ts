import { AutogitError } from '../../protocol/errors.ts';
import { type Isolation, lackingRuntime, runtimeFor, tellableRuntimes } from '../../scheduler/jobs/runtimes.ts';

/** Runtimes that an engine has beside its usual one, by what it says of itself. */
export const runtimesOf = (info: object): string[] =>
  tellableRuntimes(Object.keys((info as { Runtimes?: Record<string, unknown> | null }).Runtimes ?? {}));

/** Throws `executor-failed` where the engine has none such: never less isolated. */
export function wantedRuntime(isolation: readonly Isolation[], info: object): string {
  const found = runtimeFor(isolation, runtimesOf(info));
  if (found === null)
    throw new AutogitError(
      'executor-failed',
      `this machine's engine has no runtime ${lackingRuntime(isolation)} any more`,
    );
  return found;
}
