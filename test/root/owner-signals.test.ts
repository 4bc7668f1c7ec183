import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { OwnerSignals } from '../../node/machine/owner-signals.ts';

/** Debian's gamemoded on a bus of its own, and a window of a real X server under a real window manager: what a desktop tells of who plays at it. */
const run = promisify(execFile);
const uid = process.getuid?.() ?? 0;
const dir = mkdtempSync(join(tmpdir(), 'autogit-desktop-'));
const bus = `unix:path=${join(dir, String(uid), 'bus')}`;
const children: ChildProcess[] = [];
const start = (program: string, args: string[], env: Record<string, string> = {}): ChildProcess => {
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'ignore'] });
  children.push(child);
  return child;
};
const until = async (what: string, look: () => Promise<boolean> | boolean): Promise<void> => {
  for (let tries = 0; tries < 200; tries++) {
    if (await Promise.resolve(look()).catch(() => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`not within 10 s: ${what}`);
};

beforeAll(() => {
  const wanted = {
    '/usr/bin/dbus-daemon': 'dbus-daemon',
    '/usr/bin/busctl': 'systemd',
    '/usr/bin/gamemoded': 'gamemode-daemon',
    '/usr/bin/Xvfb': 'xvfb',
    '/usr/bin/xprop': 'x11-utils',
    '/usr/bin/openbox': 'openbox',
    '/usr/bin/wmctrl': 'wmctrl',
  };
  const missing = Object.entries(wanted).flatMap(([file, name]) => (existsSync(file) ? [] : [name]));
  if (missing.length > 0) {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    execFileSync('apt-get', ['update', '-q'], { env, stdio: 'ignore' });
    const install = ['-o', 'DPkg::Lock::Timeout=300', 'install', '-y', '-q', '--no-install-recommends'];
    execFileSync('apt-get', [...install, ...missing], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  }
  mkdirSync(join(dir, 'sessions'));
  mkdirSync(join(dir, String(uid)));
  const session = `UID=${uid}\nUSER=ada\nACTIVE=1\nSTATE=active\nREMOTE=0\nTYPE=x11\nCLASS=user\nSEAT=seat0\n`;
  writeFileSync(join(dir, 'sessions', '2'), session);
});
afterAll(() => {
  for (const child of children.reverse()) child.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});

const signals = (seesFullScreen: boolean): OwnerSignals =>
  new OwnerSignals(seesFullScreen, { sessions: join(dir, 'sessions'), run: dir });

it('hears of games from GameMode, by name, and starts it for nobody', async () => {
  start('dbus-daemon', ['--session', '--nofork', `--address=${bus}`]);
  await until('the bus', () => existsSync(join(dir, String(uid), 'bus')));
  expect(await signals(false).look()).toEqual({ isPresent: true, plays: null });
  const owners = await run('busctl', [`--address=${bus}`, '--acquired', 'list']);
  expect(owners.stdout).not.toMatch(/GameMode +\d/);
  start('gamemoded', [], { DBUS_SESSION_BUS_ADDRESS: bus });
  const call = ['com.feralinteractive.GameMode', '/com/feralinteractive/GameMode', 'com.feralinteractive.GameMode'];
  await until('gamemoded', () => run('busctl', [`--address=${bus}`, 'call', ...call, 'ListGames']).then(() => true));
  expect((await signals(false).look()).plays).toBeNull();
  const game = start('sleep', ['60']);
  await run('busctl', [`--address=${bus}`, 'call', ...call, 'RegisterGame', 'i', String(game.pid)]);
  expect((await signals(false).look()).plays).toBe('GameMode: sleep');
  await run('busctl', [`--address=${bus}`, 'call', ...call, 'UnregisterGame', 'i', String(game.pid)]);
  expect((await signals(false).look()).plays).toBeNull();
});

it('sees a full-screen window of an X display, where it shall', async () => {
  const server = start('Xvfb', ['-displayfd', '1', '-screen', '0', '320x200x24', '-nolisten', 'tcp']);
  const number = await new Promise<string>((resolve) =>
    server.stdout?.once('data', (data) => resolve(String(data).trim())),
  );
  const env = { DISPLAY: `:${number}` };
  const window = start('xev', [], env);
  const id = await new Promise<string>((resolve) => {
    let said = '';
    window.stdout?.on('data', (data) => {
      said += String(data);
      const found = /window (0x[\da-f]+)/.exec(said)?.[1];
      if (found) resolve(found);
    });
  });
  start('openbox', [], env);
  const wm = (...args: string[]) => run('wmctrl', args, { env: { ...process.env, ...env } });
  await until('the window is managed', async () => (await wm('-l')).stdout.includes(id.slice(2)));
  await wm('-ia', id);
  expect((await signals(true).look()).plays).toBeNull();
  await wm('-ir', id, '-b', 'add,fullscreen');
  await until('it is full-screen', async () => (await signals(true).look()).plays !== null);
  expect((await signals(true).look()).plays).toBe('a full-screen window');
  expect((await signals(false).look()).plays).toBeNull();
  await wm('-ir', id, '-b', 'remove,fullscreen');
  await until('it is a window again', async () => (await signals(true).look()).plays === null);
  writeFileSync(join(dir, 'sessions', '2'), 'UID=0\nACTIVE=0\nTYPE=x11\n');
  expect(await signals(true).look()).toEqual({ isPresent: false, plays: null });
});
