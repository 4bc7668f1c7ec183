import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { GitlabProtector } from '../../node/hosting/protect/gitlab-protector.ts';
import { noted } from '../../node/hosting/protect/left-behind.ts';
import type { BackupSource } from '../../node/hosting/vault/backup-run.ts';
import { noKeepers } from '../fixtures/no-keepers.ts';

let home = '';
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'autogit-protect-left-'));
  mkdirSync(join(home, 'backups'));
});
afterEach(() => rmSync(home, { recursive: true }));

const file = (): string => join(home, 'backups/autogit_d_gitlab_backup.tar');
const source = (take: () => void): BackupSource => ({
  take: async () => {
    writeFileSync(file(), 'half');
    take();
    return { folder: home };
  },
  drop: async () => rmSync(file(), { force: true }),
});
const note = (): string => join(home, 'gitlab-protect/made.json');

it('what was half made when a backup failed is gone, and what one made is gone when it was read', async () => {
  const failing = noted(
    home,
    { file: file() },
    source(() => {
      throw new Error('the disk is full');
    }),
  );
  await expect(failing.take()).rejects.toThrow('the disk is full');
  expect([existsSync(file()), existsSync(note())]).toEqual([false, false]);
  const whole = noted(
    home,
    { file: file() },
    source(() => undefined),
  );
  await whole.take();
  expect([existsSync(file()), existsSync(note())]).toEqual([true, true]);
  await whole.drop();
  expect([existsSync(file()), existsSync(note())]).toEqual([false, false]);
});

it('what an agent that was killed left in the owner’s folder goes with the next one, also when nobody protects that GitLab any more', async () => {
  await noted(
    home,
    { file: file() },
    source(() => undefined),
  ).take();
  const protector = new GitlabProtector({
    ...{ self: 'K', home, ledger: () => null, dockerHost: null, report: () => undefined },
    ...{
      clock: { bootMs: () => performance.now(), wallMs: Date.now },
      log: { info: () => undefined, warn: () => undefined },
    },
    host: { exec: () => Promise.reject(new Error('nothing is asked of an engine')) },
    ...{
      canOpen: () => false,
      unseal: () => '',
      sealForVoters: () => '',
      keepers: noKeepers,
      change: () => Promise.reject(new Error('no change')),
    },
  });
  protector.start();
  await expect.poll(() => [existsSync(file()), existsSync(note())], { timeout: 20_000 }).toEqual([false, false]);
  await protector.stop();
}, 30_000);
