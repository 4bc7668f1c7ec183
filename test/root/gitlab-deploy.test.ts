import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { isCgroupFrozen } from '../../node/executors/run-cgroup.ts';
import { DockerServiceHost } from '../../node/hosting/docker-service-host.ts';
import { gateNow } from '../../node/hosting/gate/gate-files.ts';
import { bridgeOf, serviceLabels } from '../../node/hosting/service-container.ts';
import { install } from '../bench/debian.ts';
import setUpBundle from '../e2e/bundle.ts';
import { counting, formMesh, pipelineEnd, runningJobs, ticks, upTo } from '../e2e/mesh.ts';
import { asRoot, Rig, sleep, TestGitlab, type TestMachine, until } from '../e2e/rig.ts';
import { standInImage, standInVersion } from '../gitlab-image/stand-in-image.ts';
import { detachBelow, unmountBelow } from '../lab/lab-engine.ts';

/** SAFETY H1, H2, H3: the published program runs a GitLab: two agents, a real engine, loop image, gate and watchdog; the stand-in in GitLab's place. */
const rig = new Rig();
const folder = mkdtempSync('/var/tmp/t-gitlab-deploy-');
const place = join(folder, 'place');
const fast = `autogit-test:gitlab-deploy-${process.pid}`;
const repository = `autogit-test/gitlab-ce-${process.pid}`;
const [newer, broken] = [`${repository}:19.4.1-ce.0`, `${repository}:19.5.0-ce.0`];
const host = new DockerServiceHost(null, systemClock());
const join1 = ['--executor', 'process', ...asRoot, '--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns'];
let port = 0;
let kang: TestMachine;
let desktop: TestMachine;
let gitlab: TestGitlab;

const docker = (...args: string[]): string => execFileSync('docker', args, { encoding: 'utf8' }).trim();
const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port: found } = server.address() as { port: number };
      server.close(() => resolve(found));
    });
  });
const url = (): string => `http://127.0.0.1:${port}`;
const isServed = (): Promise<boolean> =>
  fetch(`${url()}/users/sign_in`, { signal: AbortSignal.timeout(1000), redirect: 'manual' }).then(
    ({ status }) => status === 200,
    () => false,
  );
const containers = (): string[] =>
  docker('ps', '-aq', '--no-trunc', '--filter', `label=${serviceLabels.host}`)
    .split('\n')
    .filter((id) => id !== '' && imageIds.has(docker('inspect', '-f', '{{.Image}}', id)));
const container = (): string => containers()[0] as string;
const dataId = (): string => docker('inspect', '-f', `{{index .Config.Labels "${serviceLabels.data}"}}`, container());
const imageIds = new Set<string>();
/** Who asked for that page last through the gate, as GitLab's nginx wrote it down; its own questions come by curl. */
const clientOf = (path: string): string | undefined =>
  docker('exec', container(), 'cat', '/var/log/gitlab/nginx/gitlab_access.log')
    .split('\n')
    .findLast((line) => line.includes(` ${path} `) && !line.includes('curl/'))
    ?.split(' ')[0];
let image = fast;
const deploying = (machine: TestMachine, ...more: string[]) => {
  const where = ['--image', image, '--preset', 'minimal', '--port', String(port), '--ssh-port', '0', '--data', place];
  return machine.cli('--yes', '--json', 'gitlab', 'deploy', ...where, '--hostname', '127.0.0.1', ...more);
};

beforeAll(async () => {
  setUpBundle();
  install({ restic: 'restic' });
  const whole = await standInImage();
  // One container of it, never started, carries the settings of a boot that is quick.
  const made = docker('create', '--env', 'STAND_IN_BOOT_SECONDS=1', '--env', 'STAND_IN_RECONFIGURE_SECONDS=0', whole);
  docker(
    'commit',
    '--change',
    'ENV STAND_IN_BOOT_SECONDS=1',
    '--change',
    'ENV STAND_IN_RECONFIGURE_SECONDS=0',
    made,
    fast,
  );
  docker('rm', made);
  standInVersion(fast, newer, '19.4.1');
  standInVersion(fast, broken, '19.5.0', true);
  for (const one of [fast, newer, broken]) imageIds.add(docker('inspect', '-f', '{{.Id}}', one));
  port = await freePort();
  [kang, desktop] = (await formMesh(rig, ['kang', 'desktop-1'])) as [TestMachine, TestMachine];
}, 300_000);

