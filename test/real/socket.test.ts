import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createRequire } from 'node:module';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { agentProcess } from '../../node/local-api/agent-process.ts';
import { createClient, findAgent } from '../../node/local-api/socket-client.ts';
import { socketVersion, versionHeader } from '../../node/local-api/socket-queries.ts';
import { type SocketServer, serveSocket } from '../../node/local-api/unix-server.ts';
import { places } from '../../node/store/home.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { limits } from '../../protocol/limits.ts';
import { SmallAgent } from './small-agent.ts';

let home: string;
let api: SmallAgent;
let server: SocketServer | null;
let said: string[];
const log = {
  warn: (sentence: string) => void said.push(sentence),
  error: (sentence: string) => void said.push(sentence),
};
const serve = async (access?: { mode: number; group: number | null }) => {
  server = await serveSocket({ path: places(home).socket, api, log, ...(access ? { access } : {}) });
};
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'autogit-socket-'));
  api = new SmallAgent();
  server = null;
  said = [];
});
afterEach(async () => {
  await server?.close();
  rmSync(home, { recursive: true, force: true });
});

const until = async (holds: () => boolean): Promise<void> => {
  for (let i = 0; i < 500 && !holds(); i++) await new Promise((resolve) => setTimeout(resolve, 20));
  expect(holds()).toBe(true);
};

/** One request by hand. */
function raw(
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string | Buffer } = {},
): Promise<{ code: number; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        socketPath: places(home).socket,
        path,
        method: options.method ?? 'GET',
        headers: { 'autogit-socket': '1', ...options.headers },
        agent: false,
      },
      (answer) => {
        let text = '';
        answer.setEncoding('utf8');
        answer.on('data', (part) => {
          text += part;
        });
        answer.on('end', () => resolve({ code: answer.statusCode ?? 0, text }));
        answer.on('error', reject);
      },
    );
    sent.on('error', reject);
    sent.end(options.body);
  });
}

describe('agent.sock', () => {
  it('is the owner’s alone from its first moment', async () => {
    const seen = new Set<number>();
    const looking = setInterval(() => {
      if (existsSync(places(home).socket)) seen.add(statSync(places(home).socket).mode & 0o777);
    }, 0);
    const before = process.umask();
    await serve();
    clearInterval(looking);
    seen.add(statSync(places(home).socket).mode & 0o777);
    expect([...seen]).toEqual([0o600]);
    expect(process.umask()).toBe(before);
  });

  it('is the group’s too for the system service', async () => {
    const group = process.getgid?.() ?? 0;
    await serve({ mode: 0o660, group });
    expect(statSync(places(home).socket).gid).toBe(group);
    expect(statSync(places(home).socket).mode & 0o777).toBe(0o660);
  });

  it('a live agent’s is not taken, a dead one’s is', async () => {
    await serve();
    await expect(serveSocket({ path: places(home).socket, api, log })).rejects.toMatchObject({ code: 'agent-running' });
    await server?.close();
    expect(existsSync(places(home).socket)).toBe(false);
    await leaveDeadSocket(places(home).socket);
    expect(existsSync(places(home).socket)).toBe(true);
    await serve();
    expect((await createClient(home).phase()).phase).toBe('joined');
  });

  it('a file in its place, or too long a path, is an error with a fix', async () => {
    writeFileSync(places(home).socket, '');
    await expect(serve()).rejects.toMatchObject({ code: 'home-unwritable' });
    const path = join(home, 'x'.repeat(100), 'agent.sock');
    await expect(serveSocket({ path, api, log })).rejects.toMatchObject({
      code: 'home-unwritable',
      hint: expect.stringContaining('--home'),
    });
  });
});

/** A socket file that nobody listens on, as kill -9 leaves it. */
async function leaveDeadSocket(path: string): Promise<void> {
  const { spawn } = await import('node:child_process');
  const child = spawn(process.execPath, [
    '-e',
    `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`,
  ]);
  await new Promise((resolve) => child.once('exit', resolve));
}

