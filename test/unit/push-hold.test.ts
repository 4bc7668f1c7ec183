import { execFileSync, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { pushesSettled, RefsWatch } from '../../node/hosting/gate/push-hold.ts';
import { HookDoor } from '../../node/hosting/push/hook-door.ts';
import { hookSocket, hookText, refusalFile, refusingHookText } from '../../node/hosting/push/push-hook.ts';
import { keepRefusal } from '../../node/hosting/push/push-refusal.ts';

const refs =
  'HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: application/x-git-receive-pack-advertisement\r\n\r\n001f# service';

it.each([
  [refs, true],
  [refs.replace('Content-Type: ', 'content-type:'), true],
  [refs.replaceAll('receive', 'upload'), false],
  ['HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\n\r\n', false],
  // A page of git's own handbook, and a header of another name.
  ['HTTP/1.1 200 OK\r\n\r\n<code>S: Content-Type: application/x-git-receive-pack-advertisement</code>', false],
  ['HTTP/1.1 200 OK\r\nX-Content-Type: application/x-git-receive-pack-advertisement\r\n\r\n', false],
])('%s is refs that a push reads: %s', (text, is) => {
  expect(new RefsWatch().sees(Buffer.from(text))).toBe(is ? 'first of refs' : 'other');
  // Asked ahead, behind another answer in one part.
  expect(new RefsWatch().sees(Buffer.from(`HTTP/1.1 200 OK\r\n\r\nfirst${text}`))).toBe(is ? 'first of refs' : 'other');
  expect(new RefsWatch().sees(Buffer.from(`the rest of another${text}`))).toBe(is ? 'refs' : 'other');
  // In two parts, wherever the kernel cut it: none that comes behind the type passes.
  for (let at = 1; at < text.length; at++) {
    const watch = new RefsWatch();
    watch.sees(Buffer.from('HTTP/1.1 200 OK\r\n\r\nbefore'));
    watch.sees(Buffer.from(text.slice(0, at)));
    expect(watch.sees(Buffer.from(text.slice(at))) !== 'other').toBe(is);
    expect(watch.sees(Buffer.from('003f refs/heads/HTTP/1.1')) !== 'other').toBe(is);
  }
  const bytes = new RefsWatch();
  const seen = [...text].map((byte) => bytes.sees(Buffer.from(byte)));
  expect(seen.at(-1)).toBe(is ? 'refs' : 'other');
});

it('the next answer is looked at anew, in however many parts it begins', () => {
  const next = 'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n';
  for (let at = 1; at < next.length; at++) {
    const watch = new RefsWatch();
    watch.sees(Buffer.from(refs));
    watch.sees(Buffer.from('HTTP/1.'));
    expect(watch.sees(Buffer.from(' refs/heads/a'))).toBe('refs');
    watch.sees(Buffer.from(next.slice(0, at)));
    expect(watch.sees(Buffer.from(next.slice(at)))).toBe('other');
    expect(watch.sees(Buffer.from('a page'))).toBe('other');
    expect(watch.sees(Buffer.from(refs))).toBe('first of refs');
  }
});

let folder: string;
let path: string;
const open: { close(): unknown }[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'autogit-hold-'));
  path = join(folder, 'pushes.sock');
});
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
  rmSync(folder, { recursive: true, force: true });
});

it('a new push waits until those that wait now were answered', async () => {
  let settle = (): void => undefined;
  const waiting = new Promise<void>((done) => (settle = done));
  open.push(
    await HookDoor.open([path], {
      ask: () => new Promise(() => {}),
      settled: () => waiting,
      aloneWords: () => '',
      waitWords: () => '',
    }),
  );
  let ended: boolean | null = null;
  const held = pushesSettled(path, () => false, 60_000).then(({ isSettled }) => (ended = isSettled));
  await new Promise((done) => setTimeout(done, 1300));
  expect(ended).toBe(null);
  settle();
  expect(await held).toBe(true);
});

