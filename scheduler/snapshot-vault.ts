import type { Ledger } from '../protocol/ledger.ts';
import type { VaultSeen } from '../protocol/report.ts';
import type { Attention, StatusSnapshot } from '../protocol/status.ts';
import { hostingOf } from './hosting/hosted-edits.ts';
import { vaultOf } from './hosting/vault-edits.ts';
import { rfc3339 } from './jobs/civil-time.ts';
import { span } from './phrases.ts';
import { protectedSeen } from './snapshot-protected.ts';
import { isHere, type ViewInput } from './snapshot-view.ts';

type GitlabView = StatusSnapshot['gitlab'];

/** What is said of the backups by its host or, where the mesh hosts none, by the machine of the one that it protects. */
function saidOf(view: ViewInput, ledger: Ledger): VaultSeen | null {
  const hosting = hostingOf(ledger);
  if (hosting === null) return protectedSeen(view, ledger)?.vault ?? null;
  const said = view.jobs.reports[hosting.host]?.report.gitlab;
  return said?.data === hosting.data ? (said?.vault ?? null) : null;
}

export function vaultView(view: ViewInput, ledger: Ledger): Pick<GitlabView, 'lastBackup' | 'vault'> {
  const vault = vaultOf(ledger);
  const said = saidOf(view, ledger);
  const target = vault?.target ?? null;
  const whose = hostingOf(ledger)?.host ?? ledger.gitlab.protected?.node;
  // Of a machine that is silent it is the last that was heard, and nothing goes on by it.
  const doing = said?.doing && whose !== undefined && isHere(view, whose) ? said.doing : null;
  const last = said?.last ?? null;
  return {
    lastBackup: last && target !== null ? { id: last.id, at: rfc3339(last.at), copies: [target] } : null,
    ...((target !== null || said !== null) && {
      vault: {
        target,
        checkedAt: said?.checkedAt == null ? null : rfc3339(said.checkedAt),
        doing,
        problem: said?.problem ?? null,
        ...(vault?.keeper !== undefined && said?.kept !== undefined && { kept: said.kept }),
        restored: said?.restored ?? null,
      },
    }),
  };
}

/** A backup that is late, or what went wrong with one, and why. */
export function vaultLines(view: ViewInput, ledger: Ledger): Attention[] {
  const { vault } = ledger.gitlab;
  const said = saidOf(view, ledger);
  if (vault === undefined || said === null) return [];
  const ageMs = said.last === null ? null : Math.max(0, view.wallMs - said.last.at);
  const isLate = ageMs === null || ageMs > 2 * vault.everyMs;
  if (said.problem === null && (ageMs === null || !isLate)) return [];
  const age = ageMs === null ? 'there is none yet' : `the newest is ${span(ageMs)} old`;
  const cause =
    said.problem?.replace(' -> ', '; ') ??
    (said.doing?.what === 'backup'
      ? `one is being made, and has not come to its end: ${said.doing.phase}`
      : 'none is made while GitLab does not work');
  return [
    {
      code: 'gitlab-backup',
      severity: isLate ? 'fail' : 'warn',
      sentence: `backups of GitLab: ${cause} (${age})`,
      fix: null,
    },
  ];
}
