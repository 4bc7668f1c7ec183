import { setTimeout } from 'node:timers/promises';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { confirm, hasTerminal } from '../cli/prompt.ts';
import { shown } from '../foreign-text.ts';
import { asService } from '../machine/as-service.ts';
import { findGitlabHere, type GitlabHere } from '../machine/gitlab-here.ts';
import type { Progress } from '../progress-lines.ts';
import type { JoinOptions } from '../settings/settings.ts';
import { statusOf } from './core-views.ts';
import type { Member } from './member.ts';
import { NewcomerQuestions } from './newcomer-questions.ts';

const leaderPatienceMs = 15_000;
/** An engine that does not answer by then is not waited for: the line is for a person who looks at it. */
const engineMs = 1500;

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
export async function joinedLine(
  member: Member,
  lines: Progress,
  signal: AbortSignal,
  { dockerHost }: Pick<JoinOptions, 'dockerHost'>,
): Promise<void> {
  const end = performance.now() + leaderPatienceMs;
  while (!signal.aborted) {
    const { leader, gitlab, quorum, mesh } = statusOf(member.view());
    if (leader) {
      const where = gitlab.mode === 'none' ? await gitlabToConnect(dockerHost, signal) : `GitLab ${gitlab.url}`;
      lines.ok('joined', `mesh ${shown(mesh.name)}, leader ${leader.node} (term ${leader.term}); ${where}`);
      lines.say(`Running here; Ctrl-C leaves the mesh cleanly.\n${asService()}`);
      return;
    }
    if (performance.now() > end) return lines.wait('leader', quorum.sentence);
    await setTimeout(50);
  }
}

/** A GitLab that runs on this machine is most likely the one that is meant. */
async function gitlabToConnect(dockerHost: string | null, signal: AbortSignal): Promise<string> {
  const late = setTimeout(engineMs, [] as GitlabHere[], { signal, ref: false }).catch((): GitlabHere[] => []);
  const here = await Promise.race([findGitlabHere(dockerHost), late]);
  return noGitlabWords(here);
}

/** What a mesh without GitLab can do next, with a command a line. */
export function noGitlabWords(here: readonly GitlabHere[]): string {
  const url = here.find((one) => one.isRunning && !one.isLocalOnly && one.url !== null)?.url;
  const contained = here.find(({ container, isRunning }) => container !== null && isRunning)?.container;
  const more =
    contained == null
      ? []
      : [
          '-> back up the one that is here: autogit-node gitlab protect --to DIR',
          `-> or have the mesh run it: autogit-node gitlab adopt ${contained}`,
        ];
  const lines =
    url === undefined
      ? [
          'no GitLab yet',
          '-> let the mesh run one: autogit-node gitlab deploy',
          '-> or take jobs from yours: autogit-node gitlab connect URL',
        ]
      : ['no GitLab yet, and one runs here', `-> take its jobs: autogit-node gitlab connect ${url}`];
  return [...lines, ...more].join('\n');
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
