import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { AutogitError } from '../../protocol/errors.ts';
import { wantedUser } from '../executors/job-account.ts';
import type { JoinOptions } from '../settings/settings.ts';
import { places } from '../store/home.ts';
import { type Remembered, recallJoin } from '../store/join-memory.ts';

const hint =
  'say who jobs are (auto: a user of its own each; NAME: that person, home included; root: jobs are root on this machine): autogit-node join --executor process --user auto';

/**
 * As root, whose jobs run on the machine itself must be said: a push to GitLab would else be root here. A home that ran
 * so before the question was asked goes on, and says so. Throws where nobody ever chose it. Returns a sentence to warn with.
 */
export function askJobUser(
  { executors, user, witness }: Pick<JoinOptions, 'executors' | 'user' | 'witness'>,
  now: { isRoot: boolean; ranSo: boolean },
): string | null {
  if (!now.isRoot || user !== null || witness || !executors.includes('process')) return null;
  if (now.ranSo) return `jobs are root on this machine, as before, and nobody wrote that out\n-> ${hint}`;
  throw new AutogitError('bad-flag', 'as root, --executor process needs the user that jobs run as', { hint });
}

/** Whether jobs of this home were root before; `last` is null where no `join` was remembered (an old agent, or a damaged file). */
export const ranAsRoot = (hasStore: boolean, last: Remembered | null): boolean =>
  hasStore &&
  (last === null ||
    ([last.executors?.value ?? []].flat().includes('process') && (last.user?.value ?? 'root') === 'root'));

/** The rule for this process and its home, before anything is made or remembered there. */
export function jobUserOf(options: JoinOptions): string | null {
  if (options.executors.includes('process') && !options.witness) wantedUser(options.user);
  return askJobUser(options, {
    isRoot: process.getuid?.() === 0,
    ranSo: ranAsRoot(
      existsSync(places(options.home).store),
      existsSync(join(options.home, 'join.json')) ? recallJoin(options.home) : null,
    ),
  });
}
