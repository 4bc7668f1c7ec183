import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { logFile, openLog } from '../../node/log.ts';
import { tailOf } from '../../node/support/log-tail.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'autogit-log-'));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));
const lines = (): Record<string, unknown>[] =>
  readFileSync(logFile(home), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

it('writes JSON lines with an event name and epoch ms, at once', () => {
  const log = openLog(home);
  const before = Date.now();
  log.event({ event: 'leader-elected', because: 'kang leads', fields: { term: 12, leader: 'kang' } });
  log.debug('never seen');
  log.warn('careful');
  const [event, warning] = lines();
  expect(event).toMatchObject({ event: 'leader-elected', term: 12, leader: 'kang', msg: 'kang leads', level: 30 });
  expect(event?.time).toBeGreaterThanOrEqual(before);
  expect(warning).toMatchObject({ level: 40, msg: 'careful' });
  expect(statSync(logFile(home)).mode & 0o777).toBe(0o600);
  log.close();
});

it('lets no token through, wherever it stands', () => {
  const log = openLog(home, { level: 'debug' });
  log.error('refused glpat-abcdefghijklmnop at http://u:hunter2@gitlab/x', {
    token: 'anything',
    answer: '{"token":"glrt-t1_xyz"}',
  });
  log.debug(JSON.stringify({ 'PRIVATE-TOKEN': 'plain', meshKey: 'ff00' }));
  const text = readFileSync(logFile(home), 'utf8');
  for (const secret of ['abcdefghijklmnop', 'hunter2', 'anything', 't1_xyz']) expect(text).not.toContain(secret);
  log.close();
});

it('starts a new file when one is full, and keeps three', () => {
  const log = openLog(home, { bytes: 2000, keep: 3 });
  for (let i = 0; i < 200; i++) log.info(`line ${i}`);
  log.close();
  const sizes = ['', '.1', '.2', '.3'].map((end) => statSync(logFile(home) + end).size);
  for (const size of sizes) expect(size).toBeLessThan(2200);
  expect(() => statSync(`${logFile(home)}.4`)).toThrow();
  expect(lines().at(-1)?.msg).toBe('line 199');
  const again = openLog(home, { bytes: 2000, keep: 3 });
  again.info('after a restart');
  expect(lines().at(-1)?.msg).toBe('after a restart');
  again.close();
});

it('shows the end of a log in whole lines', async () => {
  const log = openLog(home);
  for (let i = 0; i < 50; i++) log.info(`line ${i}`);
  log.close();
  const tail = (await tailOf(logFile(home), 3))
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { msg: string }).msg);
  expect(tail).toEqual(['line 47', 'line 48', 'line 49']);
});
