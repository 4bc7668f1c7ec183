import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import type { Comparison } from '../../protocol/differences.ts';
import setUpBundle from '../e2e/bundle.ts';
import { formMesh } from '../e2e/mesh.ts';
import { Lan } from '../e2e/namespaces.ts';
import { asRoot, Rig, sleep, type TestMachine, until } from '../e2e/rig.ts';
import { hand, standInImage } from '../gitlab-image/stand-in-image.ts';
import { addressesIn, ProbeWriters, whatTwoDid } from '../lab/hosting/probe-writers.ts';
import { detachBelow, unmountBelow } from '../lab/lab-engine.ts';
import { OwnEngine } from './own-engine.ts';

/**
 * SAFETY H7, H10. The published program, two machines in miniature and a third that only votes: the cable of GitLab's machine is pulled
 * under pushes, and it goes on at the other one by itself, with all that was acknowledged. The former host is back, and holds copies.
 */
const run = promisify(execFile);
const rig = new Rig();
const folder = mkdtempSync('/var/tmp/t-gitlab-takeover-');
const image = `autogit-test/gitlab-ce-takeover-${process.pid}:19.3.0-ce.0`;
const token = 'glpat-t-takeover-0123456789';
/** Nobody named one, and it is the same after a move. */
const byName = 'http://home.local:8080';
const urls = ['http://10.77.0.1:8080', 'http://10.77.0.2:8080'] as const;
/** As long as the stand-in's own boot and 5 s: it is up when the grace ends. */
const graceMs = 30_000;
let lan: Lan;
let engines: OwnEngine[];
let [kang, desktop, other]: TestMachine[] = [];

const docker = (...args: string[]): string => execFileSync('docker', args, { encoding: 'utf8' }).trim();
const inside = (machine: number, file: string, ...args: string[]) =>
  run('nsenter', [`--net=/var/run/netns/${lan.namespace(machine)}`, file, ...args], { timeout: 60_000 }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout = '', stderr = '' }) => ({ code: Number(code ?? 1), stdout, stderr }),
  );
const inLan = (file: string, ...args: string[]) => inside(3, file, ...args);
const page = ['-s', '-o', '/dev/null', '-m', '1', '-w', '%{http_code}'];
const answers = async (url: string, from = 3): Promise<boolean> =>
  (await inside(from, 'curl', ...page, `${url}/users/sign_in`)).stdout === '200';
const remote = (url: string): string => `${url.replace('//', `//root:${token}@`)}/root/pushed.git`;
const now = async () => (await other!.status()).gitlab;

/** What was booted beside the grace, on desktop-1. */
const booted = (): string[] =>
  engines[1]!
    .docker('ps', '-q', '--no-trunc', '--filter', 'label=autogit.purpose=boot beside')
    .split('\n')
    .filter((id) => id !== '');

/** Pushes to whichever of the two answers. */
class Users {
  readonly acknowledged: string[] = [];
  /** What was told to be on one machine only. */
  alone = 0;
  readonly #tree = mkdtempSync(join(folder, 'user-'));
  #isOver = false;
  #work: Promise<unknown> = Promise.resolve();

  async begin(): Promise<void> {
    await inLan('git', 'init', '-q', '-b', 'main', this.#tree);
    this.#work = this.#pushes();
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#work;
  }

  async #pushes(): Promise<void> {
    const git = (...args: string[]) =>
      inLan('git', '-C', this.#tree, '-c', 'user.name=t', '-c', 'user.email=t@t', ...args);
    for (let number = 1; !this.#isOver; number++) {
      await git('commit', '-q', '--allow-empty', '-m', `push ${number}`);
      const commit = (await git('rev-parse', 'HEAD')).stdout.trim();
      for (const url of urls) {
        const limits = ['-c', 'http.lowSpeedLimit=1', '-c', 'http.lowSpeedTime=5'];
        const { code, stderr } = await git(...limits, 'push', '-q', remote(url), 'HEAD:main');
        if (code !== 0) continue;
        if (stderr.includes('one machine only')) this.alone += 1;
        else this.acknowledged.push(commit);
        break;
      }
      await sleep(200);
    }
  }

  async lacking(url: string): Promise<string[]> {
    const fresh = mkdtempSync(join(folder, 'look-'));
    await inLan('git', 'clone', '-q', '--bare', remote(url), fresh);
    const all = (await inLan('git', '-C', fresh, 'rev-list', '--all')).stdout.split('\n');
    return this.acknowledged.filter((commit) => !all.includes(commit));
  }
}

/** While the cable is out nothing is handed on from one to the other: when did each let somebody in? */
class Watch {
  readonly served: [number[], number[]] = [[], []];
  #isOver = false;
  readonly #work = Promise.all([this.#looks(0, 1), this.#looks(1, 3)]);

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#work;
  }

