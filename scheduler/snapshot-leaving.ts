import type { Ledger } from '../protocol/ledger.ts';
import type { Attention } from '../protocol/status.ts';
import { leavingOf } from './disconnecting.ts';
import { hostingOf } from './hosting/hosted-edits.ts';
import { runsSentence, whyDisconnectWaits } from './jobs/gitlab-disconnect.ts';
import { isBusy, isOpen } from './jobs/jobs-state.ts';
import { nodeName, type ViewInput } from './snapshot-view.ts';

const sooner = {
  leaves: {
    now: 'to give up what runs: autogit-node gitlab disconnect --now',
    force: 'not to wait for GitLab: autogit-node gitlab disconnect --force',
  },
  ends: {
    now: 'to give up what runs: autogit-node gitlab uninstall --now',
    force: 'not to wait for GitLab: autogit-node gitlab uninstall --force',
  },
  // The same that was said of its data must be said again.
  isDeleted: {
    now: 'to give up what runs: autogit-node gitlab uninstall --delete-data --now',
    force: 'not to wait for GitLab: autogit-node gitlab uninstall --delete-data --force',
  },
} as const;
const fateOf = (hosting: ReturnType<typeof hostingOf>): keyof typeof sooner =>
  hosting === null ? 'leaves' : hosting.ending?.deleteData ? 'isDeleted' : 'ends';

/** GitLab is being disconnected: what is waited for, and what to type for not waiting. The leader knows more than the ledger. */
export function leavingLines(view: ViewInput, ledger: Ledger): Attention[] {
  const leaving = leavingOf(ledger);
  if (leaving === null) return [];
  const open = Object.values(ledger.runs).filter(isOpen);
  const waits = leavingWaits(view, ledger);
  const isAway = !open.some(isBusy) && (view.jobs.lead?.disconnect.because ?? null) !== null;
  const hosting = hostingOf(ledger);
  const fix =
    open.some(isBusy) && !leaving.now
      ? sooner[fateOf(hosting)].now
      : leaving.force || open.some(isBusy)
        ? null
        : sooner[fateOf(hosting)].force;
  const sentence =
    hosting === null
      ? `GitLab at ${ledger.gitlab.url} is being disconnected: ${waits}`
      : `GitLab on ${nodeName(ledger, hosting.host)} is being uninstalled: ${hosting.ending?.drained ? 'its container is being ended' : waits}`;
  return [{ code: 'gitlab-leaving', severity: isAway ? 'warn' : 'info', sentence, fix }];
}

function leavingWaits(view: ViewInput, ledger: Ledger): string {
  const open = Object.values(ledger.runs).filter(isOpen);
  const { lead } = view.jobs;
  const waits =
    lead === null ? (open.length > 0 ? runsSentence(open) : null) : whyDisconnectWaits(view.jobs, view, ledger);
  if (waits !== null) return waits;
  const because = lead?.disconnect.because ?? null;
  return because === null ? 'its runners are being deleted there' : `its runners are not deleted yet (${because})`;
}
