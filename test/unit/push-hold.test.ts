import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { PushWatch, pushesSettled } from '../../node/hosting/gate/push-hold.ts';
import { HookDoor } from '../../node/hosting/push/hook-door.ts';
import { hookText } from '../../node/hosting/push/push-hook.ts';

it.each([
  ['GET /root/a.git/info/refs?service=git-receive-pack HTTP/1.1\r\nHost: x\r\n\r\n', true],
  ['GET /a.git/info/refs?x=1&service=git-receive-pack HTTP/1.1\r\n\r\n', true],
  ['GET /a.git/info/refs?service=git-upload-pack HTTP/1.1\r\n\r\n', false],
  ['POST /a.git/git-receive-pack HTTP/1.1\r\n\r\n', false],
  ['GET /search?q=/info/refs?service=git-receive-packs HTTP/1.1\r\n\r\n', false],
  ['GET / HTTP/1.1\r\nReferer: /info/refs?service=git-receive-pack\r\n\r\n', false],
  ['GE', false],
  [`GET /${'a'.repeat(5000)}/info/refs?service=git-receive-pack HTTP/1.1\r\n`, false],
])('%s begins a push: %s', (text, is) => {
  expect(new PushWatch().begins(Buffer.from(text))).toBe(is);
  // In two pieces, wherever a proxy or the kernel cut it, and behind whatever else that came before.
  const line = text.indexOf('\n') + 1 || text.length;
  for (let at = 1; at < line; at += text.length > 1000 ? 97 : 1) {
    const watch = new PushWatch();
    expect(watch.begins(Buffer.from('0000'))).toBe(false);
    expect(watch.begins(Buffer.from('G'))).toBe(false);
    expect(watch.begins(Buffer.from(text.slice(0, at)))).toBe(false);
    expect(watch.begins(Buffer.from(text.slice(at)))).toBe(is);
  }
});

it('a line in as many pieces as it has bytes begins a push too, and the next request is looked at anew', () => {
  const line = 'GET /root/a.git/info/refs?service=git-receive-pack HTTP/1.1\r\n';
  const watch = new PushWatch();
  const is = [...line].map((byte) => watch.begins(Buffer.from(byte)));
  expect(is.flatMap((begins, at) => (begins ? [at] : []))).toEqual([line.length - 1]);
  expect(watch.begins(Buffer.from('GET /a HTTP/1.1\r\n'))).toBe(false);
  expect(watch.begins(Buffer.from(line))).toBe(true);
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
