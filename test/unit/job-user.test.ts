import { describe, expect, it } from 'vitest';
import { askJobUser, ranAsRoot } from '../../node/job-user.ts';

const ask = (
  executors: ('docker' | 'process')[],
  user: string | null,
  now: Partial<{ isRoot: boolean; ranSo: boolean }>,
) => askJobUser({ executors, user, witness: false }, { isRoot: true, ranSo: false, ...now });

describe("the user of a process executor's jobs", () => {
  it('must be written out by root, in a new home', () => {
    let thrown: unknown;
    try {
      ask(['docker', 'process'], null, {});
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({
      code: 'bad-flag',
      message: expect.stringContaining('user that jobs run as'),
      hint: expect.stringMatching(/--user root: jobs are root.*: autogit-node join --executor process --user NAME$/),
    });
  });

  it('is no question where it was answered, or does not arise', () => {
    expect(ask(['process'], 'root', {})).toBeNull();
    expect(ask(['process'], 'job', {})).toBeNull();
    expect(ask(['process'], null, { isRoot: false })).toBeNull();
    expect(ask(['docker'], null, {})).toBeNull();
    expect(ask([], null, {})).toBeNull();
  });

  it('a home whose jobs were root before goes on, and says so', () => {
    expect(ask(['process'], null, { ranSo: true })).toMatch(
      /as before.*\n-> name a user .*--user root.*: autogit-node join/,
    );
    const last = (executor: string, user?: string) => ({
      executors: { value: [executor], source: 'flag' as const },
      ...(user && { user: { value: user, source: 'flag' as const } }),
    });
    expect(ranAsRoot(true, null)).toBe(true);
    expect(ranAsRoot(true, last('process'))).toBe(true);
    expect(ranAsRoot(true, last('process', 'root'))).toBe(true);
    expect(ranAsRoot(false, last('process'))).toBe(false);
    expect(ranAsRoot(true, last('docker'))).toBe(false);
    expect(ranAsRoot(true, last('process', 'job'))).toBe(false);
  });
});