afterAll(async () => {
  await kang?.cli('--yes', 'gitlab', 'uninstall', '--delete-data', '--now', '--force');
  // The copies of the other machine may be about to be deleted.
  for (const machine of rig.machines) await machine.kill('SIGKILL');
  unmountBelow(rig.dir);
  detachBelow(rig.dir);
  await rig.clean();
  for (const id of containers()) spawnSync('docker', ['rm', '-fv', id], { stdio: 'ignore' });
  spawnSync('docker', ['rmi', fast, newer, broken], { stdio: 'ignore' });
  rmSync(folder, { recursive: true, force: true });
}, 120_000);

it('what does not fit is named with what helps, and nothing is begun', { timeout: 60_000 }, async () => {
  const taken = createServer().listen(port, '127.0.0.1');
  const onPort = await deploying(kang);
  taken.close();
  expect([onPort.code, onPort.stderr]).toEqual([1, expect.stringMatching(new RegExp(`port ${port} is taken by `))]);
  const foreign = join(folder, 'foreign');
  mkdirSync(foreign);
  writeFileSync(join(foreign, 'mine.txt'), 'mine');
  const wrong = await deploying(desktop, '--on', 'kang', '--data', foreign, '--image', 'localhost:1/no-such:1');
  expect([wrong.code, JSON.parse(wrong.stdout).state]).toEqual([1, 'refused']);
  expect(wrong.stderr).toContain("foreign holds files that are not the mesh's");
  expect(wrong.stderr).toMatch(/localhost:1\/no-such:1 (cannot be had|is not here)/);
  expect((await deploying(kang, '--on', 'nobody')).stderr).toContain('no machine is called nobody');
  expect(readdirSync(foreign)).toEqual(['mine.txt']);
  expect([existsSync(place), containers(), (await kang.status()).gitlab.mode]).toEqual([false, [], 'none']);
});

it('is deployed once, whoever asks and however often, and serves', { timeout: 120_000 }, async () => {
  const ends = await Promise.all([deploying(kang), deploying(desktop, '--on', 'kang')]);
  expect(ends.map(({ code, stderr }) => [code, code === 0 ? '' : stderr])).toEqual([
    [0, ''],
    [0, ''],
  ]);
  const another = await deploying(desktop, '--on', 'kang', '--hostname', 'git.lan');
  expect([another.code, another.stderr]).toEqual([1, expect.stringContaining('hosts a GitLab already, on kang')]);
  const told = ends.map(({ stdout }) => JSON.parse(stdout));
  for (const one of told) expect(one).toMatchObject({ state: 'healthy', url: url(), host: 'kang' });
  expect(told.map(({ rootPassword }) => rootPassword).find((one) => one !== null)).toMatch(/^\S{16,}$/);
  expect((await kang.status()).gitlab.epoch).toBe(1);
  expect((await kang.cli('gitlab', 'password')).stderr).toContain('was shown before');
  expect(await isServed()).toBe(true);
  expect(docker('inspect', '-f', '{{json .HostConfig.PortBindings}}', container())).toMatch(/^(null|\{\})$/);
  expect(clientOf('/users/sign_in')).toBe('127.0.0.1');
  expect(spawnSync('docker', ['exec', container(), 'curl', '-s', 'http://127.0.0.1/']).status).not.toBe(0);
  const seen = (await desktop.cli('gitlab')).stdout;
  expect(seen).toMatch(/^state\thealthy: /m);
  expect(seen).toContain(`data\t${place}`);
  expect((await desktop.cli('forget', 'kang', '--yes')).stderr).toContain("hosts the mesh's GitLab");
});

