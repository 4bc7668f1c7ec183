import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { beginsPush, pushesSettled } from '../../node/hosting/gate/push-hold.ts';
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
  expect(beginsPush(Buffer.from(text))).toBe(is);
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
    await HookDoor.open([path], { ask: () => new Promise(() => {}), settled: () => waiting, aloneWords: () => '' }),
  );
  let ended: boolean | null = null;
  const held = pushesSettled(path, () => false).then((is) => (ended = is));
  await new Promise((done) => setTimeout(done, 1300));
  expect(ended).toBe(null);
  settle();
  expect(await held).toBe(true);
});

it('words of another machine, however long they are in bytes, neither hold the hook up nor reach a terminal as commands', async () => {
  const aloneWords = (): string => `\u001b]0;x\u0007 pc-2: ${'é'.repeat(400)}`;
  open.push(await HookDoor.open([path], { ask: async () => ({ isAlone: true }), settled: async () => {}, aloneWords }));
  const hook = spawn('perl', ['-e', hookText(path)], { stdio: ['ignore', 'ignore', 'pipe'] });
  const late = setTimeout(() => hook.kill(), 4000);
  let said = '';
  hook.stderr.on('data', (data) => (said += data));
  const code = await new Promise((done) => hook.on('close', done));
  clearTimeout(late);
  expect(code).toBe(0);
  expect(said).toMatch(/^ \]0;x pc-2: é+\n$/);
});

it('with no door there is nobody to ask, and nothing to wait for', async () => {
  expect(await pushesSettled(path, () => false)).toBe(true);
});

it('an agent that is away, or says something else, is asked again until the lease is out', async () => {
  const server: Server = createServer((socket) => socket.end('later\n'));
  open.push(server);
  await new Promise<void>((done) => server.listen(path, done));
  const began = performance.now();
  expect(await pushesSettled(path, () => performance.now() - began > 400)).toBe(false);
  expect(performance.now() - began).toBeGreaterThan(400);
});

it('a door opens also where its path is longer than a socket may have: a home may lie deep', async () => {
  const deep = join(folder, 'x'.repeat(100));
  const answers = { ask: () => new Promise<never>(() => {}), settled: async () => {}, aloneWords: () => '' };
  open.push(await HookDoor.open([join(deep, 'ask.sock')], answers));
  const fd = openSync(deep, 'r');
  expect(await pushesSettled(`/proc/self/fd/${fd}/ask.sock`, () => false)).toBe(true);
  closeSync(fd);
});