  async #looks(index: 0 | 1, from: number): Promise<void> {
    while (!this.#isOver) {
      const at = performance.now();
      if (await answers(urls[index], from)) this.served[index].push(at);
      await sleep(50);
    }
  }
}

/** Writes at every machine to every door, and to each container's own address, while something happens (SAFETY H1, H7). */
class Probe {
  readonly #writers = new ProbeWriters({
    machines: [1, 2, 3].map((at) => ({
      ...{ name: `machine ${at}`, net: `--net=/var/run/netns/${lan.namespace(at)}`, engine: engines[at - 1] },
    })),
    ...{ doors: this.#doors, token, project: 'root/pushed', isNamed: true },
    addressesOn: async ({ engine }) => (engine ? addressesIn(engine.host, image) : []),
  });
  readonly #looks = setInterval(() => this.#writers.look(), 2000);

  get #doors(): string[] {
    return [...urls, 'http://10.77.0.3:8080'];
  }

  /** Since the last time. `by`: by how many it was acknowledged. */
  expectOne(epochs: number): { by: number } {
    const seen = this.#writers.taken();
    expect(whatTwoDid(seen, this.#doors, epochs)).toBeNull();
    return { by: new Set(seen.map(({ by }) => by)).size };
  }

  end(): void {
    clearInterval(this.#looks);
    this.#writers.end();
  }
}

/** As hooks ask, so that twelve rounds are not a minute. */
async function inSync(host: TestMachine, standby: string): Promise<void> {
  const ask = (): Promise<void> =>
    new Promise((done) => {
      const hook = connect(join(host.home, 'gitlab-hooks/ask.sock'), () => hook.write('round\n'));
      for (const end of ['error', 'close'] as const) hook.on(end, () => done());
      hook.resume();
    });
  const isIn = async (): Promise<boolean> => {
    await ask();
    return (await now()).standbys?.find(({ node }) => node === standby)?.inSync === true;
  };
  await until(`${standby} is in sync`, isIn, 90_000);
}

beforeAll(async () => {
  setUpBundle();
  const whole = await standInImage();
  const quick = ['STAND_IN_BOOT_SECONDS=1', 'STAND_IN_RECONFIGURE_SECONDS=0'];
  const container = docker('create', whole);
  docker('commit', ...quick.flatMap((one) => ['--change', `ENV ${one}`]), container, image);
  docker('rm', container);
  lan = new Lan(3, { prefix: `agt${process.pid}` });
  engines = [1, 2].map((index) => new OwnEngine(folder, lan.namespace(index)));
  await Promise.all(engines.map((engine) => engine.begin()));
  await Promise.all(engines.map((engine) => hand(image, engine.host)));
  const [one, two] = engines.map((engine) => ['--executor', 'process', ...asRoot, '--docker-host', engine.host]);
  const args = { kang: one as string[], 'desktop-1': two as string[] };
  [kang, desktop, other] = await formMesh(rig, ['kang', 'desktop-1', 'desktop-2'], { lan, args });
  const where = ['--image', image, '--preset', 'minimal', '--port', '8080', '--ssh-port', '0'];
  const data = ['--data', join(folder, 'kang-place'), '--on', 'kang', '--copies', 'desktop-1'];
  const deployed = await other!.cli('--yes', '--json', 'gitlab', 'deploy', ...where, ...data);
  expect(deployed.code, deployed.stderr).toBe(0);
  expect(JSON.parse(deployed.stdout)).toMatchObject({ url: byName });
  const code = `t=User.find_by_username('root').personal_access_tokens.create(scopes:['api','admin_mode'],name:'t',expires_at:365.days.from_now); t.set_token('${token}'); t.save!`;
  const id = engines[0]!.docker('ps', '-q', '--filter', `ancestor=${image}`).trim();
  engines[0]!.docker('exec', id, 'gitlab-rails', 'runner', code);
  const made = ['-sf', '-H', `PRIVATE-TOKEN: ${token}`, '-d', 'name=pushed', `${urls[0]}/api/v4/projects`];
  // Its Puma is begun anew for that token, and nginx has a page meanwhile.
  await until('the project is made', async () => (await inLan('curl', ...made)).code === 0, 30_000);
}, 300_000);

afterAll(async () => {
  lan?.plug(1);
  await other?.cli('--yes', 'gitlab', 'uninstall', '--delete-data', '--now', '--force');
  for (const machine of rig.machines) await machine.kill('SIGKILL');
  for (const engine of engines ?? []) await engine.end().catch(() => undefined);
  for (const dir of [folder, rig.dir]) {
    unmountBelow(dir);
    detachBelow(dir);
    spawnSync('sh', ['-c', `chattr -i -R "${dir}" 2>/dev/null; true`]);
  }
  await rig.clean();
  rmSync(folder, { recursive: true, force: true });
  lan?.down();
  spawnSync('docker', ['rmi', image], { stdio: 'ignore', timeout: 20_000 });
}, 120_000);

it('goes on at the machine that is in sync when its host is cut off, with all that was acknowledged; never do two serve', {
  timeout: 240_000,
}, async () => {
  await other!.cli('settings', 'inSyncGraceMs', `${graceMs}`);
  await inSync(kang!, 'desktop-1');
  await until('it is foretold', async () => (await now()).forecast?.to === 'desktop-1');
  expect((await now()).forecast?.sentence).toContain('desktop-1 goes on by itself after 30 s');
  const users = new Users();
  await users.begin();
  await until('pushes are acknowledged', () => users.acknowledged.length > 3, 90_000);
  const probe = new Probe();
  onTestFinished(() => probe.end());
  // A switch that is away for less than the grace moves nothing, and what was booted meanwhile is thrown away.
  lan.unplug(1);
  await until('it boots there beside the grace', async () => booted().length === 1, 20_000);
  const because = async (): Promise<string> => (await now()).hosted?.because ?? '';
  await until('that is said', async () => (await because()).includes('; desktop-1 boots it since'), 5_000);
  expect(await because()).toMatch(
    /kang is silent for [\d.]+ s; desktop-1 takes GitLab over in \d+ s unless it is back; desktop-1 boots it since [\d.]+ m?s, without network, of round 1\.\d+/,
  );
  expect(engines[1]!.docker('exec', booted()[0]!, 'ls', '/sys/class/net').trim()).toBe('lo');
  lan.plug(1);
  await until('it serves on', () => answers(urls[0]), 30_000);
  await until('what was booted is thrown away', async () => booted().length === 0, 20_000);
  expect(await now()).toMatchObject({ host: 'kang', epoch: 1 });
  expect(probe.expectOne(0).by).toBe(1);
  await inSync(kang!, 'desktop-1');

  const before = users.acknowledged.length;
  await until('pushes go on', () => users.acknowledged.length > before, 30_000);
  lan.unplug(1);
  const watch = new Watch();
  const cutAt = performance.now();
  await until('it boots there again', async () => booted().length === 1, 30_000);
  const [ready] = booted();
  await until('it serves there', () => answers(urls[1]), 90_000);
  console.log(`cut off -> served elsewhere: ${Math.round(performance.now() - cutAt)} ms, of them ${graceMs} ms grace`);
  // By what was booted beside the grace: no boot after it.
  expect(engines[1]!.docker('ps', '-q', '--no-trunc').trim()).toBe(ready);
  const queue = async (): Promise<boolean> =>
    engines[1]!.docker('exec', ready!, 'sh', '-c', 'ls /opt/gitlab/service').includes('sidekiq');
  await until('its queue is worked off', queue, 30_000);
  await until('who pushes there is told that it is on one machine only', () => users.alone > 2, 60_000);
  await watch.end();
  const [first, second] = watch.served;
  expect(first.length).toBeGreaterThan(0);
  expect(Math.max(...first)).toBeLessThan(Math.min(...second));
  expect(await now()).toMatchObject({ host: 'desktop-1', epoch: 2, url: byName });
  expect((await now()).move?.ended).toMatchObject({ isDone: true, from: 'kang', to: 'desktop-1' });

  // It is back, its agent and its GitLab as they were: it lets nobody in, keeps what it had, and holds copies.
  lan.plug(1);
  await until(
    'kang holds copies',
    async () => (await now()).standbys?.some(({ node, round }) => node === 'kang' && round !== null),
    90_000,
  );
  const there = users.acknowledged.length;
  await until('kang is in sync, and pushes wait for it', () => users.acknowledged.length > there + 2, 90_000);
  await users.end();
  expect(probe.expectOne(1).by).toBe(2);
  expect(await users.lacking(urls[1])).toEqual([]);
  expect((await desktop!.cli('gitlab')).stdout).toContain('desktop-1');
  // An agent that stands still for longer than its lease lets its gate be shut by others, and goes on as it was.
  desktop!.process!.kill('SIGSTOP');
  await until('nobody is let in', async () => !(await answers(urls[1])), 15_000);
  desktop!.process!.kill('SIGCONT');
  await until('it serves again', () => answers(urls[1]), 30_000);
  expect(probe.expectOne(0).by).toBe(1);
});

it('what the former host served is compared from any machine, a project of it brought over, and it goes on a word', {
  timeout: 120_000,
}, async () => {
  const isKept = (): boolean => existsSync(join(folder, 'kang-place', 'mounted', 'fenced-1'));
  expect(isKept()).toBe(true);
  const kept = await until('it is measured', async () => (await now()).fenced?.find(({ bytes }) => bytes !== null));
  expect(kept).toMatchObject({ node: 'kang', name: 'fenced-1' });
  // Of what its rounds share with it nothing would be free.
  expect(kept.bytes).toBeGreaterThanOrEqual(0);
  const compared = await desktop!.cli('--json', 'gitlab', 'diff', 'fenced-1');
  expect(compared.code, compared.stderr).toBe(0);
  const { rows, notes } = JSON.parse(compared.stdout) as Comparison;
  // What was pushed since is there now, and what was acknowledged before is in both.
  expect(rows).toMatchObject([{ repository: 'root/pushed', ref: 'refs/heads/main', lost: 0 }]);
  expect(rows[0]?.added).toBeGreaterThan(0);
  expect(notes[0]).toMatch(
    /the database (or|nor) Redis was written to here .*after round 0-1-\d+, with which the mesh went on/,
  );
  const brought = await desktop!.cli('gitlab', 'restore', 'fenced-1', '--project', 'root/pushed');
  expect(brought.code, brought.stderr).toBe(0);
  expect(brought.stdout).toMatch(/is root\/pushed-restored-[\d-]+ now: 1 branch/);
  expect((await desktop!.cli('gitlab', 'restore', 'fenced-1')).stderr).toContain('takes no place of what serves');
  expect((await desktop!.cli('gitlab', 'fenced', 'drop', 'fenced-1')).stderr).toContain('nobody here can say that');
  expect(isKept()).toBe(true);
  const dropped = await desktop!.cli('--yes', 'gitlab', 'fenced', 'drop', 'fenced-1');
  expect(dropped.code, dropped.stderr).toBe(0);
  expect(isKept()).toBe(false);
  await until('nobody keeps anything of before', async () => (await now()).fenced === undefined);
});
