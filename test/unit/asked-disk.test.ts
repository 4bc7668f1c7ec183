import { realpath } from 'node:fs/promises';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { protectFacts } from '../../node/hosting/protect/protect-facts.ts';
import { askDisk } from '../../node/machine/asked-disk.ts';

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  return { ...real, realpath: vi.fn(real.realpath) };
});

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('a disk that hangs is waited for so long and no longer, and has one question at a time', async () => {
  let ends = (_text: string): void => undefined;
  const hung = askDisk('/srv/nfs', () => new Promise<string>((resolve) => (ends = resolve)), 1000);
  let asked = 0;
  const more = ['/srv/a', '/srv/b'].map((path) => askDisk(path, async () => ++asked, 2000));
  const ended = Promise.allSettled([hung, ...more]);
  await vi.advanceTimersByTimeAsync(2500);
  for (const one of await ended)
    expect(one).toMatchObject({
      reason: {
        message: expect.stringMatching(/^\/srv\/nfs does not answer/),
        hint: expect.stringContaining('findmnt'),
      },
    });
  expect(asked).toBe(0);
  const later = [1, 2, 3].map((at) => askDisk('/srv/a', async () => at));
  ends('back');
  expect(await Promise.all(later)).toEqual([1, 2, 3]);
  await expect(askDisk('/srv/a', () => Promise.reject(new Error('EIO')))).rejects.toThrow('EIO');
  expect(await askDisk('/srv/a', async () => 4)).toBe(4);
});

it('a protected GitLab whose folder hangs is said to be unknown, and the agent goes on', async () => {
  let ends = (_text: string): void => undefined;
  vi.mocked(realpath).mockImplementationOnce(() => new Promise<string>((resolve) => (ends = resolve)));
  const mounts = [
    { inside: '/var/opt/gitlab', outside: '/' },
    { inside: '/etc/gitlab', outside: '/' },
  ];
  const one = {
    ...{ id: 'a', name: 'gitlab', image: 'i', isRunning: true, status: 'running', mounts },
    ...{ backupPath: '/var/opt/gitlab/backups', hasObjectStorage: false, hasOtherDatabase: false, dataElsewhere: [] },
  };
  const facts = protectFacts(one, { home: '/', counts: false });
  const said = expect(facts).rejects.toMatchObject({ code: 'backup', message: '/ does not answer within 10 s' });
  await vi.advanceTimersByTimeAsync(11_000);
  await said;
  ends('/');
});