it('words of another machine, however long they are in bytes, neither hold the hook up nor reach a terminal as commands', async () => {
  const aloneWords = (): string => `\u001b]0;x\u0007 pc-2: ${'é'.repeat(400)}`;
  open.push(
    await HookDoor.open([path], {
      ask: async () => ({ isAlone: true }),
      settled: async () => {},
      aloneWords,
      waitWords: () => '',
    }),
  );
  const hook = spawn('perl', ['-e', hookText(path)], { stdio: ['ignore', 'ignore', 'pipe'] });
  const late = setTimeout(() => hook.kill(), 4000);
  let said = '';
  hook.stderr.on('data', (data) => (said += data));
  const code = await new Promise((done) => hook.on('close', done));
  clearTimeout(late);
  expect(code).toBe(0);
  expect(said).toMatch(/^ \]0;x pc-2: é+\n$/);
});

it('whoever pushes reads why it takes long, and the end only with the answer; whoever asks for its refs is told after a while', async () => {
  let answer: (given: { isAlone: boolean }) => void = () => {};
  open.push(
    await HookDoor.open([path], {
      ask: () => new Promise((done) => (answer = done)),
      settled: () => new Promise(() => {}),
      aloneWords: () => '',
      waitWords: () => `waits until kang can make a copy of it: the disk is full ${'é'.repeat(300)}`,
    }),
  );
  const hook = spawn('perl', ['-e', hookText(path)], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  let code: number | null = null;
  hook.stderr.on('data', (data) => (said += data));
  hook.on('close', (ended) => (code = ended));
  const held = pushesSettled(path, () => false, 2500);
  await expect.poll(() => said, { timeout: 5000 }).toContain('\n');
  expect(said).toMatch(/^this push waits until kang can make a copy of it: the disk is full é+\n$/);
  expect(await held).toEqual({
    isSettled: false,
    because: expect.stringMatching(/^another push waits until kang can make a copy of it: the disk is full/),
  });
  expect(code).toBe(null);
  answer({ isAlone: false });
  await expect.poll(() => code, { timeout: 5000 }).toBe(0);
}, 15_000);

it('a gate that asked and has gone is asked for no more: else each try of a client would be looked after until the push is over', async () => {
  const asked: AbortSignal[] = [];
  open.push(
    await HookDoor.open([path], {
      ask: () => new Promise(() => {}),
      settled: (gone) => {
        asked.push(gone);
        return new Promise(() => {});
      },
      aloneWords: () => '',
      waitWords: () => 'waits',
    }),
  );
  const began = performance.now();
  await pushesSettled(path, () => performance.now() - began > 1500, 60_000);
  await expect.poll(() => asked.map(({ aborted }) => aborted), { timeout: 5000 }).toEqual([true]);
}, 15_000);

it('an agent that takes the question and never says a word is waited for no longer than that', async () => {
  const server: Server = createServer((socket) => socket.resume());
  open.push(server);
  await new Promise<void>((done) => server.listen(path, done));
  expect(await pushesSettled(path, () => false, 60_000, 500)).toEqual({
    isSettled: false,
    because: expect.stringContaining('does not say whether another push waits'),
  });
});

it('with no door there is nobody to ask, and nothing to wait for', async () => {
  expect(await pushesSettled(path, () => false, 60_000)).toMatchObject({ isSettled: true });
});

it('an agent that is away, or says something else, is asked again until the lease is out', async () => {
  const server: Server = createServer((socket) => socket.end('later\n'));
  open.push(server);
  await new Promise<void>((done) => server.listen(path, done));
  const began = performance.now();
  expect(await pushesSettled(path, () => performance.now() - began > 400, 60_000)).toMatchObject({ isSettled: false });
  expect(performance.now() - began).toBeGreaterThan(400);
});

it('a door opens also where its path is longer than a socket may have: a home may lie deep', async () => {
  const deep = join(folder, 'x'.repeat(100));
  const answers = {
    ask: () => new Promise<never>(() => {}),
    settled: async () => {},
    aloneWords: () => '',
    waitWords: () => '',
  };
  open.push(await HookDoor.open([join(deep, 'ask.sock')], answers));
  const fd = openSync(deep, 'r');
  expect(await pushesSettled(`/proc/self/fd/${fd}/ask.sock`, () => false, 60_000)).toMatchObject({ isSettled: true });
  closeSync(fd);
});

it('a push that is not to be taken is refused before any ref has changed, with the words; who knows no such question keeps none out', async () => {
  const hub = join(folder, 'hub.git');
  const desk = join(folder, 'desk');
  const git = (...args: string[]): string => execFileSync('git', args, { encoding: 'utf8', stdio: 'pipe' });
  git('init', '-q', '--bare', hub);
  git('init', '-q', '-b', 'main', desk);
  const who = ['-C', desk, '-c', 'user.name=t', '-c', 'user.email=t@t'];
  git(...who, 'commit', '-q', '--allow-empty', '-m', 'one');
  writeFileSync(join(hub, 'hooks/pre-receive'), refusingHookText(path), { mode: 0o755 });
  const push = async (): Promise<{ code: number; said: string }> => {
    const pushing = spawn('git', [...who, 'push', '-q', hub, 'HEAD:main'], { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    pushing.stderr.on('data', (data) => (said += data));
    return { code: await new Promise((done) => pushing.once('close', done)), said };
  };
  const refs = (): string => git('-C', hub, 'for-each-ref', '--format=%(refname)').trim();

  let why: string | null = `GitLab served on desktop-1 too: \u001b]0;x\u0007 autogit-node gitlab diff fenced-3`;
  const answers = { ask: async () => ({ isAlone: false }), settled: async () => {}, aloneWords: () => '' };
  const door = await HookDoor.open([path], { ...answers, waitWords: () => '' }, () => why);
  const refused = await push();
  expect(refused.code).not.toBe(0);
  expect(refused.said).toMatch(/GL-HOOK-ERR: GitLab served on desktop-1 too: \]0;x autogit-node gitlab diff fenced-3/);
  expect(refs()).toBe('');
  why = null;
  expect((await push()).code).toBe(0);
  expect(refs()).toBe('refs/heads/main');

  await door.close();
  git(...who, 'commit', '-q', '--allow-empty', '-m', 'two');
  expect((await push()).code).toBe(0);
  rmSync(path, { force: true });
  const older = createServer((socket) => socket.once('data', () => socket.destroy())).listen(path);
  open.push(older);
  git(...who, 'commit', '-q', '--allow-empty', '-m', 'three');
  expect((await push()).code).toBe(0);
}, 30_000);

it('while no agent answers it goes by what the last one left; one that answers is believed', async () => {
  const home = join(folder, 'home');
  const file = refusalFile(home);
  mkdirSync(dirname(file), { recursive: true });
  let why: string | null = 'GitLab served on desktop-1 too: \u001b]0;x\u0007 autogit-node gitlab diff fenced-3';
  const keep = () => keepRefusal({ home, log: { warn: () => undefined }, whyNoPush: () => why });
  const socket = hookSocket(home);
  const asked = async (): Promise<{ code: number; said: string }> => {
    const hook = spawn('perl', ['-e', refusingHookText(socket)], { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    hook.stderr.on('data', (data) => (said += data));
    return { code: await new Promise((done) => hook.once('close', done)), said };
  };
  expect(await asked()).toEqual({ code: 0, said: '' });
  keep();
  const said = 'GL-HOOK-ERR: GitLab served on desktop-1 too: ]0;x autogit-node gitlab diff fenced-3\n';
  expect([await asked(), statSync(file).mode & 0o777]).toEqual([{ code: 1, said }, 0o644]);
  // GitLab's container was made anew, and its folder with it.
  rmSync(file);
  keep();
  expect((await asked()).code).toBe(1);
  const answers = { ask: async () => ({ isAlone: false }), settled: async () => {}, aloneWords: () => '' };
  const door = await HookDoor.open([socket], { ...answers, waitWords: () => '' }, () => null);
  expect((await asked()).code).toBe(0);
  await door.close();
  why = null;
  keep();
  expect([(await asked()).code, existsSync(file)]).toEqual([0, false]);
}, 30_000);

it('an agent that stands still refuses no push: it is asked for five seconds', async () => {
  open.push(createServer(() => undefined).listen(path));
  const hook = spawn('perl', ['-e', refusingHookText(path)], { stdio: ['ignore', 'ignore', 'pipe'] });
  const code = await new Promise((done) => hook.once('close', done));
  expect(code).toBe(0);
}, 15_000);
