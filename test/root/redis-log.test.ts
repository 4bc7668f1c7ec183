import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { RedisLog, redisConfigCommand } from '../../node/hosting/redis-log.ts';
import { install } from '../bench/debian.ts';

/** A real Redis gets its log of each write as GitLab's does, is cut off at each step of it, and begins again by the same configuration. */
const folder = mkdtempSync('/var/tmp/t-redis-log-');
let server: ChildProcess | null = null;
let at = '';
const cli = (...words: string[]): string => {
  const { stdout } = spawnSync('redis-cli', ['-s', join(at, 'redis.socket'), ...words], { encoding: 'utf8' });
  return stdout.trim();
};

/** As reconfigure does: the literal, and behind it what the command prints. */
async function begin(extra = redisConfigCommand.replaceAll('/var/opt/gitlab/redis', at)): Promise<void> {
  const { stdout, status } = spawnSync('/bin/sh', ['-c', extra], { encoding: 'utf8' });
  expect(status).toBe(0);
  const literal = [
    'port 0',
    `unixsocket ${at}/redis.socket`,
    'save 60 1',
    `dir ${at}`,
    'appendonly no',
    'appendfsync everysec',
  ];
  writeFileSync(join(at, 'redis.conf'), `${[...literal, stdout].join('\n')}\n`);
  if (server !== null) await end('SIGKILL');
  server = spawn('redis-server', [join(at, 'redis.conf')], { stdio: 'ignore' });
  await expect.poll(() => cli('ping'), { timeout: 60_000, interval: 20 }).toBe('PONG');
}

async function end(signal: NodeJS.Signals): Promise<void> {
  const one = server as ChildProcess;
  const gone = new Promise((done) => one.once('exit', done));
  // One that has ended by itself says so no more.
  if (one.exitCode === null && one.signalCode === null) {
    one.kill(signal);
    await gone;
  }
  server = null;
}

const log = () =>
  new RedisLog({
    clock: systemClock(),
    log: { info: () => undefined, warn: () => undefined },
    host: { exec: async (_, [, ...words]) => ({ code: 0, out: `${cli(...words)}\n` }) },
  });

async function untilLogged(): Promise<void> {
  const redis = log();
  await expect
    .poll(
      () => {
        redis.soon();
        redis.tend('one');
        return redis.now?.each;
      },
      { timeout: 60_000, interval: 20 },
    )
    .toBe('second');
}

/** A server of before: 500 keys in its file, and no log. */
async function old(name: string): Promise<void> {
  at = join(folder, name);
  mkdirSync(at);
  await begin('true');
  cli('eval', "for i = 1, 500 do redis.call('set', 'key:' .. i, i) end", '0');
  cli('save');
}

beforeAll(() => install({ 'redis-server': 'redis-server' }));
// What a test that failed left would be forgotten by the next one, which has a server of its own.
afterEach(async () => {
  if (server !== null) await end('SIGKILL');
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

test('one of before is switched while it lives, and no key is lost, also of the second before its end', async () => {
  await old('switched');
  await end('SIGKILL');
  await begin();
  expect([cli('dbsize'), cli('config', 'get', 'appendonly')]).toEqual(['500', 'appendonly\nno']);
  await untilLogged();
  cli('set', 'late', 'kept');
  await sleep(1200);
  await end('SIGKILL');
  await begin();
  expect([cli('config', 'get', 'appendonly'), cli('dbsize'), cli('get', 'late')]).toEqual([
    'appendonly\nyes',
    '501',
    'kept',
  ]);
});

test('cut off between any two of its steps it begins again with every key', { timeout: 180_000 }, async () => {
  await old('cuts');
  const cuts: string[] = [];
  const cut = (): void => {
    cuts.push(join(folder, `cut-${cuts.length}`));
    cpSync(at, cuts.at(-1) as string, { recursive: true, filter: (path) => !path.endsWith('.socket') });
  };
  cut();
  cli('config', 'set', 'rdb-key-save-delay', '2000');
  cli('config', 'set', 'appendonly', 'yes');
  cut();
  await sleep(200);
  cut();
  cli('config', 'set', 'rdb-key-save-delay', '0');
  await untilLogged();
  cut();
  await end('SIGTERM');
  cut();
  expect(cuts.map((one) => existsSync(join(one, 'appendonlydir/appendonly.aof.manifest')))).toEqual([
    ...[false, false, false],
    ...[true, true],
  ]);
  for (const one of cuts) {
    at = one;
    await begin();
    expect([one, cli('dbsize')]).toEqual([one, '500']);
    await end('SIGKILL');
  }
});

test('the order that is not taken has 0 keys', async () => {
  await old('wrong');
  await end('SIGKILL');
  await begin('echo appendonly yes');
  expect(cli('dbsize')).toBe('0');
});
