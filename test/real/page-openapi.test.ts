import { afterEach, beforeEach, expect, it } from 'vitest';
import { PageRig } from './page-rig.ts';

let rig: PageRig;
beforeEach(async () => {
  rig = await new PageRig().open();
});
afterEach(() => rig.close());

interface Document {
  openapi: string;
  paths: Record<
    string,
    Record<string, { 'x-autogit-role': string; parameters?: { name: string }[]; requestBody?: unknown }>
  >;
}

it('the document has each path of the API, as it answers, and no other', async () => {
  rig.page.add({
    ...{ path: '/metrics', methods: ['GET'], role: 'viewer' },
    answer: () => ({ status: 200, type: 'text/plain', body: 'up 1\n' }),
  });
  const owner = await rig.enter('owner');
  const viewer = await rig.enter('viewer');
  const { openapi, paths } = JSON.parse((await rig.get(viewer, '/api/openapi.json')).text) as Document;
  expect(openapi).toBe('3.1.0');
  for (const [path, methods] of Object.entries(paths))
    for (const [method, { 'x-autogit-role': role }] of Object.entries(methods)) {
      if (path === '/api/events' || path === '/api/logs') continue;
      const queries: Record<string, string> = { '/api/why': '?job=7', '/api/gitlab/move-plan': '?to=desktop-1' };
      const asked = `${path}${queries[path] ?? ''}`;
      const said =
        method === 'get'
          ? await rig.get(viewer, asked)
          : await rig.act(viewer, path.slice('/api/acts/'.length), { odd: 1 });
      // Bodies are looked at last: a viewer may not, whatever he sends; an owner may, and sends nonsense.
      expect(said.status, path).toBe(role === 'viewer' ? 200 : 403);
      if (method === 'get') {
        expect((await rig.get(owner, asked)).status, path).toBe(200);
        continue;
      }
      expect(role).not.toBe('viewer');
      expect((await rig.act(owner, path.slice('/api/acts/'.length), { odd: 1 })).status, path).toBe(400);
    }
  const said = [
    'me',
    'status',
    'jobs',
    'why',
    'logs',
    'settings',
    'timeline',
    'usage',
    'summary',
    'events',
    'gitlab/move-plan',
    'openapi.json',
  ].map((one) => `/api/${one}`);
  expect((await rig.get(owner, '/api/gitlab/move-plan')).status).toBe(400);
  expect(JSON.parse((await rig.get(owner, '/api/gitlab/move-plan?to=desktop-1')).text)).toMatchObject({ host: 'kang' });
  const acts = ['approve', 'ignore', 'pause', 'resume', 'drain', 'cancel', 'retry', 'backup', 'move', 'move-cancel'];
  for (const path of [...said, ...acts.map((one) => `/api/acts/${one}`), '/metrics'])
    expect(Object.keys(paths)).toContain(path);
});

it('another part’s path is served to those whom it names, and below a folder too', async () => {
  const asked: unknown[] = [];
  rig.page.add({
    ...{ path: '/metrics', methods: ['GET'], role: 'operator' },
    answer: () => ({ status: 200, type: 'text/plain; version=0.0.4', body: 'up 1\n' }),
  });
  rig.page.add({
    ...{ path: '/n/', methods: ['GET', 'POST'], role: 'anybody' },
    answer: async ({ path, method, caller, query, body }) => {
      asked.push([method, path, caller, query.get('a'), new TextDecoder().decode(await body())]);
      return { status: 200, type: 'text/plain', body: 'so it is\n' };
    },
  });
  const { key } = await rig.page.pageKey('operator', null);
  const { key: low } = await rig.page.pageKey('viewer', null);
  expect((await rig.ask('/metrics')).status).toBe(401);
  expect((await rig.ask('/metrics', { headers: { authorization: `Bearer ${low}` } })).status).toBe(403);
  const metrics = await rig.ask('/metrics', { headers: { authorization: `Bearer ${key}` } });
  expect([metrics.status, metrics.text, metrics.headers['content-type']]).toEqual([
    200,
    'up 1\n',
    'text/plain; version=0.0.4',
  ]);
  expect((await rig.ask('/metrics', { method: 'POST', headers: { authorization: `Bearer ${key}` } })).status).toBe(405);
  expect((await rig.ask('/n/abc?a=1', { method: 'POST', body: 'x' })).text).toBe('so it is\n');
  expect(asked).toEqual([['POST', '/n/abc', null, '1', 'x']]);
  expect((await rig.ask('/n/abc', { headers: { host: 'evil.example' } })).status).toBe(421);
});