describe('the client', () => {
  it('asks everything that the agent offers', async () => {
    await serve();
    const client = findAgent([join(home, 'other'), home]);
    expect((await client.status()).snapshot.mesh.name).toBe('home');
    expect(await client.jobs(true)).toEqual([]);
    expect(await client.why(7)).toBeNull();
    const wish = { wish: 'retry', job: 7, force: false } as const;
    expect(await client.wish(wish)).toEqual({ said: 'job 7 it is', next: 8 });
    expect((await client.settings()).settings).toMatchObject({ defaultArch: 'amd64' });
    expect(await client.change({ kind: 'drain', node: 'kang', drained: true })).toEqual({
      state: 'done',
      because: 'done',
    });
    expect(await client.invite(60_000)).toEqual({ code: 'CODE', expiresAt: 60_000 });
    expect(await client.pause('gpu', 7_200_000)).toBe('paused gpu 7200000');
    expect(await client.pause('all', null, true)).toBe('paused all null');
    expect(await client.resume('all')).toBe('resumed all');
    const connect = { url: 'http://gitlab:8080', token: 'glpat-x', runnerTokens: [{ tags: ['gpu'], token: 'glrt-x' }] };
    expect(await client.gitlabConnect(connect)).toMatchObject({ state: 'done' });
    expect(await client.recovery()).toEqual({ refused: null, off: ['kang', 'desktop-1'] });
    expect(await client.recover(['kang'])).toEqual({ state: 'done', because: 'alone now' });
    expect(await client.leave()).toBe('left');
    const disconnect = { now: true, force: false };
    await client.gitlabDisconnect(disconnect);
    const drain = { kind: 'drain', node: 'kang', drained: true };
    const pauses = [
      { pause: 'gpu', now: null },
      { pause: 'all', now: true },
    ];
    const asked = [{ jobs: true }, wish, drain, ...pauses, connect, { recover: ['kang'] }, disconnect];
    expect(api.asked).toEqual(asked);
    expect(said).toEqual([]);
  });

  it('says who is missing', async () => {
    expect(() => findAgent([home])).toThrow(
      expect.objectContaining({ code: 'no-agent', hint: expect.stringContaining('join') }),
    );
    await leaveDeadSocket(places(home).socket);
    await expect(createClient(home).phase()).rejects.toMatchObject({ code: 'no-agent' });
  });

  it('hears refusals as the agent said them, and its crashes as such', async () => {
    await serve();
    api.fails = new AutogitError('no-leader', 'nobody leads', { hint: 'wait' });
    await expect(createClient(home).jobs(false)).rejects.toMatchObject({
      code: 'no-leader',
      message: 'nobody leads',
      hint: 'wait',
    });
    api.fails = new Error('secret detail');
    await expect(createClient(home).jobs(false)).rejects.toThrow('the agent failed at this');
    expect(said.join()).toContain('secret detail');
  });

  it('while the machine waits only status, phase and leave are answered', async () => {
    await serve();
    api.isWaiting = true;
    const client = createClient(home);
    expect(await client.phase()).toEqual({ phase: 'waiting', words: 'coral-sixty-lamp-otter', mesh: 'home' });
    await client.status();
    await client.leave();
    for (const refused of [
      client.jobs(false),
      client.why(1),
      client.invite(60_000),
      client.pause('all', null),
      client.settings(),
    ])
      await expect(refused).rejects.toMatchObject({
        code: 'not-approved',
        message: expect.stringContaining('coral-sixty'),
      });
    expect(api.asked).toEqual([]);
  });

  it('status can wait until something changed', async () => {
    await serve();
    const client = createClient(home);
    const first = await client.status();
    expect((await client.status({ tag: first.tag, waitMs: 250 })).tag).toBe(first.tag);
    const blocked = client.status({ tag: first.tag, waitMs: 30_000 });
    api.queue = 5;
    const second = await blocked;
    expect(second.snapshot.queue.waiting).toBe(5);
    expect(second.tag).not.toBe(first.tag);
  });

  it('settings can wait for the commit that changes them', async () => {
    await serve();
    const client = createClient(home);
    const { tag } = await client.settings();
    const blocked = client.settings({ tag, waitMs: 30_000 });
    await until(() => api.commits.listenerCount('commit') === 1);
    api.commits.emit('commit');
    await until(() => api.commits.listenerCount('commit') === 1);
    api.graceMs = 7;
    api.commits.emit('commit');
    const changed = await blocked;
    expect(changed.settings.graceMs).toBe(7);
    expect(changed.tag).not.toBe(tag);
  });

  it('who hangs up waits for nothing more', async () => {
    await serve();
    const { tag } = await createClient(home).settings();
    const sent = request({
      socketPath: places(home).socket,
      path: `/v1/settings?wait=60000&tag=${tag}`,
      headers: { [versionHeader]: socketVersion },
    });
    sent.on('error', () => {});
    sent.end();
    await until(() => api.commits.listenerCount('commit') === 1);
    sent.destroy();
    await until(() => api.commits.listenerCount('commit') === 0);
  });

  it('logs stream as they come, and end when the reader goes', async () => {
    await serve();
    const client = createClient(home);
    const all: string[] = [];
    for await (const text of client.logs({ job: null, node: null, follow: false })) all.push(text);
    expect(all.join('')).toBe('first\n');
    const gone = new AbortController();
    let bytes = 0;
    for await (const text of client.logs({ job: 7, node: 'kang', follow: true }, gone.signal)) {
      bytes += text.length;
      if (bytes > 50_000) gone.abort();
    }
    await until(() => api.endedLogs === 2);
  });

  it('logs say when the agent dies in the middle', async () => {
    await serve();
    const reading = (async () => {
      for await (const _ of createClient(home).logs({ job: null, node: null, follow: true })) await server?.close();
    })();
    await expect(reading).rejects.toMatchObject({ code: 'no-agent' });
    server = null;
  });
});

