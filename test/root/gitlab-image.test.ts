import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { standInImage } from '../gitlab-image/stand-in-image.ts';

/** The stand-in for GitLab's image is as unkind as test/gitlab-image/README.md says: what is tried on it would else mean little. */
const name = `t-gitlab-image-${process.pid}`;
const folder = mkdtempSync('/var/tmp/t-gitlab-image-');
const token = 'glpat-stand-in-0123456789ab';
let image = '';

const docker = (args: string[], input?: string): string =>
  execFileSync('docker', args, { encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'], ...(input && { input }) }).trim();
const inside = (...command: string[]): string => docker(['exec', name, ...command]);

function begin(...env: string[]): void {
  const places = ['config:/etc/gitlab', 'data:/var/opt/gitlab', 'logs:/var/log/gitlab'].flatMap((one) => {
    const [from = '', to] = one.split(':');
    mkdirSync(join(folder, from), { recursive: true });
    return ['--mount', `type=bind,src=${join(folder, from)},dst=${to}`];
  });
  const links = 'GITLAB_PRE_RECONFIGURE_SCRIPT=ls -A /opt/gitlab/service > /var/log/gitlab/links-before';
  const all = [links, 'STAND_IN_BOOT_SECONDS=4', "GITLAB_OMNIBUS_CONFIG=external_url 'http://gitlab.test'", ...env];
  docker(['run', '-d', '--name', name, ...places, ...all.flatMap((one) => ['-e', one]), image]);
}

const address = (): string => docker(['inspect', '-f', '{{.NetworkSettings.IPAddress}}', name]);

async function statusOf(path: string, headers: Record<string, string> = {}): Promise<number> {
  const signal = AbortSignal.timeout(5000);
  return fetch(`http://${address()}${path}`, { headers, signal, redirect: 'manual' }).then(
    (answer) => answer.status,
    () => 0,
  );
}

/** The statuses on the way to 200. */
async function serves(): Promise<Set<number>> {
  const seen = new Set<number>();
  for (let tries = 0; tries < 300; tries++) {
    const status = await statusOf('/users/sign_in');
    seen.add(status);
    if (status === 200) return seen;
    await sleep(100);
  }
  throw new Error(`it does not serve: ${docker(['logs', '--tail', '20', name])}`);
}

beforeAll(async () => {
  image = await standInImage();
}, 300_000);

afterAll(() => {
  spawnSync('docker', ['rm', '-fv', name], { stdio: 'ignore' });
  rmSync(folder, { recursive: true, force: true });
});

test('it boots slowly, by a 502, and is what the contract says once it serves', { timeout: 60_000 }, async () => {
  begin();
  expect(await serves()).toContain(502);
  expect(await statusOf('/-/health')).toBe(404);
  expect(inside('curl', '-s', 'http://127.0.0.1/-/health')).toBe('GitLab OK');
  expect(JSON.parse(inside('curl', '-s', 'http://127.0.0.1/-/readiness?all=1'))).toMatchObject({ status: 'ok' });
  expect(readFileSync(join(folder, 'config/initial_root_password'), 'utf8')).toMatch(/^Password: \S{20,}\n$/);
  expect(readFileSync(join(folder, 'data/redis/redis.conf'), 'utf8')).toMatch(/^appendonly no$/m);
  expect(inside('gitlab-redis-cli', 'config', 'get', 'appendonly')).toMatch(/no$/);
  const written = (): number => Number(inside('gitlab-psql', '-XqAtc', 'select count(*) from idle_writes'));
  const [before, keys] = [written(), Number(inside('gitlab-redis-cli', 'dbsize'))];

  const code = `t=User.find_by_username('root').personal_access_tokens.create(scopes:['api','admin_mode'],name:'t',expires_at:365.days.from_now); t.set_token('${token}'); t.save!`;
  docker(['exec', '-i', name, 'gitlab-rails', 'runner', '-'], code);
  await serves();
  expect(await statusOf('/api/v4/version')).toBe(401);
  expect(await statusOf('/api/v4/version', { 'private-token': token })).toBe(200);
  await expect.poll(written, { timeout: 12_000 }).toBeGreaterThan(before);
  expect(Number(inside('gitlab-redis-cli', 'dbsize'))).toBeGreaterThan(keys);
});

test('one that serves is made anew with its git and its repositories in place at each moment', {
  timeout: 60_000,
}, async () => {
  docker(['rm', '-f', name]);
  const hooks = "gitaly['configuration'] = { 'hooks' => { 'custom_hooks_dir' => '/opt/autogit-node' } }";
  begin(`GITLAB_OMNIBUS_CONFIG=external_url 'http://gitlab.test'\n${hooks}`, 'STAND_IN_RECONFIGURE_SECONDS=0');
  await serves();
  const [git, repositories] = ['/opt/gitlab/stand-in/hooks/git', '/opt/gitlab/stand-in/data/repositories'];
  const gone = `[ -x ${git} ] && [ -s ${git} ] && [ -e ${repositories} ] || echo gone`;
  const looking = `while [ ! -e /run/made-anew ]; do ${gone}; done & for n in 1 2 3; do gitlab-ctl reconfigure >/dev/null; done; touch /run/made-anew; wait`;
  expect(inside('sh', '-c', looking)).toBe('');
});

test('services are gone at each start until reconfigure; tokens do not outlive the secrets file', {
  timeout: 60_000,
}, async () => {
  docker(['restart', name]);
  await serves();
  expect(readFileSync(join(folder, 'logs/links-before'), 'utf8')).toBe('');
  expect(await statusOf('/api/v4/version', { 'private-token': token })).toBe(200);
  rmSync(join(folder, 'config/gitlab-secrets.json'));
  docker(['restart', name]);
  await serves();
  expect(await statusOf('/api/v4/version', { 'private-token': token })).toBe(401);
  docker(['rm', '-f', name]);
  begin('GITLAB_SKIP_RECONFIGURE=true');
  await sleep(1000);
  expect(inside('ls', '/opt/gitlab/service')).toBe('');
  expect(inside('ps', 'ax')).toContain('sshd');
});

test('data of a newer version are refused', { timeout: 30_000 }, () => {
  docker(['rm', '-f', name]);
  writeFileSync(join(folder, 'data/gitlab-rails/VERSION'), '99.1.0\n');
  begin();
  expect(docker(['wait', name])).toBe('1');
  expect(docker(['logs', name]) + spawnSync('docker', ['logs', name], { encoding: 'utf8' }).stderr).toContain(
    'you are upgrading from 99.1.0 to 19.3.0',
  );
});
