import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { install } from '../bench/debian.ts';
import setUpBundle from '../e2e/bundle.ts';
import { formMesh } from '../e2e/mesh.ts';
import { asRoot, Rig, TestGitlab, type TestMachine, until } from '../e2e/rig.ts';
import { standInImage } from '../gitlab-image/stand-in-image.ts';
import { hostingPrograms } from '../hosting/stand/programs.ts';

/** A person's own GitLab in a container, backed up by the published program; the stand-in in its place, real btrfs and restic. */
const rig = new Rig();
const folder = mkdtempSync('/var/tmp/t-gitlab-protect-');
const disk = join(folder, 'disk');
const name = `t-gitlab-protect-${process.pid}`;
const token = 'glpat-t-protect-0123456789ab';
/** A tag that no registry has. */
const adopted = `127.0.0.1:1/autogit-adopt:17.5.1-${process.pid}`;
const fast = `autogit-test:gitlab-protect-${process.pid}`;
let kang: TestMachine;
let gitlab: TestGitlab;
let port = 0;
let url = '';

const docker = (...args: string[]): string => execFileSync('docker', args, { encoding: 'utf8' }).trim();
const sh = (text: string): string => execFileSync('sh', ['-c', text], { encoding: 'utf8' });

/** As a person starts one, whatever it is called. */
function begin(container: string, ...volumes: string[]): void {
  const places = volumes.flatMap((one) => ['-v', one]);
  const config = `GITLAB_OMNIBUS_CONFIG=external_url '${url}'; nginx['listen_port'] = 80`;
  docker('run', '-d', '--name', container, '-e', config, '-p', `127.0.0.1:${port}:80`, ...places, fast);
}
const isServed = (at = url): Promise<boolean> =>
  fetch(`${at}/users/sign_in`, { signal: AbortSignal.timeout(1000), redirect: 'manual' }).then(
    ({ status }) => status === 200,
    () => false,
  );
const names = async (): Promise<string[]> =>
  (await gitlab.api<{ name: string }[]>('/projects')).map((project) => project.name).sort();
interface Row {
  id: string;
  version: string;
  isOwn: boolean;
  kind: string;
  because: string;
}
const history = async (): Promise<Row[]> => JSON.parse((await kang.cli('--json', 'gitlab', 'history')).stdout);

beforeAll(async () => {
  setUpBundle();
  install({ ...hostingPrograms, restic: 'restic' });
  const image = await standInImage();
  const made = docker('create', image);
  docker(
    'commit',
    ...['--change', 'ENV STAND_IN_BOOT_SECONDS=1', '--change', 'ENV STAND_IN_RECONFIGURE_SECONDS=0', made, fast],
  );
  docker('rm', made);
  port = await freePort();
  url = `http://127.0.0.1:${port}`;
  mkdirSync(disk);
  sh(
    `truncate -s 60G ${folder}/disk.img && mkfs.btrfs -q ${folder}/disk.img && mount -o loop ${folder}/disk.img ${disk}`,
  );
  // The data are a subvolume, as who thinks of snapshots makes them; the configuration a plain folder beside it.
  sh(`btrfs subvolume create ${disk}/data && mkdir ${disk}/config`);
  begin(name, `${disk}/config:/etc/gitlab`, `${disk}/data:/var/opt/gitlab`);
  [kang] = (await formMesh(rig, ['kang'])) as [TestMachine];
}, 300_000);

afterAll(async () => {
  await kang?.cli('--yes', 'gitlab', 'uninstall', '--delete-data', '--now', '--force');
  await rig.clean();
  for (const one of [name, `${name}-anew`, `${name}-plain`, `${name}-plain-before-autogit`])
    spawnSync('docker', ['rm', '-fv', one], { stdio: 'ignore' });
  spawnSync('docker', ['volume', 'rm', `${name}-config`, `${name}-data`], { stdio: 'ignore' });
  spawnSync('umount', [disk], { stdio: 'ignore' });
  spawnSync('docker', ['rmi', fast, adopted], { stdio: 'ignore' });
  rmSync(folder, { recursive: true, force: true });
}, 120_000);

