import { expect, it, test } from 'vitest';
import { patienceOf, runTool } from '../../node/hosting/tool-run.ts';

/** How long a program may take that works at GitLab's data. */
const quick = { stillMs: 400, longestMs: 60_000, lookMs: 50 };
const run = (script: string, more: Partial<typeof quick> = {}): Promise<string> =>
  runTool('sh', ['-c', script], process.env, { ...quick, ...more });
const isThere = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

it('one that works goes on, however long it takes; its words are its own, also where it fails', async () => {
  const works =
    'i=0; while [ $i -lt 20 ]; do j=0; while [ $j -lt 20000 ]; do j=$((j+1)); done; i=$((i+1)); done; echo done';
  const began = performance.now();
  // Each of its looks sees it further.
  expect(await run(works, { stillMs: 150, lookMs: 20 })).toBe('done\n');
  expect(performance.now() - began).toBeGreaterThan(160);
  await expect(run('echo no such thing >&2; exit 3')).rejects.toThrow(/sh failed with exit code 3: no such thing/);
});

it('one that does nothing any more is given up, also one that does not listen', async () => {
  const began = performance.now();
  await expect(run('sleep 30')).rejects.toMatchObject({
    code: 'data-place',
    message: expect.stringMatching(/^sh -c was given up: it and its disk have done nothing for \d+ s$/),
  });
  // One that a disk holds does not listen either: nobody waits for its end.
  await expect(run('trap "" TERM; exec sleep 30')).rejects.toThrow(/was given up/);
  expect(performance.now() - began).toBeLessThan(5_000);
});

it('one that moves for ever is given up in the end, and is gone', async () => {
  let pid = 0;
  const loop = run('while :; do :; done', { longestMs: 300 });
  await expect(loop).rejects.toThrow(/did not end within/);
  pid = Number((await run('pgrep -n -fx "sh -c while :; do :; done" || echo 0')).trim());
  if (pid > 0) await expect.poll(() => isThere(pid), { timeout: 8_000 }).toBe(false);
});

test.each([
  ['sync', ['-f', '/srv/gitlab'], true],
  ['find', ['/srv/gitlab/live', '-delete'], true],
  ['du', ['-s', '--', '/srv/gitlab'], true],
  ['rm', ['-rf', '--', '/srv/gitlab/clone'], true],
  ['btrfs', ['subvolume', 'delete', '--commit-after', '/srv/gitlab/old'], true],
  ['btrfs', ['subvolume', 'sync', '/srv/gitlab'], true],
  ['losetup', ['--find', '/srv/gitlab.img'], false],
  ['btrfs', ['subvolume', 'show', '/srv/gitlab'], false],
])('%s %j may take hours: %s', (file, args, isLong) => {
  expect(patienceOf(file, args).longestMs >= 3_600_000).toBe(isLong);
});
