import { AutogitError } from '../protocol/errors.ts';
import type { JoinOptions } from './settings.ts';

/** Runs the agent until it leaves; returns the exit code. */
export async function runAgent(_options: JoinOptions): Promise<number> {
  throw new AutogitError('unsupported', 'this build has no agent');
}
