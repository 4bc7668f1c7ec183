import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createClient } from '../../node/local-api/socket-client.ts';
import setUpBundle from '../e2e/bundle.ts';
import { counting, formMesh, pipelineEnd, runningJobs, ticks, upTo } from '../e2e/mesh.ts';
import { Lan } from '../e2e/namespaces.ts';
import { asRoot, Rig, sleep, TestGitlab, type TestMachine, until } from '../e2e/rig.ts';
import { hand, standInImage, standInVersion } from '../gitlab-image/stand-in-image.ts';
import { detachBelow, unmountBelow } from '../lab/lab-engine.ts';
import { installLogindStandIn, LogindStandIn } from './logind.ts';
import { OwnEngine } from './own-engine.ts';

/**
 * SAFETY H7, H10, J8. The published program moves a GitLab between two machines in miniature, each with its own network, engine and
 * data place, under pushes: no acknowledged one is lost, never do two acknowledge, and what cannot come up comes back.
 */
const run = promisify(execFile);
const rig = new Rig();
const folder = mkdtempSync('/var/tmp/t-gitlab-move-');
const made = `autogit-test:gitlab-move-${process.pid}`;
const repository = `autogit-test/gitlab-ce-move-${process.pid}`;
const image = `${repository}:19.3.0-ce.0`;
const broken = `${repository}:broken`;
const slow = `autogit-test:gitlab-move-slow-${process.pid}`;
const token = 'glpat-t-move-0123456789';
const port = 8080;
const host1 = 'http://10.77.0.1:8080';
const host2 = 'http://10.77.0.2:8080';
let lan: Lan;
let engines: Record<'kang' | 'desktop-1', OwnEngine>;
let kang: TestMachine;
let desktop: TestMachine;
let other: TestMachine;
let gitlab: TestGitlab;
let logind: LogindStandIn;

const docker = (...args: string[]): string => execFileSync('docker', args, { encoding: 'utf8' }).trim();
/** Where nobody hosts, as any machine of the LAN does it. */
const inLan = (file: string, ...args: string[]) =>
  run('nsenter', [`--net=/var/run/netns/${lan.namespace(3)}`, file, ...args]).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
const isServedAt = async (url: string): Promise<boolean> => {
  const page = ['-s', '-o', '/dev/null', '-m', '1', '-w', '%{http_code}', `${url}/users/sign_in`];
  return (await inLan('curl', ...page)).stdout === '200';
};
const agentArgs = (name: 'kang' | 'desktop-1'): string[] => [
  ...['--executor', 'process', ...asRoot, '--docker-host', engines[name].host],
  ...(name === 'desktop-1' ? ['--hand-over', 'always'] : []),
];

/** Who pushes all the time, and which of it ended well. */
class Users {
  readonly acknowledged: string[] = [];
  /** What git printed of the others. */
  readonly refused: string[] = [];
  readonly tree = mkdtempSync(join(folder, 'user-'));
  #isOver = false;
  #work: Promise<unknown> = Promise.resolve();