it('copies of it go to a machine that a person names, which is looked at first', { timeout: 60_000 }, async () => {
  const made = await kang.cli('--yes', 'gitlab', 'copies', 'add', 'desktop-1');
  expect([made.code, made.stderr]).toEqual([0, expect.stringContaining('copies')]);
  await until('a round is over there', async () => (await kang.status()).gitlab.standbys?.[0]?.round != null, 30_000);
  const of = join(desktop.home, 'gitlab-copies');
  const config = `cat ${of}/*/mounted/copies/hot/rounds/*/hot/config/gitlab-secrets.json`;
  expect(execFileSync('sh', ['-c', config], { encoding: 'utf8' })).toContain('db_key_base');
});

it('its pipeline runs over a killed agent: served until the lease is out, frozen, thawed, no job lost', {
  timeout: 120_000,
}, async () => {
  const token = 'glpat-t-deploy-0123456789';
  const code = `t=User.find_by_username('root').personal_access_tokens.create(scopes:['api','admin_mode'],name:'t',expires_at:365.days.from_now); t.set_token('${token}'); t.save!`;
  execFileSync('docker', ['exec', '-i', container(), 'gitlab-rails', 'runner', '-'], { input: code });
  gitlab = new TestGitlab(folder, null);
  Object.assign(gitlab, { url: url(), token });
  rig.gitlab = gitlab;
  await until('it serves again', isServed, 20_000);
  const project = await gitlab.push('count', {
    '.gitlab-ci.yml': `count: { tags: [node-desktop-1], script: ['${counting(60)}'] }`,
  });
  await until('the script has begun', async () => {
    const [job] = await runningJobs(rig, project);
    return job && ticks(await gitlab.trace(project, job.id)).length > 0;
  });
  const { cgroup } = (await host.look(container())) ?? { cgroup: null };
  const began = docker('inspect', '-f', '{{.State.StartedAt}}', container());

  const killedAt = performance.now();
  await kang.kill('SIGKILL');
  let lastMs = 0;
  while (performance.now() - killedAt < 6000) {
    if (await isServed()) lastMs = performance.now() - killedAt;
    await sleep(50);
  }
  // The lease of 4 s counts from a question that was asked up to half a second before, and a loaded machine asks late.
  expect(lastMs).toBeGreaterThan(2000);
  expect(lastMs).toBeLessThan(4500);
  expect(isCgroupFrozen(cgroup as string)).toBe(true);
  expect(await fetch(url()).then((page) => page.text())).toContain('GitLab');

  kang.join(...join1);
  await until('it is thawed and served', isServed, 30_000);
  expect(isCgroupFrozen(cgroup as string)).toBe(false);
  expect(docker('inspect', '-f', '{{.State.StartedAt}}', container())).toBe(began);
  const { jobs } = await pipelineEnd(rig, project, 60_000);
  expect(jobs.map(({ name, status }) => [name, status])).toEqual([['count', 'success']]);
  expect(ticks(await gitlab.trace(project, jobs[0]!.id))).toEqual(upTo(60));
});

it('killed by hand it is repaired; reconcile looks at once; an nginx that wants no PROXY line gets none', {
  timeout: 90_000,
}, async () => {
  // As in a container that an agent of before made: it takes the line for a request and answers 400.
  const file = join(place, 'mounted/live/config/gitlab.rb');
  const before = readFileSync(file, 'utf8');
  writeFileSync(file, `${before}\nnginx['proxy_protocol'] = false\n`);
  docker('kill', container());
  expect(JSON.parse((await desktop.cli('reconcile', '--json')).stdout).said).toContain('it is looked at now');
  await until('it is repaired', async () => (await isServed()) && (await kang.status()).gitlab.state === 'healthy');
  expect(await gitlab.api<{ name: string }[]>('/projects')).toMatchObject([{ name: 'count' }]);
  expect(clientOf('/api/v4/projects')).not.toBe('127.0.0.1');
  writeFileSync(file, before);
});

