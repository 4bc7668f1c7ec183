import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { askJobUser, ranAsRoot } from '../../node/cli/job-user.ts';
import { chooseJobUser } from '../../node/cli/service-config.ts';
import { processFinding } from '../../node/doctor/process-check.ts';
import { wantedUser } from '../../node/executors/job-account.ts';
import { readAutoUser, usualRange } from '../../node/executors/run-uids.ts';
import { asRootService } from '../../node/machine/as-service.ts';

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
      hint: expect.stringMatching(
        /NAME: that person.*root: jobs are root.*: autogit-node join --executor process --user auto$/,
      ),
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
      /as before.*\n-> say who .*root: jobs are root.*: autogit-node join .*--user auto$/,
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

describe('--user', () => {
  const own = process.getuid;
  const asUid = (uid: number): void => {
    process.getuid = () => uid;
  };
  afterEach(() => {
    process.getuid = own as () => number;
  });

  it('auto has a range, which may be another one', () => {
    expect(readAutoUser('auto')).toEqual(usualRange);
    expect(readAutoUser('auto:200000-265535')).toEqual({ first: 200_000, last: 265_535 });
    expect(readAutoUser('autobot')).toBeNull();
    for (const bad of ['auto:', 'auto:5', 'auto:0-10', 'auto:70010-70000', 'auto:70000-99999999999', 'auto:70000-x'])
      expect(() => readAutoUser(bad)).toThrow(/is no range of uids/);
  });

  it('is somebody else for root only; the error says what to type', () => {
    asUid(1000);
    for (const user of ['auto', 'auto:70000-70010', 'somebody-else'])
      expect(() => wantedUser(user)).toThrow(
        expect.objectContaining({
          code: 'bad-flag',
          hint: expect.stringMatching(/leave --user out.*: sudo autogit-node join --executor process --user \S+$/),
        }),
      );
    expect([wantedUser(null), wantedUser(userInfo().username)]).toEqual(['own', 'named']);
    asUid(0);
    expect([null, 'root', 'auto', 'kang'].map(wantedUser)).toEqual(['own', 'own', 'auto', 'named']);
  });
});

describe('a system service', () => {
  it('writes user: auto where process jobs have no user yet, and only there', () => {
    const dir = mkdtempSync(join(tmpdir(), 'autogit-choose-'));
    const file = join(dir, 'autogit.yml');
    const fileAfter = (text: string, wereRoot = false): string => {
      writeFileSync(file, text);
      const said = chooseJobUser(file, wereRoot);
      const now = readFileSync(file, 'utf8');
      expect(said === null).toBe(now === text);
      return now;
    };
    try {
      expect(fileAfter('executors: [docker, process] # both\n')).toMatch(/^executors: .* # both\nuser: auto\n$/);
      expect(fileAfter('executors: process\n')).toBe('executors: process\nuser: auto\n');
      for (const same of ['name: x\n', 'executors: [docker]\n', 'executors: [process]\nuser: kang\n'])
        expect(fileAfter(same)).toBe(same);
      expect(fileAfter('executors: [process]\n', true)).toBe('executors: [process]\n');
      rmSync(file);
      expect(chooseJobUser(file, false)).toBeNull();
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});

describe('doctor on process jobs', () => {
  const uids = { agent: 0, asked: 0 };

  it('says what this machine cannot limit and cannot hold (security A11, A15)', () => {
    expect(processFinding('auto', { missing: [], heldBy: 'group' }, uids)).toMatchObject({
      state: 'ok',
      sentence: 'jobs are a user of their own each, limited and held together by control groups',
    });
    const bare = processFinding(null, { missing: ['memory', 'CPU'], heldBy: 'marks' }, uids);
    expect(bare).toMatchObject({ state: 'warn', fix: expect.stringContaining(asRootService()) });
    expect(bare.sentence).toMatch(/no limit of memory, CPU can be set here, and what a job starts in a new session/);
    expect(processFinding('kang', { missing: [], heldBy: 'supervisor' }, { agent: 0, asked: 1000 }).sentence).toMatch(
      /^jobs are kang, and a job that kills its own supervisor .* \(as tried by uid 1000; the agent is uid 0/,
    );
  });
});
