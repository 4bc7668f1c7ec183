import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { execCleanly } from '../../node/clean-spawn.ts';
import { copyUnder, fillPlace, takeConfigOver, untilUnlocked } from '../../node/hosting/adopt/fill-place.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';

/** What a person's container has, copied by the real cp into folders as a place has them. */
let top: string;
const at = (...path: string[]): string => join(top, ...path);
function put(path: string, text: string): void {
  mkdirSync(at(path, '..'), { recursive: true });
  writeFileSync(at(path), text);
}
const place = () => ({
  config: at('place/live/config'),
  data: at('place/live/data'),
  bulk: at('place/bulk'),
  logs: at('place/logs'),
});
const folders = () => [
  { inside: '/etc/gitlab', outside: at('old/config') },
  { inside: '/var/log/gitlab', outside: at('old/logs') },
  { inside: '/var/opt/gitlab', outside: at('old/data') },
  { inside: '/var/opt/gitlab/git-data', outside: at('other-disk') },
];

beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), 't-adopt-copy-'));
  put('old/config/gitlab.rb', "external_url 'http://kang'\n");
  put('old/config/gitlab-secrets.json', '{}');
  put('old/logs/puma/current', 'a line');
  put('old/data/postgresql/data/PG_VERSION', '16');
  put('old/data/gitlab-rails/etc/database.yml', 'db');
  put('old/data/gitlab-rails/shared/artifacts/1/a.zip', 'zip');
  put('old/data/backups/1_gitlab_backup.tar', 'of its owner');
  put('old/data/autogit-data.json', '{"mesh":"another"}');
  // What lies under a mount of its container is not what GitLab sees.
  put('old/data/git-data/hidden', 'stale');
  put('other-disk/repositories/@hashed/HEAD', 'ref: refs/heads/main');
  put('old/data/.hidden', 'too');
  put('old/data/a folder/-rf', 'odd names');
  symlinkSync('data/PG_VERSION', at('old/data/postgresql/link'));
  chmodSync(at('old/data/gitlab-rails/shared'), 0o751);
  chmodSync(at('old/data/postgresql'), 0o700);
  for (const folder of Object.values(place())) mkdirSync(folder, { recursive: true });
});
afterEach(() => rmSync(top, { recursive: true, force: true }));

it('each part lies where GitLab in the mesh has it, with owner and mode; its own backups stay where they are', async () => {
  const never = new AbortController().signal;
  await fillPlace(folders(), place(), copyUnder(at('lock'), never));
  const { config, data, bulk, logs } = place();
  expect(readdirSync(data).sort()).toEqual(['.hidden', 'a folder', 'git-data', 'gitlab-rails', 'postgresql']);
  expect(readdirSync(join(data, 'git-data'))).toEqual(['repositories']);
  expect(readdirSync(join(data, 'gitlab-rails'))).toEqual(['etc']);
  expect(readFileSync(join(bulk, 'artifacts/1/a.zip'), 'utf8')).toBe('zip');
  expect(readFileSync(join(data, 'a folder/-rf'), 'utf8')).toBe('odd names');
  expect(readlinkSync(join(data, 'postgresql/link'))).toBe('data/PG_VERSION');
  expect(readFileSync(join(logs, 'puma/current'), 'utf8')).toBe('a line');
  expect([statSync(bulk).mode & 0o777, statSync(join(data, 'postgresql')).mode & 0o777]).toEqual([0o751, 0o700]);
  await takeConfigOver(config, "nginx['listen_port'] = 8929", 'http://kang', systemTools);
  const text = readFileSync(join(config, 'gitlab.rb'), 'utf8');
  expect(text).toMatch(/8929[\s\S]*external_url 'http:\/\/kang'[\s\S]*listen_port'\] = 80\n/);
  expect(statSync(join(config, 'gitlab.rb')).mode & 0o077).toBe(0);
  expect(existsSync(at('old/data/backups/1_gitlab_backup.tar'))).toBe(true);

  // What was mounted may be named by a link, which has no mode of its own to go by.
  symlinkSync(at('old/data/postgresql'), at('named'));
  await fillPlace([{ inside: '/etc/gitlab', outside: at('named') }], place(), copyUnder(at('lock'), never));
  expect(statSync(config).mode & 0o777).toBe(0o700);

  // What root in the container put in its place would be read on this machine.
  rmSync(join(config, 'gitlab.rb'));
  symlinkSync('/etc/hostname', join(config, 'gitlab.rb'));
  await expect(takeConfigOver(config, '', 'http://kang', systemTools)).rejects.toThrow(/gitlab\.rb is no plain file/);
  expect(readlinkSync(join(config, 'gitlab.rb'))).toBe('/etc/hostname');
});

it('a folder that is empty once its container stands still is no GitLab: nothing is copied', async () => {
  const never = new AbortController().signal;
  rmSync(at('old/data'), { recursive: true });
  mkdirSync(at('old/data'));
  await expect(fillPlace(folders(), place(), copyUnder(at('lock'), never))).rejects.toThrow(/old\/data is empty now/);
  expect(readdirSync(place().config)).toEqual([]);
});

it('what cannot be read or written fails in words, and an abort ends it', async () => {
  const never = new AbortController().signal;
  await expect(copyUnder(at('lock'), never)([at('no-such')], `${place().data}/`)).rejects.toThrow(
    /the copy failed: cp: .*no-such.*No such file/,
  );
  await expect(copyUnder(at('lock'), AbortSignal.abort())([at('old/data')], `${place().data}/`)).rejects.toThrow(
    /abort/i,
  );
});

it('waits for the cp of an agent that is gone', async () => {
  const never = new AbortController().signal;
  const held = execCleanly('flock', [at('lock'), 'sleep', '0.6']);
  await new Promise((done) => setTimeout(done, 200));
  const began = performance.now();
  await untilUnlocked(at('lock'), never);
  expect(performance.now() - began).toBeGreaterThan(200);
  await held;
});
