import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { AutogitError } from '../../protocol/errors.ts';
import { askInside } from './gitlab-inside.ts';
import type { ServiceHost } from './service-host.ts';

export const UserRow = z.looseObject({ id: z.int(), username: z.string().max(255), is_admin: z.boolean().nullish() });
export type UserRow = z.infer<typeof UserRow>;

/** Four times five letters that are not mistaken for each other: 100 bits. */
function onceWord(): string {
  const letters = 'abcdefghijkmnpqrstuvwxyz23456789';
  const text = [...randomBytes(20)].map((byte) => letters[byte % letters.length]).join('');
  return text.replace(/(.{5})(?=.)/g, '$1-');
}

/**
 * Another password for a user, by the API and an admin's token: GitLab asks for one of his own at the next sign-in. Throws
 * `gitlab-refused`, `gitlab-answer`.
 */
export async function newPassword(host: ServiceHost, id: string, token: string, username: string): Promise<string> {
  const ask = async (method: 'GET' | 'PUT', path: string, body?: unknown): Promise<unknown> => {
    const question = { method, path: `/api/v4${path}`, token, ...(body !== undefined && { body }) };
    const { status, body: text } = await askInside(host, id, question);
    if (status === 200) return JSON.parse(text);
    throw new AutogitError(
      'gitlab-answer',
      `GitLab answered ${status === 0 ? 'nothing' : status} to who asked for a new password`,
      {
        hint: 'look at it: autogit-node gitlab',
      },
    );
  };
  const found = z.array(UserRow).parse(await ask('GET', `/users?username=${encodeURIComponent(username)}`));
  const user = found.find((one) => one.username.toLowerCase() === username.toLowerCase());
  if (user === undefined)
    throw new AutogitError('gitlab-refused', `GitLab has no user ${username}`, {
      hint: 'put the name into gitlab.users of autogit.yml on the machine that hosts, then: autogit-node reconcile',
    });
  const password = onceWord();
  await ask('PUT', `/users/${user.id}`, { password });
  return password;
}