describe('the door', () => {
  beforeEach(() => serve());

  it.each([
    ['an unknown path', '/v1/nothing', {}, 404],
    ['a path out of the tree', '/v1/../../etc/passwd', {}, 404],
    ['__proto__', '/__proto__', {}, 404],
    ['no version', '/v1/phase', { headers: { 'autogit-socket': '' } }, 400],
    ['another version', '/v1/phase', { headers: { 'autogit-socket': '2' } }, 400],
    ['the wrong verb', '/v1/phase', { method: 'POST', body: '{}' }, 405],
    ['an unknown query', '/v1/status?x=1', {}, 400],
    ['a bad number', '/v1/why?job=-1', {}, 400],
    ['no number', '/v1/why', {}, 400],
    ['a wait of a year', '/v1/status?wait=99999999999', {}, 400],
    ['no JSON', '/v1/pause', { method: 'POST', body: '{"what":' }, 400],
    ['no UTF-8', '/v1/pause', { method: 'POST', body: Buffer.from([0xff, 0xfe]) }, 400],
    ['an unknown field', '/v1/resume', { method: 'POST', body: '{"what":"all","x":1}' }, 400],
    ['an unknown change', '/v1/change', { method: 'POST', body: '{"change":{"kind":"explode"}}' }, 400],
    [
      'a change that is the agents’ own',
      '/v1/change',
      { method: 'POST', body: '{"change":{"kind":"depart","node":"kang"}}' },
      400,
    ],
    [
      'an address that is none',
      '/v1/gitlab/connect',
      { method: 'POST', body: '{"url":"file:///etc/passwd","token":null,"runnerTokens":[]}' },
      400,
    ],
    ['too much', '/v1/pause', { method: 'POST', body: 'x'.repeat(limits.socketRequestBytes + 1) }, 413],
  ] as [string, string, Parameters<typeof raw>[1], number][])('%s', async (_name, path, options, code) => {
    const answer = await raw(path, options);
    expect(answer.code).toBe(code);
    const { error } = JSON.parse(answer.text) as { error: { message: string; hint: string } };
    expect(error.message).not.toBe('');
    expect(api.asked).toEqual([]);
    expect((await createClient(home).phase()).phase).toBe('joined');
  });

  it('noise on the wire ends that connection only', async () => {
    let seed = 7;
    const chance = (below: number) => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return seed % below;
    };
    const pieces = [
      'GET ',
      '/v1/status',
      ' HTTP/1.1\r\n',
      'autogit-socket: 1\r\n',
      'content-length: 99999999\r\n',
      'transfer-encoding: chunked\r\n',
      '\r\n',
      '\u0000',
      'POST /v1/change',
      '{"change":{"kind":"drain"}}',
      'ffffffff\r\n',
      'x'.repeat(9000),
      '\r\n\r\n',
    ];
    for (let round = 0; round < 150; round++) {
      const noise = Array.from({ length: 1 + chance(8) }, () => pieces[chance(pieces.length)]).join('');
      await new Promise<void>((resolve) => {
        const socket = connect(places(home).socket, () => socket.end(noise));
        socket.on('error', () => {});
        socket.on('close', () => resolve());
        socket.resume();
      });
    }
    expect(api.asked).toEqual([]);
    expect((await createClient(home).phase()).phase).toBe('joined');
  });

  it('a client that meets no agent of ours says so', async () => {
    await server?.close();
    server = null;
    const strange = createServer((socket) =>
      socket.resume().end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[}'),
    ).listen(places(home).socket);
    await new Promise((resolve) => strange.once('listening', resolve));
    await expect(createClient(home).status()).rejects.toMatchObject({ code: 'bad-message' });
    await new Promise((resolve) => strange.close(resolve));
  });
});