it('after twelve rounds in time that machine is in sync, by the ledger, and a drill there proves its copy', {
  timeout: 90_000,
}, async () => {
  const drilled = kang.cli('gitlab', 'drill', '--on', 'desktop-1');
  const list = async () => JSON.parse((await desktop.cli('--json', 'gitlab', 'copies')).stdout);
  // As hooks ask, so that twelve rounds are not a minute.
  const ask = (): Promise<void> =>
    new Promise((done) => {
      const hook = connect(join(kang.home, 'gitlab-hooks/ask.sock'), () => hook.write('round\n'));
      for (const end of ['error', 'close']) hook.on(end, () => done());
      hook.resume();
    });
  await until(
    'it is in sync',
    async () => {
      await ask();
      return (await list()).standbys[0]?.inSync === true;
    },
    70_000,
  );
  expect(await list()).toMatchObject({ agreed: ['desktop-1'], loss: { seconds: expect.any(Number) } });
  const { code, stdout, stderr } = await drilled;
  expect([code, stderr]).toEqual([0, expect.stringMatching(/^ok +database /m)]);
  expect(stdout).toMatch(/^proven: GitLab works, and all that was looked at is whole \(1\.\d+ on desktop-1, /);
  expect((await kang.status()).gitlab.drills).toMatchObject([{ node: 'desktop-1', proven: {}, doing: null }]);
  const left = docker('ps', '-aq', '--filter', `label=autogit.gitlab-clone=${dataId()}`);
  expect([left, existsSync(join(desktop.home, 'gitlab-copies'))]).toEqual(['', true]);
});

it('a push has ended when a copy of it is on the disk of the standby; without one the pusher is told', {
  timeout: 90_000,
}, async () => {
  const clone = join(folder, 'pusher');
  const remote = url().replace('//', '//root:glpat-t-deploy-0123456789@');
  const git = (...args: string[]) =>
    spawnSync('git', ['-C', clone, '-c', 'user.name=t', '-c', 'user.email=t@t', ...args], { encoding: 'utf8' });
  execFileSync('git', ['clone', '-q', `${remote}/root/count.git`, clone]);
  const held = (): string[] => {
    const rounds = execFileSync('find', [desktop.home, '-path', '*/rounds/*', '-name', '*.git', '-type', 'd'], {
      encoding: 'utf8',
    });
    return rounds
      .trim()
      .split('\n')
      .map((path) =>
        spawnSync('git', ['-c', 'safe.directory=*', '-C', path, 'rev-parse', 'HEAD'], {
          encoding: 'utf8',
        }).stdout.trim(),
      );
  };
  git('commit', '-q', '--allow-empty', '-m', 'kept');
  const pushed = git('push', '-q', 'origin', 'HEAD');
  expect([pushed.status, pushed.stderr]).toEqual([0, expect.not.stringContaining('one machine only')]);
  expect(held()).toContain(git('rev-parse', 'HEAD').stdout.trim());

  await desktop.kill('SIGKILL');
  git('commit', '-q', '--allow-empty', '-m', 'alone');
  const alone = git('push', '-q', 'origin', 'HEAD');
  expect([alone.status, alone.stderr]).toEqual([0, expect.stringMatching(/remote: this push is on one machine only/)]);
  desktop.join(...join1);
  await until('desktop-1 is in the mesh', async () =>
    (await kang.status()).nodes.every(({ state }) => !/suspect|gone/.test(state)),
  );
});

it('is backed up with a key, put back as it was then, and back again: each a new epoch, what was before kept', {
  timeout: 240_000,
}, async () => {
  const names = async (): Promise<string[]> =>
    (await gitlab.api<{ name: string }[]>('/projects')).map(({ name }) => name).sort();
  const target = 'node:desktop-1';
  const none = await desktop.cli('gitlab', 'backup');
  expect([none.code, none.stderr]).toEqual([1, expect.stringContaining('no place for backups is named')]);
  const made = await desktop.cli('--json', 'gitlab', 'backup', '--to', target);
  expect([made.code, made.stderr]).toEqual([0, expect.anything()]);
  const { id, recoveryKey } = JSON.parse(made.stdout);
  expect(recoveryKey).toMatch(/^([a-z2-9]{4}-){7}[a-z2-9]{4}$/);
  // Kept by another machine: its owner can read it with the key alone, and who hosts GitLab can delete nothing there.
  const kept = join(desktop.home, 'gitlab-vault');
  const repository = join(kept, readdirSync(kept)[0] as string, 'repository');
  const restic = { ...process.env, RESTIC_PASSWORD: recoveryKey, RESTIC_REPOSITORY: repository };
  expect(execFileSync('restic', ['ls', id], { env: restic, encoding: 'utf8' })).toContain(
    '/live/config/gitlab-secrets.json',
  );
  const history: { kind: string; on?: string[] }[] = JSON.parse((await kang.cli('--json', 'gitlab', 'history')).stdout);
  expect(history.filter(({ kind }) => kind === 'backup')).toMatchObject([{ id, epoch: 1, isOwn: true }]);
  const rounds = history.filter(({ kind }) => kind === 'round');
  expect(rounds).toContainEqual(expect.objectContaining({ on: ['kang', 'desktop-1'], version: expect.any(String) }));
  expect((await desktop.status()).gitlab.lastBackup).toMatchObject({ id, copies: [target] });

  await gitlab.push('later', { 'readme.md': 'made after the backup' });
  expect(await names()).toEqual(['count', 'later']);
  const back = await desktop.cli('--yes', 'gitlab', 'restore', id);
  expect([back.code, back.stdout]).toEqual([0, expect.stringContaining('what was before is kept as replaced-1')]);
  await until('it serves', isServed, 20_000);
  expect([await names(), (await kang.status()).gitlab.epoch]).toEqual([['count'], 2]);
  // Its Puma starts anew for the mesh's token: what GitLab could not be asked meanwhile stands in the notes.
  let diff = { with: '', notes: [''], rows: [] as unknown[] };
  await until('GitLab tells its projects', async () => {
    diff = JSON.parse((await desktop.cli('--json', 'gitlab', 'diff')).stdout);
    return diff.notes.length === 0;
  });
  expect(diff.with).toBe('replaced-1');
  expect(diff.rows).toContainEqual(expect.objectContaining({ repository: 'project 2, which is gone', what: 'gone' }));
  const beside = await desktop.cli('gitlab', 'restore', 'replaced-1', '--project', '2');
  expect([beside.code, beside.stdout]).toEqual([
    ...[
      0,
      expect.stringMatching(
        /project 2 as it was at .* is root\/project-2-restored-\d{8}-\d{4} now: 1 branch and 0 tags/,
      ),
    ],
  ]);
  const again = await kang.cli('--yes', 'gitlab', 'restore', 'replaced-1');
  expect([again.code, again.stderr]).toEqual([0, expect.anything()]);
  await until('it serves', isServed, 20_000);
  expect([await names(), (await kang.status()).gitlab.epoch]).toEqual([['count', 'later'], 3]);
});

it('is upgraded after a rehearsal; one that does not boot comes back by itself, and what was pushed is there (SAFETY H7)', {
  timeout: 240_000,
}, async () => {
  const names = async (): Promise<string[]> =>
    (await gitlab.api<{ name: string }[]>('/projects')).map(({ name }) => name).sort();
  const upgrading = (to: string, ...more: string[]) =>
    desktop.cli('--yes', '--json', 'gitlab', 'upgrade', '--image', to, ...more);
  const older = await upgrading(`${repository}:19.2.0-ce.0`);
  expect([older.code, older.stderr]).toEqual([1, expect.stringContaining('is older than 19.3.0')]);
  const tried = await upgrading(broken, '--rehearse');
  expect([tried.code, tried.stderr]).toEqual([1, expect.stringContaining('it cannot be begun')]);
  expect((await kang.status()).gitlab.epoch).toBe(3);

  const back = await upgrading(broken, '--no-rehearsal');
  expect([back.code, back.stderr]).toEqual([1, expect.stringContaining('and has what it had before')]);
  await until('it serves', isServed, 20_000);
  expect([await names(), (await kang.status()).gitlab.epoch]).toEqual([['count', 'later'], 5]);

  // Both watch the same one.
  const [done] = await Promise.all([upgrading(newer), sleep(1500).then(() => upgrading(newer))]);
  expect([done.code, done.stderr, JSON.parse(done.stdout).state]).toEqual([
    0,
    expect.stringContaining('on a clone'),
    'upgraded',
  ]);
  await until('it serves', isServed, 20_000);
  const now = (await kang.status()).gitlab;
  expect([await names(), now.epoch, now.version, now.hosted?.image]).toEqual([
    ['count', 'later'],
    6,
    '19.4.1-practice',
    newer,
  ]);
  const kept = JSON.parse((await kang.cli('--json', 'gitlab', 'history')).stdout) as { id: string }[];
  expect(kept).toContainEqual(
    expect.objectContaining({ id: 'replaced-5', version: expect.stringContaining('19.3.0') }),
  );
  expect((await upgrading(newer)).stdout).toContain('runs already');
  // Its copy goes on from the rounds of before: no whole copy of all that GitLab is.
  const markers = (): { name: string; parent: string | null }[] =>
    execFileSync('sh', ['-c', `cat ${desktop.home}/gitlab-copies/*/mounted/copies/hot/markers/*.json`], {
      encoding: 'utf8',
    })
      .trim()
      .split(/(?<=\})\s*(?=\{)/)
      .map((text) => JSON.parse(text));
  const ofNow = () => markers().filter(({ name }) => /^\d+-6-/.test(name));
  await until('a round of it is on the standby', async () => ofNow().length > 0, 20_000);
  expect(ofNow()[0]?.parent).toMatch(/^\d+-[1-5]-\d+$/);
  image = newer;
});

it('uninstalled it leaves its data, is deployed on them again, and deletes them when told twice', {
  timeout: 180_000,
}, async () => {
  const data = dataId();
  const left = await desktop.cli('--yes', 'gitlab', 'uninstall');
  expect([left.code, left.stdout]).toEqual([0, expect.stringContaining(`its data stays there: ${place}`)]);
  expect([containers(), existsSync(place), gateNow(kang.home).pid]).toEqual([[], true, null]);
  expect(spawnSync('nft', ['list', 'tables'], { encoding: 'utf8' }).stdout).not.toContain(bridgeOf(data));
  expect(readMounts()).not.toContain(place);
  image = broken;
  expect((await deploying(kang)).stderr).toContain(`is of GitLab 19.4.1, and ${broken} is another one`);
  image = newer;
  const again = await deploying(kang);
  expect([again.code, again.stderr]).toEqual([0, expect.stringContaining('they are taken up again')]);
  expect(await gitlab.api<{ name: string }[]>('/projects')).toHaveLength(2);
  expect((await kang.status()).gitlab.epoch).toBe(7);
  const gone = await kang.cli('--yes', 'gitlab', 'uninstall', '--delete-data');
  expect([gone.code, gone.stdout]).toEqual([0, expect.stringContaining('with its data')]);
  expect([containers(), existsSync(place), readMounts().includes(place)]).toEqual([[], false, false]);
  await until('its copies are gone too', async () => !existsSync(join(desktop.home, 'gitlab-copies', data)));
});

const readMounts = (): string => execFileSync('cat', ['/proc/self/mounts'], { encoding: 'utf8' });
