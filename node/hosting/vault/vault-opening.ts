import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Ask } from '../../../protocol/asks.ts';
import type { Change, ChangeOutcome } from '../../../protocol/changes.ts';
import { AutogitError } from '../../../protocol/errors.ts';
import { asSentence } from '../../../protocol/ids.ts';
import type { Ledger, LedgerVault } from '../../../protocol/ledger.ts';
import { askDisk } from '../../asked-disk.ts';
import { checkTarget, isFolder } from './backup-target.ts';
import { Restic } from './restic.ts';
import { VaultSecret } from './vault-memory.ts';

/** What opens and seals the key of the backups on this machine. */
export interface VaultKeys {
  home: string;
  ledger(): Ledger | null;
  change(change: Change): Promise<ChangeOutcome>;
  canOpen(sealed: string): boolean;
  unseal(sealed: string): string;
  sealForVoters(text: string): string;
}

/** What the ledger takes sealed. */
const secretMost = 8192;

const resticOf = (home: string, repository: ConstructorParameters<typeof Restic>[0]): Restic =>
  new Restic(repository, join(home, 'restic-cache'));

/** The repository of the ledger's; throws on a machine that does not vote. */
export function openVault({ target, secret }: LedgerVault, { home, canOpen, unseal }: VaultKeys): Restic {
  if (!canOpen(secret))
    throw new AutogitError('backup', 'this machine does not vote, and only those who do open the key of the backups', {
      hint: 'which machines vote: autogit-node status -o wide',
    });
  return resticOf(home, { target, ...VaultSecret.parse(JSON.parse(unseal(secret))) });
}

/**
 * Looks whether backups can go there, makes the repository, and asks the mesh to remember it. `data`: the folder that is backed
 * up. A sentence.
 */
export async function beginVault(
  { target, password, credentials, isNew, everyMs, keep }: Ask & { kind: 'begin-vault' },
  { home, sealForVoters, change }: VaultKeys,
  { data, signal }: { data: string; signal: AbortSignal },
): Promise<string> {
  checkTarget(target);
  const same = await sameDisk(target, data);
  const restic = resticOf(home, { target, password, credentials });
  let repository = await restic.id(signal);
  if (repository !== null && isNew)
    throw new AutogitError('backup', `${target} has a repository already, which another key opens`, {
      hint: `name an empty folder, or give its recovery key: autogit-node gitlab backup --to ${target} --recovery-key-env VAR`,
    });
  if (repository === null && !isNew)
    throw new AutogitError('backup', `there is no repository at ${target}`, {
      hint: isFolder(target)
        ? `see whether its disk is mounted: findmnt -T ${target}`
        : 'look whether the address is right',
    });
  if (repository === null) {
    await restic.init(signal);
    repository = await restic.id(signal);
  }
  if (repository === null) throw new AutogitError('backup', `no repository could be made at ${target}`);
  const secret = sealForVoters(JSON.stringify({ password, credentials }));
  const because = 'a person named the place';
  if (secret.length > secretMost)
    throw new AutogitError('backup', 'what opens that target is too long to be sealed for all voters', {
      hint: 'unset what the target does not need of AWS_…, OS_…, B2_… and AZURE_…, then again',
    });
  const { state, because: why } = await change({
    kind: 'set-vault',
    vault: { target, repository, secret, everyMs, keep },
    because,
  });
  if (state !== 'done') throw new AutogitError('no-leader', `the mesh does not take it: ${why}`);
  return asSentence(`backups of GitLab go to ${target}${same}`);
}

/** Said, not refused: better there than nowhere. */
async function sameDisk(target: string, data: string): Promise<string> {
  if (!isFolder(target)) return '';
  if (target === data || target.startsWith(`${data}/`))
    throw new AutogitError('bad-flag', `${target} lies in GitLab's own data`, {
      hint: 'name a folder on another disk',
    });
  return (await deviceNear(target)) === (await deviceNear(data))
    ? "; it is the same disk as GitLab's data: if that dies both are gone, so name another one too"
    : '';
}

/** Of that folder, or the one above it in which it would be made. */
async function deviceNear(path: string): Promise<number> {
  const there = await askDisk(path, () => stat(path).catch(() => null));
  return there?.dev ?? (path === '/' ? 0 : deviceNear(dirname(path)));
}
