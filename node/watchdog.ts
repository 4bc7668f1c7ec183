import { AutogitError } from '../protocol/errors.ts';

/** Freezes runs whose agent gives no beat (SAFETY J1); returns the exit code. */
export async function watchdogMain(_home: string): Promise<number> {
  throw new AutogitError('unsupported', 'this build has no watchdog');
}
