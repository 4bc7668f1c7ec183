import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Ask } from '../../../protocol/asks.ts';
import type { Change, ChangeOutcome } from '../../../protocol/changes.ts';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import { asSentence, type NodeId } from '../../../protocol/ids.ts';
import type { Ledger } from '../../../protocol/ledger.ts';
import type { LedgerVault } from '../../../protocol/vault.ts';
import { vaultOf } from '../../../scheduler/hosting/vault-edits.ts';
import { checkTarget, isFolder, nodeIn, nodeTarget } from './backup-target.ts';
import { type Reach, Restic } from './restic.ts';
import { targetDiskWords } from './target-disk.ts';
import { VaultSecret } from './vault-memory.ts';

/** What opens and seals the key of the backups on this machine. */
export interface VaultKeys {
  home: string;
  ledger(): Ledger | null;
  change(change: Change): Promise<ChangeOutcome>;
  canOpen(sealed: string): boolean;
  unseal(sealed: string): string;
  sealForVoters(text: string): string;
  keepers: Keepers;
}

/** Machines of the mesh that keep backups, as the one that makes them knows them. */
export interface Keepers {
  /** By the name that a person typed; throws in words where it is none that can. */
  named(name: string): NodeId;
  nameOf(node: NodeId): string;
  reach(node: NodeId, purpose: 'begin' | 'use'): Reach;
  /** What it said of them when it was asked last. */
  saidBy(node: NodeId): string | null;
}

/** What the ledger takes sealed. */
const secretMost = 8192;

const resticOf = (home: string, repository: ConstructorParameters<typeof Restic>[0]): Restic =>
  new Restic(repository, join(home, 'restic-cache'));

/** The repository of the ledger's; throws on a machine that does not vote. */
export function openVault(vault: LedgerVault, keys: VaultKeys): Restic {
  const { target, keeper } = vault;
  const opened = openWithKey(keeper === undefined ? target : keys.keepers.reach(keeper, 'use'), vault, keys);
  if (opened === null)
    throw new AutogitError('backup', 'this machine does not vote, and only those who do open the key of the backups', {
      hint: 'which machines vote: autogit-node status -o wide',
    });
  return opened;
}

/** Wherever it lies; null on a machine that does not vote. */
export function openWithKey(
  target: string | Reach,
  { secret }: LedgerVault,
  { home, canOpen, unseal }: VaultKeys,
): Restic | null {
  return canOpen(secret) ? resticOf(home, { target, ...VaultSecret.parse(JSON.parse(unseal(secret))) }) : null;
}

/** What the machine that keeps them said of them, for the mesh. */
export function keptWords(vault: LedgerVault | null, { keepers }: VaultKeys): { kept?: string } {
  const said = vault?.keeper === undefined ? null : keepers.saidBy(vault.keeper);
  return said === null ? {} : { kept: asSentence(said) };
}

/**
 * Looks whether backups can go there, makes the repository, and asks the mesh to remember it. `data`: the folder that is backed
 * up. A sentence.
 */
export async function beginVault(
  { target: asked, password, credentials, isNew, everyMs, keep }: Ask & { kind: 'begin-vault' },
  keys: VaultKeys,
  { data, signal }: { data: string; signal: AbortSignal },
): Promise<string> {
  checkTarget(asked);
  const { home, ledger, sealForVoters, change, keepers } = keys;
  const named = nodeIn(asked);
  const keeper = named === null ? null : keepers.named(named);
  const target = keeper === null ? asked : nodeTarget(keepers.nameOf(keeper));
  const where = await targetDiskWords(target, data);
  const restic = resticOf(home, {
    target: keeper === null ? target : keepers.reach(keeper, 'begin'),
    ...{ password, credentials },
  });
  if (isNew && (await goesThere(target, keys, signal)))
    throw new AutogitError(
      'backup',
      `backups of GitLab go to ${target} already (--show-recovery-key shows their key)`,
      {
        hint: 'make one now: autogit-node gitlab backup',
      },
    );
  const isOthers = (): AutogitError =>
    isNew
      ? new AutogitError('backup', `${target} has a repository already, which another key opens`, {
          hint: `${keeper === null ? 'name an empty folder' : 'name another machine'}, or give its recovery key: autogit-node gitlab backup --to ${target} --recovery-key-env VAR`,
        })
      : new AutogitError('backup', `that key does not open the repository at ${target}`, {
          hint: 'it is the one that was shown when that repository was made: put it into VAR, then --recovery-key-env VAR',
        });
  let repository = await restic.id(signal).catch((error: unknown) => {
    throw /wrong password|no key found/i.test(sentenceOf(error)) ? isOthers() : error;
  });
  if (repository !== null && isNew) throw isOthers();
  if (repository === null && !isNew)
    throw new AutogitError('backup', `there is no repository at ${target}`, {
      hint: isFolder(target)
        ? `see whether its disk is mounted: findmnt -T ${target}`
        : keeper === null
          ? 'look whether the address is right'
          : `leave --recovery-key-env out, and one is made there`,
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
  const known = ledger();
  const before = known && vaultOf(known);
  const { state, because: why } = await change({
    kind: 'set-vault',
    vault: { target, ...(keeper !== null && { keeper }), repository, secret, everyMs, keep },
    because,
  });
  if (state !== 'done') throw new AutogitError('no-leader', `the mesh does not take it: ${why}`);
  await untilKnown(() => ledger()?.gitlab.vault?.repository === repository, signal);
  const said = keeper === null ? null : keepers.saidBy(keeper);
  const instead =
    before === null || before.target === target
      ? ''
      : `, and no more to ${before.target}: what is there stays, and is opened by its own key`;
  return asSentence(`backups of GitLab go to ${target}${instead}${where}${said === null ? '' : `: ${said}`}`);
}

/** Backups go there, and what lies there is theirs: a disk that was changed for an empty one has another repository, or none. */
async function goesThere(target: string, keys: VaultKeys, signal: AbortSignal): Promise<boolean> {
  const ledger = keys.ledger();
  const vault = ledger && vaultOf(ledger);
  if (vault?.target !== target) return false;
  const found = await openVault(vault, keys)
    .id(signal)
    .catch(() => null);
  return found === vault.repository;
}

/** ms; the leader answers before what it has committed is known on every machine. */
const knownMs = 10_000;

async function untilKnown(isKnown: () => boolean, signal: AbortSignal): Promise<void> {
  for (const end = performance.now() + knownMs; !isKnown() && performance.now() < end; )
    await sleep(50, undefined, { signal });
}
