import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AutogitError } from '../../protocol/errors.ts';
import { PageRig } from './page-rig.ts';

let rig: PageRig;
beforeEach(async () => {
  rig = await new PageRig().open();
});
afterEach(() => rig.close());

const codeOf = async (role: 'viewer' | 'owner' = 'owner'): Promise<string> => {
  const { pathname, search } = new URL((await rig.page.pageLink(role, null)).urls[0] as string);
  return pathname + search;
};

describe('who comes to the page’s door', () => {
  it('is not served where this machine has no such address: said with another place, and nothing else ends', async () => {
    const nowhere = await new PageRig().open({ host: '192.0.2.9' });
    expect(nowhere.page.url()).toBeNull();
    expect(nowhere.page.attention()).toMatchObject([
      {
        ...{ code: 'page-off', severity: 'warn', fix: 'autogit-node join --dashboard 127.0.0.1:7118' },
        sentence: expect.stringMatching(/^this machine's page is not served: 192\.0\.2\.9:\d+: .*EADDRNOTAVAIL/),
      },
    ]);
    await nowhere.close();
    expect(rig.page.attention()).toEqual([]);
  });

  it('is told by `join` where it is; that it is off, or cannot be served, with what to type', async () => {
    const lines: string[] = [];
    const print = (state: string) => (what: string, sentence: string) =>
      void lines.push(`${state} ${what} ${sentence}`);
    const nowhere = await new PageRig().open({ host: '192.0.2.9' });
    const off = await new PageRig().open({ isOff: true });
    for (const { page } of [rig, nowhere, off]) page.say({ ok: print('ok'), warn: print('warn') });
    expect(lines).toEqual([
      `ok page http://127.0.0.1:${rig.port}; a link that opens it: autogit-node dashboard`,
      expect.stringMatching(
        /^warn page not served: 192\.0\.2\.9:\d+: .*EADDRNOTAVAIL.*\n-> .*: autogit-node join --dashboard HOST:PORT$/,
      ),
      expect.stringMatching(/^ok page off: this machine serves none\n-> .*: autogit-node join --dashboard 127\.0/),
    ]);
    for (const one of [nowhere, off]) await one.close();
  });

  it('is told how to get in, and nothing of the mesh, also from this machine', async () => {
    for (const path of ['/', '/s/AAAAAAAAAAAAAAAAAAAAAA/', '/enter?code=x', '/enter']) {
      const said = await rig.ask(path);
      expect(said.status, path).toBe(401);
      expect(said.text).toContain('autogit-node dashboard');
      expect(said.headers['content-security-policy']).toMatch(
        /^default-src 'none'; script-src 'self';.*frame-ancestors 'none'$/,
      );
    }
    for (const path of [
      '/api/status',
      '/api/jobs',
      '/api/me',
      '/api/events',
      '/api/summary',
      '/api/openapi.json',
      '/api/nothing',
    ])
      expect(JSON.parse((await rig.ask(path)).text), path).toMatchObject({
        error: { code: 'not-approved', hint: expect.stringContaining('autogit-node dashboard key') },
      });
    expect(rig.api.asked).toEqual([]);
  });

  it('comes in by a link, once, with a place and a cookie of which neither alone is enough', async () => {
    const link = await codeOf();
    const entered = await rig.ask(link);
    expect(entered.status).toBe(303);
    const place = String(entered.headers.location);
    expect(place).toMatch(/^\/s\/[\w-]{22}\/$/);
    const set = entered.headers['set-cookie']?.[0] as string;
    expect(set).toMatch(
      new RegExp(`^autogit=[\\w-]{43}; Path=${place.slice(0, -1)}; Max-Age=604800; HttpOnly; SameSite=Strict$`),
    );
    const cookie = set.split(';')[0] as string;
    const me = await rig.ask(`${place}api/me`, { headers: { cookie } });
    expect(JSON.parse(me.text)).toMatchObject({ node: 'kang', mesh: 'home', role: 'owner', name: 'page-1' });
    expect((await rig.ask(link)).status).toBe(401);
    expect((await rig.ask(`${place}api/me`)).status).toBe(401);
    expect((await rig.ask('/api/me', { headers: { cookie } })).status).toBe(401);
    const other = await rig.enter();
    expect((await rig.ask(`${other.place}/api/me`, { headers: { cookie } })).status).toBe(401);
    // What a page on another port of this machine put beside it does not keep the owner out.
    expect((await rig.ask(`${place}api/me`, { headers: { cookie: `autogit=theirs; ${cookie}` } })).status).toBe(200);
  });

  it('a link is not used up by what only looks ahead, and is over after ten minutes', async () => {
    const link = await codeOf();
    expect((await rig.ask(link, { method: 'HEAD' })).status).toBe(401);
    expect((await rig.ask(link, { headers: { 'sec-purpose': 'prefetch;prerender' } })).status).toBe(401);
    expect((await rig.ask(link, { headers: { 'sec-fetch-dest': 'image' } })).status).toBe(401);
    const fromChat = await rig.ask(link, { headers: { 'sec-fetch-dest': 'document', 'sec-fetch-site': 'cross-site' } });
    expect([fromChat.status, fromChat.headers.location]).toEqual([200, undefined]);
    expect(fromChat.text).toMatch(/http-equiv="refresh" content="0;url=\/s\/[\w-]{22}\/"/);
    const late = await codeOf();
    rig.wallMs += 600_001;
    expect((await rig.ask(late)).status).toBe(401);
  });

  it('is in for as long as was said, and no longer', async () => {
    const one = await rig.enter('viewer', 60_000);
    expect((await rig.get(one, '/api/status')).status).toBe(200);
    rig.wallMs += 60_001;
    expect((await rig.get(one, '/api/status')).status).toBe(401);
  });

  it('is in after a restart of the agent too; of what lets him in only a hash is kept', async () => {
    const one = await rig.enter();
    const { key } = await rig.page.pageKey('viewer', 'home-page');
    const file = join(rig.home, 'page.json');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const kept = readFileSync(file, 'utf8');
    for (const secret of [key, key.slice(4), one.cookie.split('=')[1] as string, one.place.slice(3)])
      expect(kept).not.toContain(secret);
    const { port } = rig;
    await rig.page.close();
    await rig.open({ port });
    expect((await rig.get(one, '/api/status')).status).toBe(200);
    expect((await rig.ask('/api/status', { headers: { authorization: `Bearer ${key}` } })).status).toBe(200);
    expect(await rig.page.pageKeys()).toMatchObject([
      { name: 'home-page', kind: 'key', role: 'viewer', usedAt: rig.wallMs },
      { name: 'page-1', kind: 'session', role: 'owner' },
    ]);
    await rig.page.pageKeyRemove('home-page');
    await rig.page.pageKeyRemove('page-1');
    expect((await rig.get(one, '/api/status')).status).toBe(401);
    expect((await rig.ask('/api/status', { headers: { authorization: `Bearer ${key}` } })).status).toBe(401);
  });
});

describe('what is read at the page', () => {
  it('is what agent.sock answers', async () => {
    const one = await rig.enter('viewer');
    const status = await rig.get(one, '/api/status');
    expect(JSON.parse(status.text)).toMatchObject({ mesh: { name: 'home' }, seenFrom: 'kang' });
    expect(status.headers).toMatchObject({
      'cache-control': 'no-store',
      'content-type': 'application/json',
      etag: expect.any(String),
    });
    expect(JSON.parse((await rig.get(one, '/api/jobs?all=1')).text)).toEqual({ rows: [] });
    expect(JSON.parse((await rig.get(one, '/api/why?job=7')).text)).toEqual({ why: null });
    expect((await rig.get(one, '/api/why?job=x')).status).toBe(400);
    expect(JSON.parse((await rig.get(one, '/api/summary')).text)).toMatchObject({
      mesh: 'home',
      state: 'ok',
      leader: 'kang',
    });
    expect((await rig.get(one, '/api/nothing')).status).toBe(404);
    expect((await rig.get(one, '/api/logs')).status).toBe(403);
  });
});

describe('what is done at the page', () => {
  it('is done by those who may, as the CLI would do it', async () => {
    const owner = await rig.enter('owner');
    const operator = await rig.enter('operator');
    const viewer = await rig.enter('viewer');
    expect(JSON.parse((await rig.act(owner, 'approve', { node: 'desktop-1', words: 'a-b-c-d' })).text)).toEqual({
      said: 'done',
    });
    expect(rig.api.asked.at(-1)).toEqual({
      kind: 'approve',
      node: 'desktop-1',
      words: 'a-b-c-d',
      because: 'approved by somebody at the page of kang (page-1, owner)',
    });
    expect(JSON.parse((await rig.act(operator, 'retry', { job: 7 })).text)).toEqual({ said: 'job 7 it is' });
    const before = rig.api.asked.length;
    expect((await rig.act(viewer, 'retry', { job: 7 })).status).toBe(403);
    expect((await rig.act(operator, 'approve', { node: 'desktop-1', words: 'a-b-c-d' })).status).toBe(403);
    expect((await rig.act(owner, 'approve', { node: 'desktop-1' })).status).toBe(400);
    expect((await rig.act(owner, 'nothing', {})).status).toBe(404);
    expect(rig.api.asked.length).toBe(before);
  });

  it('and is refused, is told apart from a fault of the agent: not there, not as it is, or not now', async () => {
    const one = await rig.enter('owner');
    const refusals = [
      ['no-job', 404],
      ['no-gitlab', 409],
      ['unsupported', 409],
      ['no-leader', 503],
      ['gitlab-unreachable', 503],
    ] as const;
    for (const [code, status] of refusals) {
      rig.api.wish = () => Promise.reject(new AutogitError(code, 'not so'));
      const said = await rig.act(one, 'cancel', { job: 7 });
      expect([code, said.status, JSON.parse(said.text)]).toMatchObject([code, status, { error: { code } }]);
    }
    const long = await rig.get(one, `/api/why?job=${'9'.repeat(4_000)}`);
    expect([long.status, long.text]).toEqual([400, expect.stringContaining('longer than 2048 characters')]);
  });

  it('is not done for a page of another site', async () => {
    const one = await rig.enter('owner');
    const drain = { node: 'kang', drained: true };
    for (const headers of [
      { origin: 'http://evil.example' },
      { origin: `http://127.0.0.1:${rig.port + 1}` },
      { origin: 'null' },
      { 'x-autogit': 'no' },
      { 'content-type': 'text/plain' },
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
    ] as Record<string, string>[])
      expect((await rig.act(one, 'drain', drain, headers)).status, JSON.stringify(headers)).toBe(403);
    expect(rig.api.asked).toEqual([]);
    expect((await rig.act(one, 'drain', drain)).status).toBe(200);
  });

  it('a connection that a browser keeps at hand is closed without a word, one with a half request is told', async () => {
    const [spare, half] = [connect(rig.port, '127.0.0.1'), connect(rig.port, '127.0.0.1')];
    const said = { spare: '', half: '' };
    spare.on('data', (part) => (said.spare += part));
    half.on('data', (part) => (said.half += part));
    half.write('GET / HTTP/1.1\r\nhost: kang\r\n');
    // As a browser would read it: as the answer to what it asks next.
    await Promise.all([once(spare, 'close'), once(half, 'close')]);
    expect(said.spare).toBe('');
    expect(said.half).toMatch(/^HTTP\/1\.1 400 /);
  }, 60_000);

  it('a name that was made to lead here opens nothing (DNS rebinding)', async () => {
    const one = await rig.enter('owner');
    for (const host of [
      'evil.example',
      `evil.example:${rig.port}`,
      '10.9.9.9',
      'kang.example.org',
      'localhost.evil.example',
    ])
      expect((await rig.get(one, '/api/status', { host })).status, host).toBe(421);
    for (const host of [
      'localhost',
      `kang:${rig.port}`,
      'kang.local',
      'KANG.lan',
      'mesh.example.org',
      `127.0.0.1:${rig.port}`,
    ])
      expect((await rig.get(one, '/api/status', { host })).status, host).toBe(200);
  });
});
