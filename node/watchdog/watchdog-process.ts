import { watchdogMain } from './watchdog.ts';

/** The program `__watchdog --home DIR`, which deploy/bundle.mjs builds on its own: a watchdog has none of the agent in its memory. */
export async function main([, , home]: readonly string[]): Promise<void> {
  if (home === undefined) throw new Error('__watchdog needs --home DIR');
  process.exit(await watchdogMain(home));
}
