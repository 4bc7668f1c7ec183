import type { Ledger } from '../protocol/ledger.ts';
import type { Attention } from '../protocol/status.ts';
import { leavingOf } from './disconnecting.ts';
import { hostingOf } from './hosting/hosted-edits.ts';
import { runsSentence, whyDisconnectWaits } from './jobs/gitlab-disconnect.ts';
import { isBusy, isOpen } from './jobs/jobs-state.ts';
import { nodeName, type ViewInput } from './snapshot-view.ts';

/** What was typed; the same that was said of its data must be said again. */
const commandOf = (hosting: ReturnType<typeof hostingOf>): string =>
  `autogit-node gitlab ${hosting === null ? 'disconnect' : `uninstall${hosting.ending?.deleteData ? ' --delete-data' : ''}`}`;

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
      ? `to give up what runs: ${commandOf(hosting)} --now`
      : leaving.force || open.some(isBusy)
        ? null
        : `not to wait for GitLab: ${commandOf(hosting)} --force`;
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
