import type { Ledger } from '../protocol/ledger.ts';
import type { Attention } from '../protocol/status.ts';
import { failoverLines } from './snapshot-failover.ts';
import { hostedLines } from './snapshot-gitlab.ts';
import { moveLines } from './snapshot-move.ts';
import { protectedLines } from './snapshot-protected.ts';
import { upgradeLines } from './snapshot-upgrade.ts';
import { vaultLines } from './snapshot-vault.ts';
import type { ViewInput } from './snapshot-view.ts';
import { tokenEnd } from './token-end.ts';
import { lacksSudoSentence } from './token-scopes.ts';
import { twoSidesLines } from './two-sides.ts';

/** What a person should know of GitLab: that there is none, that it does not serve, that it is not backed up. */
export function gitlabLines(view: ViewInput, ledger: Ledger): Attention[] {
  const { mode, url, lacksSudo } = ledger.gitlab;
  const backups = [...protectedLines(view, ledger), ...vaultLines(view, ledger)];
  if (mode === 'none') return [...backups, noGitlab];
  if (mode === 'connected') {
    const ofToken = [...(lacksSudo === true ? [tokenWithoutSudo(url)] : []), ...tokenEndLines(ledger, view.wallMs)];
    return [...backups, ...queueLines(view, url), ...ofToken];
  }
  const own = [
    ...hostedLines(view, ledger),
    ...twoSidesLines(view, ledger),
    ...backups,
    ...upgradeLines(view, ledger),
    ...moveLines(view, ledger),
    ...failoverLines(view, ledger),
  ];
  // Until it stands there is no queue to read; while it does not serve, that is why.
  return own.length > 0 || url === null ? own : queueLines(view, url);
}

const noGitlab: Attention = {
  code: 'no-gitlab',
  severity: 'warn',
  sentence: 'no GitLab is connected, and the mesh runs none: there are no jobs to take',
  fix: 'autogit-node gitlab connect URL --token-env VAR',
};

/** Of a lab with one user it is all the same; nobody but a person knows which this is. */
const tokenWithoutSudo = (url: string | null): Attention => ({
  code: 'token-without-sudo',
  severity: 'info',
  sentence: lacksSudoSentence,
  fix: `a new token with scopes api and sudo in VAR, then: autogit-node gitlab connect ${url} --token-env VAR`,
});

/** Nobody but a person knows who else uses it. */
function tokenEndLines(ledger: Ledger, wallMs: number): Attention[] {
  const end = tokenEnd(ledger, wallMs);
  if (end === null || end.state === 'far') return [];
  const { url } = ledger.gitlab;
  const line = (severity: Attention['severity'], sentence: string): Attention[] => {
    const fix = `a new token with scopes api and sudo in VAR, then: autogit-node gitlab connect ${url} --token-env VAR`;
    return [{ code: 'gitlab-token-ends', severity, sentence, fix }];
  };
  if (end.state === 'ended') return line('fail', `GitLab's token ended on ${end.day}: no job is taken`);
  const ends = `GitLab's token ends on ${end.day}, in ${end.daysLeft} day${end.daysLeft === 1 ? '' : 's'}`;
  if (end.state === 'renewed-now') return line('warn', `${ends}, and could not be renewed yet`);
  const renewed = `the mesh renews it by itself on ${end.renewedOn}, and the one of now is dead then, also for what else uses it`;
  return line('info', `${ends}: ${renewed}`);
}

function queueLines(view: ViewInput, url: string | null): Attention[] {
  const seen = view.leader ? view.jobs.reports[view.leader.node]?.report.queue : undefined;
  if (seen === undefined || seen.gitlab === 'healthy') return [];
  if (seen.refused)
    return [
      {
        code: 'gitlab-token',
        severity: 'fail',
        sentence: `GitLab answers, but not to this mesh's token: ${seen.because ?? 'it was refused'}; no job is taken`,
        fix: `with an admin's token (scope api) in VAR: autogit-node gitlab connect ${url} --token-env VAR`,
      },
    ];
  return [
    {
      code: 'gitlab-unreachable',
      severity: seen.gitlab === 'failed' ? 'fail' : 'warn',
      sentence: `GitLab's queue cannot be read: ${seen.because ?? 'it does not answer'}`,
      fix: 'autogit-node doctor',
    },
  ];
}
