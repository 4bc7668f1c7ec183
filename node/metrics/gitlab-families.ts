import type { StatusSnapshot } from '../../protocol/status.ts';
import { counter, type Family, gauge, label, most, type Sample, secondsOf, states, yes } from './family.ts';

const gitlabStates = ['absent', 'deploying', 'healthy', 'degraded', 'failed', 'repairing'] as const;

type Gitlab = StatusSnapshot['gitlab'];

/** GitLab as this agent sees it; what is of a hosted or protected one has no values where there is none. */
export function gitlabFamilies({ gitlab }: Pick<StatusSnapshot, 'gitlab'>): Family[] {
  const { mode, state, version, host } = gitlab;
  const isHosted = mode === 'hosted';
  const { webhook } = gitlab;
  const deliveries = webhook && [
    { labels: { outcome: 'hint' }, value: webhook.hints },
    { labels: { outcome: 'ignored' }, value: webhook.ignored },
    { labels: { outcome: 'refused' }, value: webhook.refused },
  ];
  return [
    gauge('autogit_gitlab_info', 'How the mesh has its GitLab, and its version where the mesh runs it; always 1.', [
      { labels: { mode, version: label(version) }, value: 1 },
    ]),
    gauge('autogit_gitlab_state', "GitLab's state: 1 for the one that it is in.", states('state', gitlabStates, state)),
    gauge(
      'autogit_gitlab_up',
      'Whether GitLab works; no value where there is none.',
      mode === 'none' ? null : yes(state === 'healthy'),
    ),
    gauge(
      'autogit_gitlab_host',
      "The machine that runs the mesh's GitLab: 1.",
      isHosted && host !== null ? [{ labels: { node: label(host) }, value: 1 }] : null,
    ),
    gauge(
      'autogit_gitlab_epoch',
      "The epoch of the mesh's GitLab: it rises with each move.",
      isHosted ? gitlab.epoch : null,
    ),
    gauge(
      'autogit_gitlab_flagged',
      'Whether GitLab moves nowhere by itself before a person has looked.',
      isHosted ? yes(gitlab.flag !== null) : null,
    ),
    gauge(
      'autogit_gitlab_fenced',
      'How much machines keep that they served until another one took over.',
      isHosted ? (gitlab.fenced ?? []).length : null,
    ),
    gauge(
      'autogit_gitlab_sides',
      'What was served beside after a recovery by force, and nobody has looked at.',
      isHosted ? (gitlab.sides ?? []).length : null,
    ),
    ...copyFamilies(gitlab),
    ...backupFamilies(gitlab),
    counter(
      'autogit_webhook_deliveries_total',
      "Deliveries of GitLab's webhooks to this machine, by what came of them.",
      deliveries ?? null,
    ),
  ];
}

function copyFamilies({ standbys = [], loss = null, drills = [] }: Gitlab): Family[] {
  const named = <T extends { node: string }>(rows: readonly T[], value: (row: T) => number | null): Sample[] =>
    rows.slice(0, most.machines).flatMap((row) => {
      const found = value(row);
      return found === null ? [] : [{ labels: { node: label(row.node) }, value: found }];
    });
  return [
    gauge(
      'autogit_gitlab_copy_age_seconds',
      'How old the copy of GitLab is that a machine holds.',
      named(standbys, ({ ageMs }) => (ageMs === null ? null : ageMs / 1000)),
    ),
    gauge(
      'autogit_gitlab_copy_in_sync',
      'Whether a machine has every push that GitLab has acknowledged.',
      named(standbys, ({ inSync }) => yes(inSync)),
    ),
    gauge(
      'autogit_gitlab_loss_pushes',
      "Whether acknowledged pushes would be lost if GitLab's host died now.",
      loss === null ? null : yes(loss.pushes),
    ),
    gauge(
      'autogit_gitlab_loss_seconds',
      "Seconds of all but pushes that would be lost if GitLab's host died now; +Inf: all of it.",
      loss === null ? null : (loss.seconds ?? Number.POSITIVE_INFINITY),
    ),
    gauge(
      'autogit_gitlab_drill_proven_timestamp_seconds',
      'When a machine last proved that GitLab works from what it has, since 1970.',
      named(drills, ({ proven }) => secondsOf(proven?.at)),
    ),
    gauge(
      'autogit_gitlab_drill_failed',
      'Whether the last drill of a machine that came to a verdict failed.',
      named(drills, ({ last }) => last && yes(!last.isProven)),
    ),
  ];
}

/** `vault` is there where backups go somewhere; its newest is the mesh's own, or of a GitLab that the mesh protects. */
function backupFamilies({ lastBackup, vault, protected: guarded }: Gitlab): Family[] {
  const isWanted = vault !== undefined && vault.target !== null;
  const last = secondsOf(lastBackup?.at) ?? secondsOf(guarded?.lastBackup);
  return [
    gauge('autogit_gitlab_backups_wanted', 'Whether a place for backups of GitLab is named.', yes(isWanted)),
    gauge(
      'autogit_gitlab_last_backup_timestamp_seconds',
      'When the newest backup of GitLab was made, since 1970; 0: never.',
      isWanted ? (last ?? 0) : last,
    ),
    gauge(
      'autogit_gitlab_backup_checked_timestamp_seconds',
      'When a part of the backups was last read back whole, since 1970.',
      secondsOf(vault?.checkedAt),
    ),
    gauge(
      'autogit_gitlab_backup_problem',
      'Whether the last backup failed, or none can be made.',
      vault === undefined ? null : yes(vault.problem !== null),
    ),
  ];
}
