import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type SocketServer, serveSocket } from '../../node/local-api/unix-server.ts';
import { places } from '../../node/store/home.ts';
import type { TimelineEvent } from '../../protocol/history.ts';
import setUpBundle from '../e2e/bundle.ts';
import { SmallAgent } from './small-agent.ts';
import { Terminal } from './terminal.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const bin = join(root, 'dist', 'autogit-node.cjs');
let dir: string;
let home: string;
let agent: SmallAgent;
let server: SocketServer;
let terminal: Terminal | null = null;
const log = { info: () => {}, warn: () => {}, error: () => {}, event: () => {} };
beforeAll(async () => {
  setUpBundle();
  dir = mkdtempSync(join(tmpdir(), 'autogit-pty-'));
  home = join(dir, 'home');
  mkdirSync(home, { mode: 0o700 });
  agent = new SmallAgent();
  server = await serveSocket({ path: places(home).socket, api: agent, log: log as never });
});
afterEach(() => terminal?.kill());
afterAll(async () => {
  await server.close();
  rmSync(dir, { recursive: true, force: true });
});
const happened = (id: string, sentence: string, because: string | null = null): TimelineEvent => ({
  ...{ id: id.padStart(16, '0'), at: new Date().toISOString(), kind: 'election', severity: 'info', node: null },
  ...{ sentence, because },
});
const typing = (...args: string[]): Terminal => {
  terminal = new Terminal([process.execPath, bin, '--home', home, ...args], { PATH: process.env.PATH, HOME: dir });
  return terminal;
};

describe('an invite at a terminal', () => {
  it('is a command that keeps the code out of the argument list (security A19)', async () => {
    const screen = typing('invite');
    expect(await screen.ended).toBe(0);
    expect(screen.text).toMatch(/AUTOGIT_INVITE=\S+ autogit-node join\r?\n/);
    expect(screen.text).not.toContain('--invite');
  });
});

describe('caches at a terminal', () => {
  it('are shown with what they may take, and removed by project', async () => {
    const at = Date.now() - 7_200_000;
    agent.kept = [
      { project: 'lab/one', key: 'deps-protected', sizeBytes: 2 << 20, savedAt: at, usedAt: Date.now() },
      { project: '', key: '', sizeBytes: 1 << 20, savedAt: at, usedAt: at },
    ];
    const screen = typing('cache');
    expect(await screen.ended).toBe(0);
    expect(screen.text).toMatch(/PROJECT +SIZE +KEPT +USED +KEY\r?\nlab\/one +2 MiB +2 h +\S+ s +deps-protected\r?\n/);
    expect(screen.text).toMatch(
      /\? +1 MiB .* damaged, or of another version\r?\n3 MiB of at most 1 GiB \(--cache-limit\)/,
    );
    const piped = await promisify(execFile)(process.execPath, [bin, '--home', home, 'cache', '--json']);
    expect(JSON.parse(piped.stdout)).toMatchObject({ count: 2, rows: [{ project: 'lab/one' }, {}] });
    const clearing = typing('cache', 'clear', 'lab/one');
    expect(await clearing.ended).toBe(0);
    expect(clearing.text).toContain('removed 2 caches, 3 MiB');
    expect(agent.asked).toContainEqual({ clearCaches: 'lab/one' });
  });
});

describe('the token at a terminal', () => {
  const token = 'glpat-Zq7wX9kLm2';

  it('reaches the agent and never the screen, not a letter of it', async () => {
    const screen = typing('gitlab', 'connect', 'http://gitlab.lan');
    await screen.until(/admin token .*stays hidden\): $/);
    const before = screen.shown.length;
    // Typed, corrected, and the rest pasted with the line's end.
    for (const letter of 'glpat-ZX\u007f') screen.type(letter);
    screen.type(`${token.slice(7)}\r`);
    expect(await screen.ended).toBe(0);
    expect(agent.asked).toContainEqual(expect.objectContaining({ url: 'http://gitlab.lan', token }));
    const after = screen.shown.slice(before).replace(/speed [\s\S]*$/, '');
    expect(after.replace(/\s+/g, ' ').trim()).toMatch(
      /^connected the queue is looked at each second or three; GitLab tells of a job at once where [^;]{0,200}, then its agent anew$/,
    );
    for (const piece of ['glpat', token.slice(6)]) expect(after).not.toContain(piece);
    expect(screen.isGivenBack).toBe(true);
  });

  it('is not shown when the question is interrupted, and the terminal is given back', async () => {
    const screen = typing('gitlab', 'connect', 'http://gitlab.lan');
    await screen.until(/stays hidden\): $/);
    screen.type(token);
    await new Promise((resolve) => setTimeout(resolve, 200));
    screen.type('\u0003');
    expect(await screen.ended).toBe(130);
    expect(screen.shown).not.toContain(token.slice(6));
    expect(screen.isGivenBack).toBe(true);
  });
});

it('a question that is interrupted leaves the shell a line of its own', async () => {
  agent.gitlab = { mode: 'hosted', state: 'healthy', url: 'http://kang.lan', host: 'kang' };
  const screen = typing('gitlab', 'password', 'ann');
  await screen.until(/ends\. \[y\/N\]/);
  screen.type('\u0003');
  expect(await screen.ended).toBe(130);
  agent.gitlab = {};
  expect(screen.shown.replace(/speed [\s\S]*$/, '')).toMatch(/\[y\/N\][^\n]*\r?\n/);
  expect(screen.isGivenBack).toBe(true);
});

