import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { dropNoted, noted } from '../../node/hosting/protect/left-behind.ts';
import { ownFile, ownName, ownSource } from '../../node/hosting/protect/own-source.ts';
import type { BackupSource } from '../../node/hosting/vault/backup-run.ts';

/** GitLab's own backup as real processes of this machine, each command in a session of its own, as an engine starts it. */
let top = '';
let data = '';
const at = (name: string): string => join(top, name);
const file = (): string => join(at('backups'), ownFile(data));
/** It ends in no time by itself; a helper of its own, which has no such name, writes the file. */
const backup = `#!/bin/sh
sh -c 'while :; do echo more >>"$1"; sleep 0.1; done' helper-${'$'}2 "$AT/backups/\${2#BACKUP=}_gitlab_backup.tar" &
wait`;

beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), 'autogit-own-run-'));
  data = randomBytes(6).toString('hex');
  for (const name of ['backups', 'config', 'data', 'bin']) mkdirSync(at(name));
  writeFileSync(at('bin/gitlab-backup'), backup);
  chmodSync(at('bin/gitlab-backup'), 0o755);
});
afterEach(() => {
  for (const pid of running()) process.kill(pid, 'SIGKILL');
  rmSync(top, { recursive: true });
});

/** Whoever has this backup's name somewhere on its command line. */
const running = (): number[] =>
  readdirSync('/proc').flatMap((entry) => {
    try {
      return /^\d+$/.test(entry) && readFileSync(`/proc/${entry}/cmdline`, 'utf8').includes(`autogit_${data}`)
        ? [Number(entry)]
        : [];
    } catch {
      return [];
    }
  });

const begin = (argv: readonly string[]) =>
  spawn(argv[0] as string, argv.slice(1), {
    detached: true,
    env: { ...process.env, AT: top, PATH: `${at('bin')}:${process.env.PATH}` },
    stdio: 'ignore',
  });
const host = {
  exec: (_id: string, argv: readonly string[]): Promise<{ code: number; out: string }> =>
    new Promise((resolve) => begin(argv).on('exit', (code) => resolve({ code: code ?? 137, out: '' }))),
};
function source(signal: AbortSignal): BackupSource {
  const about = { form: 1, mesh: 'm', meshName: 'm', data, epoch: 1, version: '17.5.1', image: 'i', at: 1 } as const;
  const own = { host, id: 'c'.repeat(64), config: at('config'), folders: [at('data')], backups: at('backups') };
  return ownSource({ ...own, tree: at('tree'), say: () => undefined, signal }, about);
}

it('a backup that is given up ends in its container, with all that it began, and leaves no file', async () => {
  const gone = new AbortController();
  const made = noted(at('home'), { file: file() }, source(gone.signal));
  const taken = expect(made.take()).rejects.toThrow(/it was given up: it shall not be backed up any more/);
  await expect.poll(() => existsSync(file()), { timeout: 10_000 }).toBe(true);
  gone.abort(new Error('it shall not be backed up any more'));
  await taken;
  expect([running(), existsSync(file())]).toEqual([[], false]);
}, 30_000);

it('what an agent that was killed began is ended by the next one, and its file comes not again', async () => {
  mkdirSync(at('home'));
  const run = { container: 'c'.repeat(64), name: ownName(data) };
  await noted(at('home'), { file: file(), run }, { take: async () => ({ folder: top }), drop: async () => {} }).take();
  // As `bundle exec` calls itself.
  const writes = `while :; do echo more >>"$0"; sleep 0.1; done`;
  const title = `exec -a 'rake gitlab:backup:create BACKUP=${ownName(data)} CRON=1' bash -c '${writes}' '${file()}'`;
  begin(['bash', '-c', title]);
  await expect.poll(() => existsSync(file()), { timeout: 10_000 }).toBe(true);
  await dropNoted(at('home'), host);
  expect([running(), existsSync(file()), existsSync(at('home/gitlab-protect/made.json'))]).toEqual([[], false, false]);
}, 30_000);

it('before another one begins, that of an agent that was killed has ended', async () => {
  const other = begin(['gitlab-backup', 'create', `BACKUP=${ownName(data)}`]);
  await expect.poll(() => existsSync(file()), { timeout: 10_000 }).toBe(true);
  const gone = new AbortController();
  const ended = new Promise((resolve) => other.on('exit', resolve));
  const taken = expect(source(gone.signal).take()).rejects.toThrow();
  await ended;
  gone.abort(new Error('enough'));
  await taken;
}, 30_000);