it('is backed up from a snapshot, and nothing of it is changed; made anew under another name it is the same', {
  timeout: 120_000,
}, async () => {
  await until('it serves', isServed, 30_000);
  const code = `t=User.find_by_username('root').personal_access_tokens.create(scopes:['api','admin_mode'],name:'t',expires_at:365.days.from_now); t.set_token('${token}'); t.save!`;
  execFileSync('docker', ['exec', '-i', name, 'gitlab-rails', 'runner', '-'], { input: code });
  await until('it serves again', isServed, 30_000);
  gitlab = new TestGitlab(folder, null);
  Object.assign(gitlab, { url, token });
  await gitlab.push('kept', { 'readme.md': 'of the first day' });
  const was = docker('inspect', name);

  const nowhere = await kang.cli('--yes', 'gitlab', 'protect', name);
  expect([nowhere.code, nowhere.stderr]).toEqual([
    2,
    expect.stringContaining('where its backups shall go is not said'),
  ]);
  const none = await kang.cli('--yes', 'gitlab', 'protect', 'no-such', '--to', join(folder, 'backups'));
  expect([none.code, none.stderr]).toEqual([1, expect.stringContaining('no GitLab runs in a container no-such')]);
  const made = await kang.cli('--yes', '--json', 'gitlab', 'protect', name, '--to', join(folder, 'backups'));
  expect([made.code, made.stderr]).toEqual([0, expect.stringContaining('is on btrfs: each backup is of one instant')]);
  const { id, recoveryKey } = JSON.parse(made.stdout);
  const env = { ...process.env, RESTIC_PASSWORD: recoveryKey, RESTIC_REPOSITORY: join(folder, 'backups') };
  const listed = execFileSync('restic', ['ls', id], { env, encoding: 'utf8' });
  expect(listed).toContain('/live/config/gitlab-secrets.json');
  expect(listed).toContain('/live/data/postgresql/data/PG_VERSION');
  expect(JSON.parse(was)[0].State.StartedAt).toBe(JSON.parse(docker('inspect', name))[0].State.StartedAt);
  // Beside the data lies what the backup was read from, and nothing else of it.
  expect(readdirSync(disk).sort()).toEqual(['.autogit-protect-kept', 'config', 'data']);
  expect((await kang.status()).gitlab).toMatchObject({
    mode: 'none',
    lastBackup: { id, copies: [join(folder, 'backups')] },
    protected: { node: 'kang', container: name, way: 'snapshot', version: expect.stringMatching(/^\d+\.\d+\.\d+/) },
  });

  // As `docker compose up` does it: another id, and here another name; a third one stands beside it.
  docker('rm', '-f', name);
  const gone = await kang.cli('gitlab', 'backup');
  expect([gone.code, gone.stderr]).toEqual([1, expect.stringContaining('no container has its data in')]);
  begin(`${name}-anew`, `${disk}/config:/etc/gitlab`, `${disk}/data:/var/opt/gitlab`);
  await until('it serves', isServed, 30_000);
  await gitlab.push('later', { 'readme.md': 'of the second day' });
  const second = await kang.cli('gitlab', 'backup');
  expect([second.code, second.stderr]).toEqual([0, expect.anything()]);
  // Of one day one stays.
  const rows = await history();
  const [newest, ...older] = rows.filter((row) => row.kind === 'backup');
  expect([newest?.isOwn, newest?.id === id, older]).toEqual([true, false, []]);
  // Snapshots of then, with the first day's repositories in one and the second day's in the newest.
  const kept = rows.filter((row) => row.kind === 'round');
  expect(kept.length).toBeGreaterThanOrEqual(2);
  const at = kept[0]!.because.replace(/^.*: /, '');
  expect(kept[0]).toMatchObject({ on: ['kang'], version: newest!.version });
  expect(existsSync(join(at, 'data/postgresql/data/PG_VERSION'))).toBe(true);
  expect(existsSync(join(at, 'config/gitlab-secrets.json'))).toBe(true);
  expect((await kang.status()).gitlab.protected?.kept).toMatchObject({ snapshots: kept.length, problem: null });
  const back = await kang.cli('--yes', 'gitlab', 'restore', kept[0]!.id);
  expect([back.code, back.stderr.replace(/\s+/g, ' ')]).toEqual([
    1,
    expect.stringContaining(`its files of then, on kang: ${at}`),
  ]);
});

