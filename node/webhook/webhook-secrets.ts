import { createHmac } from 'node:crypto';

/** What one machine's door believes. GitLab is told both when its hook is made, and shows neither again. */
export interface DoorSecrets {
  /** `X-Gitlab-Token`. */
  token: string;
  /** Key of the Standard-Webhooks signature. */
  key: Buffer;
}

/**
 * Made of the mesh's token for GitLab, which is sealed in the ledger for those that may lead: no secret more has to be kept, moved or
 * changed, and with another token they are others. A door's tell nothing of the token, nor of another machine's.
 */
export function doorSecrets(adminToken: string, mesh: string, node: string): DoorSecrets {
  const made = (what: string): Buffer =>
    createHmac('sha256', adminToken).update(`autogit webhook 1 ${what} ${mesh} ${node}`).digest();
  return { token: made('token').toString('base64url'), key: made('key') };
}

/** As GitLab takes it. */
export const signingToken = ({ key }: DoorSecrets): string => `whsec_${key.toString('base64')}`;

/** Standard Webhooks: over `id.seconds.body`; the body is added by `update`. */
export const signing = (key: Buffer, id: string, seconds: string) =>
  createHmac('sha256', key).update(`${id}.${seconds}.`);
