import type { Server, ServerResponse } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { readTokenEnd, rotateAdminToken } from '../../gitlab-bridge/gitlab-tokens.ts';
import { type Answer, answering, ended } from './answering-server.ts';

/** What becomes of an admin token where GitLab says what it should not, or refuses. */
let server: Server | null = null;
let url = '';

async function serve(answer: Answer): Promise<void> {
  ({ server, url } = await answering(answer));
}
afterEach(async () => {
  await ended(server);
  server = null;
});

const json = (response: ServerResponse, status: number, body: unknown): void => {
  response.writeHead(status, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify(body));
};

describe('an admin token', () => {
  const holder = () => ({ url, token: 'glpat-old', timeoutMs: 1000 });

  it.each([
    [{ expires_at: '2027-02-31x' }],
    [{ expires_at: '2027-13-45' }],
    [{ expires_at: 20_270_101 }],
    [[]],
    ['soon'],
  ])('of which GitLab says no day at which it ends: %j', async (said) => {
    await serve((_request, response) => json(response, 200, said));
    await expect(readTokenEnd(holder())).rejects.toMatchObject({ code: 'gitlab-answer' });
  });

  it('that GitLab will not let live as long as it did is rotated all the same: a removed machine knows it', async () => {
    const rotations: unknown[] = [];
    await serve((request, response, body) => {
      if (request.method === 'GET') return json(response, 200, { expires_at: '2099-01-01' });
      rotations.push(JSON.parse(body));
      if (body !== '{}') return json(response, 400, { message: '400 Bad request - Expiration date must be sooner' });
      json(response, 200, { token: 'glpat-new' });
    });
    expect(await rotateAdminToken(holder())).toBe('glpat-new');
    expect(rotations).toEqual([{ expires_at: '2099-01-01' }, {}]);
  });

  it.each([[{}], [{ token: '' }], [{ token: 7 }], [null]])(
    'for which GitLab answers with no other one: not asked twice, since the old one may have ended: %j',
    async (said) => {
      let asked = 0;
      await serve((_request, response) => {
        asked += 1;
        json(response, 200, said);
      });
      await expect(rotateAdminToken(holder(), 'longest')).rejects.toMatchObject({ code: 'gitlab-answer' });
      expect(asked).toBe(1);
    },
  );
});