it('where its machine is lost, its backup becomes a GitLab that the mesh runs', { timeout: 120_000 }, async () => {
  const [newest] = (await history()).filter((row) => row.kind === 'backup');
  const told = await kang.cli('--yes', 'gitlab', 'restore', newest!.id);
  expect([told.code, told.stderr]).toEqual([1, expect.stringMatching(/puts nothing back into it[\s\S]*gitlab deploy/)]);
  docker('rm', '-f', `${name}-anew`);
  const hosted = await freePort();
  const where = [
    '--image',
    fast,
    '--preset',
    'minimal',
    '--port',
    String(hosted),
    '--ssh-port',
    '0',
    '--data',
    `${disk}/hosted`,
  ];
  const deployed = await kang.cli('--yes', '--json', 'gitlab', 'deploy', ...where, '--hostname', '127.0.0.1');
  expect([deployed.code, deployed.stderr]).toEqual([0, expect.anything()]);
  // Its first backup of the day may be under way: then the command says to wait, and nothing was begun.
  const back = await until('no backup is under way', async () => {
    const told = await kang.cli('--yes', 'gitlab', 'restore', newest!.id);
    return /this machine is at a backup|lock was created/.test(told.stderr) ? null : told;
  });
  expect([back.code, back.stderr]).toEqual([0, expect.anything()]);
  await until('it serves', () => isServed(`http://127.0.0.1:${hosted}`), 30_000);
  Object.assign(gitlab, { url: `http://127.0.0.1:${hosted}` });
  expect(await names()).toEqual(['kept', 'later']);
  const gone = await kang.cli('--yes', 'gitlab', 'uninstall', '--delete-data', '--now', '--force');
  expect([gone.code, gone.stderr]).toEqual([0, expect.anything()]);
});

it('without btrfs it is its own backup and its secrets, in named volumes; nothing of them stays behind', {
  timeout: 120_000,
}, async () => {
  const other = await kang.cli('gitlab', 'protect', '--end');
  expect([other.code, other.stdout]).toEqual([0, expect.stringContaining('backups that are there stay')]);
  const container = `${name}-plain`;
  begin(container, `${name}-config:/etc/gitlab`, `${name}-data:/var/opt/gitlab`);
  await until('it serves', isServed, 30_000);
  const made = await kang.cli('--yes', '--json', 'gitlab', 'protect', container);
  expect([made.code, made.stderr]).toEqual([
    0,
    expect.stringMatching(/which has no snapshots[\s\S]*leaves out queued work/),
  ]);
  const { id } = JSON.parse(made.stdout);
  const { key } = {
    key: JSON.parse((await kang.cli('--json', 'gitlab', 'backup', '--show-recovery-key')).stdout).recoveryKey,
  };
  const env = { ...process.env, RESTIC_PASSWORD: key, RESTIC_REPOSITORY: join(folder, 'backups') };
  const listed = execFileSync('restic', ['ls', id], { env, encoding: 'utf8' });
  expect(listed).toContain('/config/gitlab-secrets.json');
  expect(listed).toMatch(/\/backup\/autogit_[0-9a-f]{12}_gitlab_backup\.tar$/m);
  expect(execFileSync('docker', ['exec', container, 'ls', '/var/opt/gitlab/backups'], { encoding: 'utf8' })).toBe('');
  expect((await kang.status()).gitlab.protected).toMatchObject({ way: 'own' });
  const told = await kang.cli('--yes', 'gitlab', 'restore', id);
  expect([told.code, told.stderr]).toEqual([1, expect.stringContaining('config back to /etc/gitlab')]);
  expect(existsSync(join(kang.home, 'gitlab-protect/own/autogit-backup.json'))).toBe(true);
});

