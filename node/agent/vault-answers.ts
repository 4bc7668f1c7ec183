import type { Answer } from '../../protocol/asks.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { GitlabKeeper } from '../hosting/gitlab-keeper.ts';
import type { GitlabProtector } from '../hosting/protect/gitlab-protector.ts';
import type { GitlabUpgrade } from '../hosting/upgrade/upgrade-host.ts';
import type { GitlabVault } from '../hosting/vault/gitlab-vault.ts';
import { answered } from './hosting-answers.ts';
import type { UpgradeAsk, VaultAsk } from './hosting-here.ts';

export function ofVault(ask: VaultAsk, vault: GitlabVault | GitlabProtector): Promise<Answer> {
  return answered(async () => {
    if (ask.kind === 'backups') return { kind: 'backups', ...(await vault.rows(ask.rounds)) };
    if (ask.kind === 'compare-gitlab') return { kind: 'compared', ...(await vault.compare(ask.with, ask.from)) };
    if (ask.kind === 'restore-project') return vault.restoreProject(ask.backup, ask.project);
    if (ask.kind === 'begin-vault') return vault.begin(ask);
    return ask.kind === 'backup-now' ? vault.backupNow() : vault.restore(ask.backup);
  });
}

interface UpgradeParts {
  dockerHost: string | null;
  ledger(): Ledger | null;
  keeper: Pick<GitlabKeeper, 'kept'>;
  upgrade: GitlabUpgrade;
  vault: GitlabVault;
}

export function ofUpgrade(
  ask: UpgradeAsk,
  { dockerHost, ledger, keeper: { kept }, upgrade, vault }: UpgradeParts,
): Promise<Answer> {
  return answered(async () => {
    if (kept === null) throw new AutogitError('no-gitlab', 'this machine does not know yet of a GitLab that it hosts');
    if (ask.kind === 'rehearse-upgrade') return upgrade.rehearse(ask.image);
    const { checkUpgrade } = await import('../hosting/upgrade/upgrade-facts.ts');
    const seen = { busy: upgrade.busy(kept), vault: vault.seen().vault ?? null };
    return checkUpgrade(ask, { dockerHost, kept, ledger: ledger(), ...seen });
  });
}