  async begin(url: string): Promise<void> {
    await inLan('git', 'clone', '-q', this.#remote(url), this.tree);
    this.#work = this.#pushes();
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#work;
  }

  #remote = (url: string): string => `${url.replace('//', `//root:${token}@`)}/root/pushed.git`;

  async #pushes(): Promise<void> {
    for (let number = 1; !this.#isOver; number++) {
      const git = (...args: string[]) =>
        inLan('git', '-C', this.tree, '-c', 'user.name=t', '-c', 'user.email=t@t', ...args);
      await git('commit', '-q', '--allow-empty', '-m', `push ${number}`);
      const commit = (await git('rev-parse', 'HEAD')).stdout.trim();
      for (const url of [host1, host2]) {
        const { code, stderr } = await git('-c', 'http.lowSpeedTime=20', 'push', '-q', this.#remote(url), 'HEAD:main');
        if (code !== 0) this.refused.push(stderr);
        // What is on one machine only is told to be so, and is not called kept.
        if (code !== 0 || stderr.includes('one machine only')) continue;
        this.acknowledged.push(commit);
        break;
      }
      await sleep(200);
    }
  }

  /** All that was acknowledged is there. */
  async lacking(url: string): Promise<string[]> {
    const fresh = mkdtempSync(join(folder, 'look-'));
    await inLan('git', 'clone', '-q', '--bare', this.#remote(url), fresh);
    const all = (await inLan('git', '-C', fresh, 'rev-list', '--all')).stdout.split('\n');
    return this.acknowledged.filter((commit) => !all.includes(commit));
  }
}

interface Span {
  on: string;
  epoch: number;
  from: number;
  until: number;
}

/** When whose gate let people in, by the gates' own logs. A killed gate is shut by then: its agent had the lease. */
const spans = (): Span[] =>
  [kang, desktop]
    .flatMap(({ name, home }) => {
      const file = join(home, 'gate.log');
      const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
      const told = lines.flatMap((line) => {
        const [, at = '', what = ''] = /^(\S+) gate \d+: (.*)$/.exec(line) ?? [];
        return at === '' ? [] : [{ at: Date.parse(at), epoch: Number(/^open, epoch (\d+)/.exec(what)?.[1] ?? 0) }];
      });
      return told.flatMap(({ at, epoch }, index) =>
        epoch === 0 ? [] : [{ on: name, epoch, from: at, until: told[index + 1]?.at ?? Date.now() }],
      );
    })
    .sort((a, b) => a.from - b.from);
/** ms between the last that was let in at one machine and the first at the next; never less than 0. */
const gaps = (): number[] => {
  const all = spans();
  return all.slice(1).map(({ from }, index) => from - all[index]!.until);
};
const openedIn = (epoch: number): string[] => spans().flatMap((one) => (one.epoch === epoch ? [one.on] : []));

const now = async () => (await other.status()).gitlab;

/** As hooks ask, so that twelve rounds are not a minute. */
async function inSync(host: TestMachine, standby: string): Promise<void> {
  const ask = (): Promise<void> =>
    new Promise((done) => {
      const hook = connect(join(host.home, 'gitlab-hooks/ask.sock'), () => hook.write('round\n'));
      hook
        .on('error', () => done())
        .on('close', () => done())
        .resume();
    });
  await until(
    `${standby} is in sync`,
    async () => {
      await ask();
      return (await now()).standbys?.find(({ node }) => node === standby)?.inSync === true;
    },
    70_000,
  );
}

/** What the name of GitLab's image means to that machine's engine from now on. */
async function hasImage(name: 'kang', what: string): Promise<void> {
  engines[name].docker('rmi', '-f', image);
  await hand(what, engines[name].host);
  engines[name].docker('tag', what, image);
}

const moving = async (to: string) => {
  const { code, stdout, stderr } = await other.cli('--yes', '--json', 'gitlab', 'move', to);
  return { code, stderr, told: stdout.trim() === '' ? null : JSON.parse(stdout.trim().split('\n').at(-1) as string) };
};

beforeAll(async () => {
  setUpBundle();
  const whole = await standInImage();
  const quick = ['STAND_IN_BOOT_SECONDS=1', 'STAND_IN_RECONFIGURE_SECONDS=0'];
  const container = docker('create', ...quick.flatMap((one) => ['--env', one]), whole);
  docker('commit', ...quick.flatMap((one) => ['--change', `ENV ${one}`]), container, made);
  docker('rm', container);
  docker('tag', made, image);
  const boots = docker('create', '--env', 'STAND_IN_BOOT_SECONDS=60', made);
  docker('commit', '--change', 'ENV STAND_IN_BOOT_SECONDS=60', boots, slow);
  docker('rm', boots);
  standInVersion(image, broken, '19.3.0', true);
  // As an owner has it on kang; desktop-1 has an image of its own.
  execFileSync('truncate', ['-s', '40G', join(folder, 'kang-disk.img')]);
  execFileSync('mkfs.btrfs', ['-q', join(folder, 'kang-disk.img')]);
  execFileSync('mkdir', [join(folder, 'kang-disk')]);
  execFileSync('mount', ['-o', 'loop', join(folder, 'kang-disk.img'), join(folder, 'kang-disk')]);
  lan = new Lan(3, { prefix: `agm${process.pid}` });
  engines = {
    kang: new OwnEngine(folder, lan.namespace(1)),
    'desktop-1': new OwnEngine(folder, lan.namespace(2)),
  };
  await Promise.all(Object.values(engines).map((engine) => engine.begin()));
  await Promise.all(Object.values(engines).map((engine) => hand(image, engine.host)));
  const args = { kang: agentArgs('kang'), 'desktop-1': agentArgs('desktop-1') };
  installLogindStandIn();
  logind = await new LogindStandIn().start(60_000);
  const env = { 'desktop-1': logind.env };
  [kang, desktop, other] = (await formMesh(rig, ['kang', 'desktop-1', 'desktop-2'], { lan, args, env })) as [
    TestMachine,
    TestMachine,
    TestMachine,
  ];
  await other.cli('settings', 'graceMs', '3s');
}, 300_000);

afterAll(async () => {
  await other?.cli('--yes', 'gitlab', 'uninstall', '--delete-data', '--now', '--force');
  for (const machine of rig.machines) await machine.kill('SIGKILL');
  for (const engine of Object.values(engines ?? {})) await engine.end().catch(() => undefined);
  for (const dir of [folder, rig.dir]) {
    unmountBelow(dir);
    detachBelow(dir);
    spawnSync('sh', ['-c', `chattr -i -R "${dir}" 2>/dev/null; true`]);
  }
  await logind?.stop();
  await rig.clean();
  rmSync(folder, { recursive: true, force: true });
  lan?.down();
  spawnSync('docker', ['rmi', made, image, broken, slow], { stdio: 'ignore' });
}, 120_000);

it('is deployed on kang, with copies on desktop-1; what cannot move is refused in words, and nothing is begun', {
  timeout: 120_000,
}, async () => {
  const where = ['--image', image, '--preset', 'minimal', '--port', String(port), '--ssh-port', '0'];
  const data = ['--data', join(folder, 'kang-disk', 'gitlab'), '--on', 'kang', '--copies', 'desktop-1'];
  const asked = await other.cli('--no-input', 'gitlab', 'deploy', ...where, ...data);
  expect([asked.code, asked.stderr]).toEqual([
    2,
    expect.stringMatching(/ok +address +home\.local, the mesh's own name/),
  ]);
  const deployed = await other.cli('--yes', '--json', 'gitlab', 'deploy', ...where, ...data, '--hostname', '10.77.0.1');
  expect([deployed.code, deployed.stderr]).toEqual([0, expect.anything()]);
  expect(JSON.parse(deployed.stdout)).toMatchObject({ url: host1, host: 'kang' });
  const code = `t=User.find_by_username('root').personal_access_tokens.create(scopes:['api','admin_mode'],name:'t',expires_at:365.days.from_now); t.set_token('${token}'); t.save!`;
  const id = engines.kang.docker('ps', '-q', '--filter', `ancestor=${image}`).trim();
  engines.kang.docker('exec', id, 'gitlab-rails', 'runner', code);
  gitlab = new TestGitlab(folder, lan.namespace(3));
  Object.assign(gitlab, { url: host1, token });
  rig.gitlab = gitlab;
  await until('it serves', () => isServedAt(host1), 30_000);

  await inSync(kang, 'desktop-1');
  const refused = async (...words: string[]): Promise<string> => {
    const said = await other.cli('--yes', 'gitlab', 'move', ...words);
    expect(said.code).not.toBe(0);
    return said.stderr;
  };
  expect(await refused('desktop-9')).toContain('no machine is called desktop-9');
  expect(await refused('kang')).toContain('it runs on kang already');
  expect(await refused('desktop-2')).toContain('gitlab copies add desktop-2');
  const silent = await other.cli('--no-input', 'gitlab', 'move', 'desktop-1');
  expect([silent.code, silent.stderr]).toEqual([2, expect.stringContaining('--yes')]);
  expect((await now()).move).toBeUndefined();
  const drained = await other.cli('drain', 'kang');
  expect(drained.stdout).toContain('gitlab move desktop-1');
  await other.cli('undrain', 'kang');
});

it('a move half-way and a take-over that somebody takes back leave GitLab where it is, in its epoch', {
  timeout: 120_000,
}, async () => {
  // The one looks at itself in a moment; the other, which hosts, says what it finds once that one can say no more.
  kang.process!.kill('SIGSTOP');
  const asked = createClient(other.home).gitlabMove('desktop-1');
  await sleep(2500);
  desktop.process!.kill('SIGSTOP');
  kang.process!.kill('SIGCONT');
  expect(await asked).toMatchObject({ state: 'done' });
  await until('it waits for desktop-1', async () => (await now()).move?.wish?.to === 'desktop-1');
  const cancelled = await other.cli('--json', 'gitlab', 'move', '--cancel');
  expect([cancelled.code, cancelled.stderr]).toEqual([0, expect.anything()]);
  expect(JSON.parse(cancelled.stdout)).toMatchObject({ state: 'cancelled', host: 'kang', url: host1 });
  desktop.process!.kill('SIGCONT');
  await inSync(kang, 'desktop-1');

  await other.cli('settings', 'failover', 'off');
  expect((await other.cli('--yes', 'gitlab', 'take-over', 'desktop-1')).code).toBe(0);
  expect((await other.cli('gitlab', 'take-over', '--cancel')).stdout).toContain("kang stays GitLab's host");
  // As long as it would have taken, had nobody taken it back.
  kang.process!.kill('SIGSTOP');
  await sleep(8000);
  kang.process!.kill('SIGCONT');
  await other.cli('settings', 'failover', 'on');
  await until('it serves on', () => isServedAt(host1), 30_000);
  expect(await now()).toMatchObject({ host: 'kang', epoch: 1, url: host1 });
  await inSync(kang, 'desktop-1');
});

it('moves under pushes: none that was acknowledged is lost, the two never serve at once, a job elsewhere goes on', {
  timeout: 180_000,
}, async () => {
  await gitlab.push('pushed', { 'readme.md': 'first' });
  const project = await gitlab.push('count', {
    '.gitlab-ci.yml': `count: { tags: [node-desktop-2], script: ['${counting(150)}'] }`,
  });
  await until('the script has begun', async () => {
    const [job] = await runningJobs(rig, project);
    return job && ticks(await gitlab.trace(project, job.id)).length > 0;
  });
  const users = new Users();
  await users.begin(host1);
  await until('pushes are acknowledged', () => users.acknowledged.length > 2);
  const before = users.acknowledged.length;
  const end = await moving('desktop-1');
  expect([end.code, end.stderr]).toEqual([0, expect.stringMatching(/^ +wait +moving +/m)]);
  expect(end.told).toMatchObject({ state: 'moved', host: 'desktop-1', url: host2 });
  await until('it serves there', () => isServedAt(host2));
  await until('pushes are acknowledged there', () => users.acknowledged.length > before + 3, 30_000);
  await users.end();
  expect(spans().map(({ on, epoch }) => `${on} ${epoch}`)).toEqual(expect.arrayContaining(['kang 1', 'desktop-1 2']));
  expect(Math.min(...gaps())).toBeGreaterThan(0);
  expect(await users.lacking(host2)).toEqual([]);
  // At whichever of the two, while the one has shut its gate and the other has not opened it.
  expect(users.refused).toContainEqual(expect.stringMatching(/^remote: .*GitLab moves to desktop-1/m));
  expect(await now()).toMatchObject({
    epoch: 2,
    host: 'desktop-1',
    url: host2,
    move: { wish: null, ended: { isDone: true } },
  });
  expect((await other.cli('gitlab')).stdout).toMatch(/^moved\tfrom kang to desktop-1, /m);

  gitlab.url = host2;
  const { jobs } = await pipelineEnd(rig, project, 90_000);
  expect(jobs.map(({ name, status }) => [name, status])).toEqual([['count', 'success']]);
  expect(ticks(await gitlab.trace(project, jobs[0]!.id))).toEqual(upTo(150));
  const later = await gitlab.push('later', {
    '.gitlab-ci.yml': `one: { tags: [node-desktop-2], script: ['true'] }\ntwo: { tags: [node-kang], script: ['true'] }`,
  });
  const done = await pipelineEnd(rig, later, 60_000);
  expect(done.jobs.map(({ name, status }) => [name, status]).sort()).toEqual([
    ['one', 'success'],
    ['two', 'success'],
  ]);
});

it('back to kang, whose agent is killed in the midst: it goes on at desktop-1 by itself, with all that was acknowledged', {
  timeout: 180_000,
}, async () => {
  // It boots for a minute there: on a busy machine it could stand before its agent is killed, and does not go back then.
  await hasImage('kang', slow);
  await inSync(desktop, 'kang');
  const users = new Users();
  await users.begin(host2);
  await until('pushes are acknowledged', () => users.acknowledged.length > 2);
  const move = moving('kang');
  await until('the mesh has it on kang', async () => (await now()).epoch === 3, 60_000);
  await kang.kill('SIGKILL');
  const end = await move;
  expect([end.code, end.told]).toEqual([1, expect.objectContaining({ state: 'failed', host: 'desktop-1' })]);
  await until('it serves again', () => isServedAt(host2), 60_000);
  const before = users.acknowledged.length;
  await until('pushes go on', async () => users.acknowledged.length > before || (await isServedAt(host2)), 30_000);
  await users.end();
  expect([openedIn(3), openedIn(4)]).toEqual([[], ['desktop-1']]);
  expect(Math.min(...gaps())).toBeGreaterThan(0);
  expect(await users.lacking(host2)).toEqual([]);
  expect(await now()).toMatchObject({ epoch: 4, host: 'desktop-1', url: host2, move: { ended: { isDone: false } } });
  kang.join(...agentArgs('kang'));
  await hasImage('kang', made);
});

it('a GitLab that does not come up there comes back, and moves once it can: before its host sleeps, as its owner wants', {
  timeout: 240_000,
}, async () => {
  const users = new Users();
  await users.begin(host2);
  await inSync(desktop, 'kang');
  // Of the same name, and another: what a registry or a hand does to a tag.
  engines.kang.docker('rmi', '-f', image);
  await hand(broken, engines.kang.host);
  engines.kang.docker('tag', broken, image);
  // Meanwhile it may have lagged.
  await inSync(desktop, 'kang');
  const vain = await moving('kang');
  expect([vain.code, vain.told]).toEqual([
    1,
    expect.objectContaining({ state: 'failed', host: 'desktop-1', url: host2 }),
  ]);
  expect(vain.told.because).toContain('GitLab did not come up on kang');
  await until('it serves again', () => isServedAt(host2), 60_000);
  expect((await now()).epoch).toBe(6);

  engines.kang.docker('rmi', '-f', image);
  engines.kang.docker('rmi', '-f', broken);
  await hand(image, engines.kang.host);
  await inSync(desktop, 'kang');
  expect(await logind.inhibitors()).toHaveLength(1);
  await logind.say('PrepareForSleep', true);
  // All of it is on kang before logind may go on; the agent here stays as it is, as does a machine that sleeps.
  await until('the lock is given back', async () => (await logind.inhibitors()).length === 0, 50_000);
  expect((await now()).host).toBe('kang');
  await until('it serves', () => isServedAt(host1), 30_000);
  await logind.say('PrepareForSleep', false);
  await until('desktop-1 is back', async () => (await logind.inhibitors()).length === 1);
  await users.end();
  expect([openedIn(5), openedIn(7)]).toEqual([[], ['kang']]);
  expect(Math.min(...gaps())).toBeGreaterThan(0);
  expect(await users.lacking(host1)).toEqual([]);
  expect(await now()).toMatchObject({ epoch: 7, host: 'kang', url: host1 });
});