it("is taken over: back as it was where that fails, else it is the mesh's with all that it had, and the old one is kept", {
  timeout: 120_000,
}, async () => {
  const container = `${name}-plain`;
  // A tag of its own, which can be taken away from under it.
  const image = adopted;
  docker('tag', fast, image);
  for (const one of [container, name]) spawnSync('docker', ['rm', '-f', one], { stdio: 'ignore' });
  const config = `GITLAB_OMNIBUS_CONFIG=external_url '${url}'`;
  const volumes = ['-v', `${name}-config:/etc/gitlab`, '-v', `${name}-data:/var/opt/gitlab`];
  docker(
    'run',
    '-d',
    '--name',
    container,
    '--restart',
    'unless-stopped',
    '-e',
    config,
    '-p',
    `127.0.0.1:${port}:80`,
    ...volumes,
    image,
  );
  await until('it serves', isServed, 30_000);
  const code = `t=User.find_by_username('root').personal_access_tokens.create(scopes:['api','admin_mode'],name:'t',expires_at:365.days.from_now); t.set_token('${token}'); t.save!`;
  execFileSync('docker', ['exec', '-i', container, 'gitlab-rails', 'runner', '-'], { input: code });
  await until('it serves again', isServed, 30_000);
  gitlab ??= new TestGitlab(folder, null);
  Object.assign(gitlab, { url, token });
  await gitlab.push('mine', { 'readme.md': 'from before the mesh' });
  const was = JSON.parse(docker('inspect', container))[0];
  const where = ['--preset', 'minimal', '--hostname', '127.0.0.1', '--data', `${disk}/adopted`];

  const begun = kang.cli('--yes', '--json', 'gitlab', 'adopt', ...where);
  await until(
    'it is stopped',
    () => docker('ps', '-a', '--format', '{{.Names}}').includes(`${container}-before-autogit`),
    60_000,
  );
  docker('rmi', image);
  const back = await begun;
  expect([back.code, back.stderr]).toEqual([
    1,
    expect.stringMatching(/was not taken over, and it is as it was: .*image/),
  ]);
  const is = JSON.parse(docker('inspect', container))[0];
  expect([is.Id, is.State.Running, is.HostConfig.RestartPolicy]).toEqual([was.Id, true, was.HostConfig.RestartPolicy]);
  await until('it serves as before', isServed, 30_000);
  expect(await names()).toEqual(['mine']);
  expect((await kang.status()).gitlab.mode).toBe('none');
  expect(existsSync(`${disk}/adopted`)).toBe(false);

  docker('tag', fast, image);
  const again = kang.cli('--yes', '--json', 'gitlab', 'adopt', ...where);
  await until(
    'it is stopped',
    () => docker('ps', '-a', '--format', '{{.Names}}').includes(`${container}-before-autogit`),
    60_000,
  );
  await kang.kill('SIGKILL');
  kang.join('--executor', 'process', ...asRoot, '--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns');
  const done = await again;
  expect([done.code, done.stderr]).toEqual([0, expect.anything()]);
  expect(JSON.parse(done.stdout)).toMatchObject({ state: 'served', url });
  await until('it serves', isServed, 30_000);
  expect(await names()).toEqual(['mine']);
  await gitlab.push('after', { 'readme.md': 'by the gate' });
  const kept = JSON.parse(docker('inspect', `${container}-before-autogit`))[0];
  expect([kept.Id, kept.State.Running, kept.HostConfig.RestartPolicy.Name]).toEqual([was.Id, false, 'no']);
  // What it was called before it was the mesh's stands there until the next look, which waits for its answer.
  const hosted = await until('it is looked at as the mesh`s', async () => {
    const { gitlab: now } = await kang.status();
    return now.state === 'deploying' ? null : now;
  });
  expect(hosted).toMatchObject({ mode: 'hosted', host: 'kang', state: 'healthy' });
  // The mesh's own backups take its place.
  expect(hosted.protected).toBeUndefined();
  docker('rmi', image);
});

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