describe('pause --gpu --now at a terminal', () => {
  const row = (job: number, name: string, tags: string[]) => ({
    job,
    name,
    tags,
    project: 'lab/vision',
    ref: 'main',
    state: 'running',
    node: 'kang',
    attempt: 1,
    queuedAt: null,
    startedAt: new Date(Date.now() - 3 * 3_600_000).toISOString(),
    finishedAt: null,
    exitCode: null,
    because: '',
  });
  beforeAll(() => {
    const status = agent.status.bind(agent);
    const self = { node: 'kang', id: 'kang', self: true, state: 'ready', voter: true, runs: [16, 17], labels: [] };
    const nothing = { version: null, address: null, lastHeardMs: 0, arch: null, os: null, capacity: null, room: null };
    const nodes = [{ ...self, ...nothing, owner: null, because: null }];
    agent.status = () => ({ ...status(), nodes: nodes as never });
    agent.jobs = async () =>
      [row(16, 'train', ['vram-20g']), row(17, 'lint', []), row(18, 'elsewhere', ['gpu'])] as never[];
    agent.waysOfJobs = [{ job: 16, way: 'end' }];
    agent.asked = [];
  });

  it('says what ends and what goes on before it asks; n leaves everything as it is', async () => {
    const screen = typing('pause', '--gpu', '--now');
    await screen.until(/End this job now\? \[Y\/n\] $/);
    expect(screen.text).toMatch(
      /# job 16 \(train\) ends after 3\.?0? h, its after_script still runs; then it runs again, elsewhere/,
    );
    expect(screen.text).toContain('# job 17 (lint) needs no GPU and goes on');
    expect(screen.text).not.toContain('elsewhere)');
    screen.type('n\r');
    expect(await screen.ended).toBe(1);
    expect(agent.asked).toEqual([]);
  });

  it('ends them on Enter; without --now they are named, with what ends them', async () => {
    const screen = typing('pause', '--gpu', '--now');
    await screen.until(/End this job now\? \[Y\/n\] $/);
    screen.type('\r');
    expect(await screen.ended).toBe(0);
    expect(agent.asked).toEqual([{ pause: 'gpu', now: true }]);
    const named = typing('pause', '--gpu');
    expect(await named.ended).toBe(0);
    expect(named.text).toMatch(
      /# job 16 \(train\) still uses a GPU here, and goes on to its end\s+(?:# +)?-> autogit-node --home\s+\S+ pause --gpu --now/,
    );
    expect(named.text).not.toContain('job 17');
    expect(agent.asked.at(-1)).toEqual({ pause: 'gpu', now: null });
  });
});

describe('a live screen', () => {
  it.each([
    ['q', 0],
    ['\u0004', 0],
    ['\u0003', 130],
  ])('ends on the key %j, with %i, and gives the terminal back', async (key, code) => {
    const screen = typing('top');
    await screen.until(/mesh home[\s\S]*mesh home/);
    // Any other key is nothing, and is not shown between the lines.
    screen.type('zzz');
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(screen.shown).not.toContain('zzz');
    screen.type(key);
    expect(await screen.ended).toBe(code);
    expect(screen.isGivenBack).toBe(true);
  });

  it.each([[['status', '-w']], [['top']]])(
    '%j goes on over a restart of its agent, and says so meanwhile',
    async (words) => {
      agent.queue = 3;
      const screen = typing(...words);
      await screen.until(/3 waiting/);
      await server.close();
      await screen.until(/waiting for the agent/);
      agent.queue = 4711;
      server = await serveSocket({ path: places(home).socket, api: agent, log: log as never });
      await screen.until(/4711 waiting/);
      screen.type('q');
      expect(await screen.ended).toBe(0);
      expect(screen.isGivenBack).toBe(true);
    },
  );

  it('top shows jobs and events, filters, and tells of the chosen job why', async () => {
    agent.events = [happened('1', 'desktop-1 leads in term 13')];
    const screen = typing('top');
    await screen.until(/17 +running +kang .*lint/);
    screen.type('/train\r');
    await screen.until(/only "train"/);
    screen.type('\r');
    await screen.until(/nothing is known of job 16 any more/);
    screen.type('x\u001b');
    await screen.until(/\/ filter(?![\s\S]*only)/);
    screen.type('\t');
    await screen.until(/desktop-1 leads in term 13/);
    screen.type('q');
    expect(await screen.ended).toBe(0);
    // What stood in the terminal is there again.
    expect(screen.shown).toContain('\u001b[?1049h');
    expect(screen.shown).toContain('\u001b[?1049l');
  });

  it('events tells what happened as lines for people, and goes on', async () => {
    agent.events = [happened('1', 'kang leads in term 12')];
    const screen = typing('events', '-f');
    await screen.until(/\d\d:\d\d:\d\d kang leads in term 12/);
    agent.events = [...agent.events, { ...happened('2', 'job 12 is lost', 'kang was silent'), severity: 'warn' }];
    await screen.until(/warn: job 12 is lost\s+kang was silent/);
    screen.type('\u0003');
    expect(await screen.ended).toBe(130);
  });

  it('ends on q while its agent is away too', async () => {
    const screen = typing('status', '-w');
    await screen.until(/mesh home/);
    await server.close();
    await screen.until(/waiting for the agent/);
    screen.type('q');
    expect(await screen.ended).toBe(0);
  });
});
