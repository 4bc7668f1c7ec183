import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { GitlabEffects } from '../../node/agent/gitlab-effects.ts';
import { slowGitlabLines } from '../../node/agent/own-attention.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Happened } from '../../scheduler/inputs.ts';

it('a GitLab that tells its queue late is known to be slow, however full the queue is', async () => {
  let waitMs = 1_200;
  let held = 1;
  let pages = 0;
  const server = createServer((request, response) => {
    const node = (id: number) => ({
      ...{ name: 'job', refName: 'main', tags: [], queuedAt: null, createdAt: null },
      id: `gid://gitlab/Ci::Build/${id}`,
      project: { id: 'gid://gitlab/Project/1', fullPath: 'a/b' },
    });
    const nodes = Array.from({ length: held }, (_, index) => node(pages * held + index + 1));
    pages += 1;
    const pageInfo = { hasPreviousPage: held > 1 && pages % 4 !== 0, startCursor: `${pages}` };
    const data = { jobs: { nodes, pageInfo }, canceling: { nodes: [] } };
    const body = request.url?.endsWith('/user') ? { username: 'root', is_admin: true } : { data };
    setTimeout(() => response.setHeader('content-type', 'application/json').end(JSON.stringify(body)), waitMs);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const fed: Happened[] = [];
  const effects = new GitlabEffects({
    ledger: () => ({ gitlab: { mode: 'external', url, token: 'glpat-x' } }) as unknown as Ledger,
    seal: (text) => text,
    unseal: (text) => text,
    feed: (happened) => void fed.push(happened),
    warn: () => undefined,
  });
  const readFiveTimes = async (): Promise<void> => {
    const before = fed.length;
    for (let read = 1; read <= 5; read++) {
      effects.handlers()['read-queue']({ kind: 'read-queue', because: 'a test' });
      // One after the other where a read is of several answers.
      if (held > 1) await expect.poll(() => fed.length, { interval: 10, timeout: 10_000 }).toBe(before + read);
    }
    await expect.poll(() => fed.length, { timeout: 10_000 }).toBe(before + 5);
    expect(new Set(fed.map(({ kind }) => kind))).toEqual(new Set(['queue-read']));
  };
  try {
    await readFiveTimes();
    expect(slowGitlabLines(effects.queueAnswersMs)).toMatchObject([{ code: 'gitlab-slow' }]);
    // 400 jobs in four answers: 1.2 s in all.
    [held, waitMs, pages] = [100, 300, 0];
    await readFiveTimes();
    expect(slowGitlabLines(effects.queueAnswersMs)).toEqual([]);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
