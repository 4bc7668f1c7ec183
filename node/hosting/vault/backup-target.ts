import { AutogitError } from '../../../protocol/errors.ts';
import { NodeName } from '../../../protocol/ids.ts';

/** Variables of the caller's that open a target, taken along sealed. All that restic knows and that name no file or program. */
const known =
  /^(AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|DEFAULT_REGION)|B2_ACCOUNT_(ID|KEY)|AZURE_ACCOUNT_(NAME|KEY|SAS)|OS_[A-Z_]+|ST_(AUTH|USER|KEY))$/;

export function credentialsIn(env: NodeJS.ProcessEnv, target: string): Record<string, string> {
  if (isFolder(target) || nodeIn(target) !== null) return {};
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (known.test(name) && value ? [[name, value]] : [])),
  );
}

export const isFolder = (target: string): boolean => target.startsWith('/');

/** The name of the machine of the mesh that it names; null where it names none. */
export const nodeIn = (target: string): string | null => /^node:(.+)$/.exec(target)?.[1] ?? null;

export const nodeTarget = (name: string): string => `node:${name}`;

/** Null where it is one that restic can be given; else what is wrong with it. */
function whyNoTarget(target: string): string | null {
  if (isFolder(target))
    return /(^|\/)\.\.?(\/|$)/.test(target)
      ? `${target} has '.' or '..' in it`
      : target === '/'
        ? '/ is no folder for backups'
        : null;
  if (!/^(node|sftp|s3|rest|b2|azure|gs|swift):.+/.test(target))
    return `"${target}" is neither a folder (/mnt/disk/gitlab) nor a machine of the mesh (node:NAME) nor one of sftp:, s3:, rest:, b2:, azure:, gs:, swift:`;
  const node = nodeIn(target);
  if (node !== null && !NodeName.safeParse(node).success) return `"${node}" is no name of a machine`;
  // It would stand in the ledger, in status and in logs.
  if (/:\/\/[^/@]*:[^/@]*@/.test(target)) return 'the address holds a password: who may read status would read it';
  return null;
}

export function checkTarget(target: string): void {
  const why = whyNoTarget(target);
  if (why !== null)
    throw new AutogitError('bad-flag', why, {
      hint: 'a folder on another disk is the simplest: autogit-node gitlab backup --to /mnt/disk/gitlab',
    });
}
