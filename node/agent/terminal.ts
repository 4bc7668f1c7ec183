import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { confirm, hasTerminal } from '../cli/prompt.ts';
import { shown } from '../foreign-text.ts';
import type { Progress } from '../progress-lines.ts';
import type { JoinOptions } from '../settings/settings.ts';
import { statusOf } from './core-views.ts';
import type { Member } from './member.ts';
import { NewcomerQuestions } from './newcomer-questions.ts';

const leaderPatienceMs = 15_000;

/** Makes the questions about newcomers for the person at this agent's terminal. */
export const newcomerQuestions = (
  options: JoinOptions,
  lines: Progress,
  change: (change: Change) => Promise<ChangeOutcome>,
): NewcomerQuestions =>
  new NewcomerQuestions({
    lines,
    // --yes takes defaults, and the default here is no.
    confirm:
      hasTerminal(options) && !options.yes
        ? (question, signal) => confirm(question, false, { ...options, signal })
        : null,
    change,
    by: options.name,
    now: () => performance.now(),
  });

/** Waits for a leader, then says what this machine joined. Without one it says which machines are missing. */
export async function joinedLine(member: Member, lines: Progress, signal: AbortSignal): Promise<void> {
  const end = performance.now() + leaderPatienceMs;
  while (!signal.aborted) {
    const { leader, gitlab, quorum, mesh } = statusOf(member.view());
    if (leader) {
      const where = gitlab.mode === 'none' ? 'no GitLab yet: autogit-node gitlab connect URL' : `GitLab ${gitlab.url}`;
      lines.ok('joined', `mesh ${shown(mesh.name)}, leader ${leader.node} (term ${leader.term}); ${where}`);
      lines.say('Running here; Ctrl-C leaves the mesh cleanly. To keep it running: autogit-node service install');
      return;
    }
    if (performance.now() > end) return lines.wait('leader', quorum.sentence);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/**
 * `start at boot? [Y/n]`, once. A newcomer at the door is the more urgent question: it takes this one's place. False
 * where nobody can be asked.
 */
export async function askForBoot(
  options: JoinOptions,
  ledger: () => Ledger | null,
  signal: AbortSignal,
): Promise<boolean> {
  const isBusy = (): boolean => Object.values(ledger()?.approvals ?? {}).some(({ ignored }) => !ignored);
  if (!hasTerminal(options) || options.yes || isBusy()) return false;
  const withdrawn = new AbortController();
  const looking = setInterval(() => isBusy() && withdrawn.abort(), 50).unref();
  try {
    const both = AbortSignal.any([signal, withdrawn.signal]);
    return await confirm('Start at boot, as a service, from now on?', true, { ...options, signal: both });
  } catch {
    return false;
  } finally {
    clearInterval(looking);
  }
}