describe('an agent that is there and says nothing', () => {
  let child: ChildProcess;
  const begin = async (code: string): Promise<void> => {
    mkdirSync(join(home, 'store'), { recursive: true });
    const script = `
      const { ClassicLevel } = require(${JSON.stringify(createRequire(import.meta.url).resolve('classic-level'))});
      const level = new ClassicLevel(${JSON.stringify(join(home, 'store', 'level'))});
      level.open().then(() => require('net').createServer(${code}).listen(${JSON.stringify(places(home).socket)}, () => console.log('ready')));`;
    child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout as Readable, 'data');
  };
  afterEach(() => void child.kill('SIGKILL'));

  it('stopped: every command ends within seconds, with its pid and what to type; woken, it answers', async () => {
    await begin('() => {}');
    child.kill('SIGSTOP');
    await until(() => agentProcess(home)?.state === 'T');
    const client = createClient(home);
    const began = performance.now();
    const answers = await Promise.allSettled([client.status(), client.leave(), client.phase()]);
    expect(performance.now() - began).toBeLessThan(4_000);
    for (const one of answers)
      expect((one as PromiseRejectedResult).reason).toMatchObject({
        code: 'timed-out',
        message: `the agent here (pid ${child.pid}) does not answer; it is stopped (T)`,
        hint: expect.stringContaining(`kill -CONT ${child.pid}`),
      });
    child.kill('SIGCONT');
    await until(() => agentProcess(home)?.state !== 'T');
    expect(agentProcess(home)).toMatchObject({ pid: child.pid, upMs: expect.any(Number) });
  }, 15_000);

  it('hung: the same, a little later', async () => {
    await begin('() => {}');
    await expect(createClient(home).status()).rejects.toMatchObject({
      code: 'timed-out',
      message: expect.stringContaining(`pid ${child.pid}) does not answer`),
    });
  }, 20_000);
});
