import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { redisConfigCommand, redisLogNow, redisSeen } from '../../node/hosting/redis-log.ts';

const info = (more: Record<string, string>): string =>
  ['# Persistence', 'loading:0', ...Object.entries(more).map(([key, value]) => `${key}:${value}`), ''].join('\r\n');
const logged = {
  aof_enabled: '1',
  aof_rewrite_in_progress: '0',
  aof_last_bgrewrite_status: 'ok',
  aof_last_write_status: 'ok',
};

test.each([
  ['none', { ...logged, aof_enabled: '0' }, false, 'minute', 'begin'],
  ['being begun', { ...logged, aof_rewrite_in_progress: '1' }, false, 'minute', 'none'],
  ['about to be begun', { ...logged, aof_rewrite_scheduled: '1' }, false, 'minute', 'none'],
  ['whole', logged, false, 'second', 'none'],
  ['written anew beside the one that holds', { ...logged, aof_rewrite_in_progress: '1' }, true, 'second', 'none'],
  ['that could not be begun', { ...logged, aof_last_bgrewrite_status: 'err' }, false, 'minute', 'none'],
  ['that cannot be added to', { ...logged, aof_last_write_status: 'err' }, true, 'minute', 'none'],
])('a log of Redis that is %s', (_, facts, wasWhole, each, act) => {
  const seen = redisSeen(info(facts));
  if (seen === null) throw new Error('it is an answer');
  expect(redisLogNow(seen, wasWhole)).toMatchObject({ each, act });
});

test('what is no answer of a Redis is none', () => {
  for (const text of ['', 'Could not connect to Redis', '<html>aof_enabled</html>']) expect(redisSeen(text)).toBeNull();
});

const folder = mkdtempSync(join(tmpdir(), 't-redis-log-'));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** What the image's reconfigure writes behind its own `appendonly no`. */
function printed(files: Record<string, number>): string {
  const now = Date.now() / 1000;
  mkdirSync(join(folder, 'appendonlydir'), { recursive: true });
  for (const [name, agoSeconds] of Object.entries(files)) {
    writeFileSync(join(folder, name), 'x');
    utimesSync(join(folder, name), now - agoSeconds, now - agoSeconds);
  }
  const command = redisConfigCommand.replaceAll('/var/opt/gitlab/redis', folder);
  // By a shell, and by its words alone.
  const [, script = ''] = /^\/bin\/sh -c '([^']+)'$/.exec(command) ?? [];
  const all = [execFileSync('/bin/sh', ['-c', command]), execFileSync('/bin/sh', ['-c', script])].map(String);
  expect(all[0]).toBe(all[1]);
  return (all[0] as string).trim();
}

const manifest = 'appendonlydir/appendonly.aof.manifest';
const written = 'appendonlydir/appendonly.aof.1.incr.aof';

test.each([
  ['a new Redis', {}, ''],
  ['a file and no log', { 'dump.rdb': 10 }, ''],
  ['a file, and a log that is not whole yet', { 'dump.rdb': 10, [written]: 1 }, ''],
  ['a whole log', { [manifest]: 900, [written]: 1 }, 'appendonly yes'],
  [
    'both, the file a little younger: nothing was written since',
    { 'dump.rdb': 10, [manifest]: 900, [written]: 70 },
    'appendonly yes',
  ],
  ['a log that is older than its file: it went on without', { 'dump.rdb': 10, [manifest]: 900, [written]: 600 }, ''],
])('a start after %s', (_, files, config) => {
  expect(printed(files)).toBe(config);
});

test('what passes Ruby, a line of gitlab.rb and a shell has nothing of theirs in it', () => {
  expect(redisConfigCommand).not.toMatch(/[;\n\\]/);
  expect(redisConfigCommand.match(/'/g)).toHaveLength(2);
});
