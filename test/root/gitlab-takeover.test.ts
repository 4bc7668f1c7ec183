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
import { PushingUsers } from './pushing-users.ts';

/**
 * SAFETY H7, H10. The published program, two machines in miniature and a third that only votes: the cable of GitLab's machine is pulled
 * under pushes, and it goes on at the other one by itself, with all that was acknowledged. The former host is back, and holds copies.
 * Last the mesh is recovered by force on both, as nobody sees anybody, and what one of both took is looked at before the other takes more (L15).
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
const remote = (url: string, project = 'root/pushed'): string =>
  `${url.replace('//', `//root:${token}@`)}/${project}.git`;
const now = async () => (await other!.status()).gitlab;

/** What was booted beside the grace, on desktop-1. */
const booted = (): string[] =>
  engines[1]!
    .docker('ps', '-q', '--no-trunc', '--filter', 'label=autogit.purpose=boot beside')
    .split('\n')
    .filter((id) => id !== '');

/** Sit at that machine, and push to whichever of these answers. */
const usersAt = (machine: number, addresses: readonly string[]): PushingUsers =>
  new PushingUsers({
    folder,
    run: (file, ...args) => inside(machine, file, ...args),
    remotes: addresses.map((url) => remote(url)),
  });

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
  const users = usersAt(3, urls);
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
  await until('who pushes there is told that it is on one machine only', () => users.alone.length > 2, 60_000);
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
  expect(await users.lacking(users.acknowledged, remote(urls[1]))).toEqual([]);
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

const names = ['kang', 'desktop-1', 'desktop-2'];

/** Both of them alone, as somebody says on each that all others are off: GitLab goes on at its host, and at the one that has copies. */
async function recoveredOnBoth(host: string): Promise<PushingUsers[]> {
  for (const cable of [1, 2]) lan.unplug(cable);
  const alone = async (machine: TestMachine): Promise<void> => {
    const off = names.filter((name) => name !== machine.name).flatMap((name) => ['--off', name]);
    const isDone = async (...words: string[]): Promise<boolean> => (await machine.cli('--yes', ...words)).code === 0;
    await until(`${machine.name} goes on alone`, () => isDone('recover', '--force', ...off), 60_000);
    if (machine.name === host) return;
    await until('it shall go on there too', () => isDone('gitlab', 'take-over', machine.name), 30_000);
  };
  await Promise.all([alone(kang!), alone(desktop!)]);
  await Promise.all([0, 1].map((at) => until('it serves on both sides', () => answers(urls[at]!, at + 1), 90_000)));
  const users = [0, 1].map((at) => usersAt(at + 1, [urls[at]!]));
  await Promise.all(users.map((side) => side.begin({ goesOn: true })));
  await Promise.all(users.map((side) => until('pushes are taken there', () => side.pushed.length > 3, 60_000)));
  return users;
}

/** Of kang (0) and desktop-1 (1): the one with the higher place among all begins the higher era (SAFETY L15). */
async function whoWins(): Promise<0 | 1> {
  const { nodes } = await other!.status();
  const [one = '', two = ''] = [kang!, desktop!].map(({ name }) => nodes.find(({ node }) => node === name)?.id);
  return two > one ? 1 : 0;
}

/** Where GitLab's data and copies lie on kang (0) and desktop-1 (1), whichever it hosts. */
const treeAt = async (at: number): Promise<string> =>
  at === 0
    ? join(folder, 'kang-place', 'mounted')
    : join(desktop!.home, 'gitlab-copies', (await now()).hosted?.data ?? '', 'mounted');

/** Recovered on both while GitLab is at `host`; then they see each other again. */
async function meetAgain(host: 0 | 1, wins: 0 | 1): Promise<void> {
  const machines = [kang!, desktop!] as const;
  const [winner, loser] = [machines[wins], machines[1 - wins]] as [TestMachine, TestMachine];
  const users = await recoveredOnBoth(machines[host].name);
  const [goesOn, ends] = [users[wins], users[1 - wins]] as [PushingUsers, PushingUsers];
  await ends.end();
  for (const cable of [1, 2]) lan.plug(cable);
  const [side] = await until('both sides have met', async () => (await now()).sides, 60_000);
  expect(side).toMatchObject({ node: loser.name, because: expect.stringContaining(`served on ${loser.name} too`) });
  const kept = side!.name;
  const [won, lost] = [winner, loser].map((machine) => Number(machine.events('mesh-recovered').at(-1)?.era));
  expect(won).toBeGreaterThan(lost!);
  const isSaid = async (machine: TestMachine): Promise<boolean> => {
    const { gitlab, attention } = await machine.status();
    const line = attention.find(({ code }) => code === 'gitlab-two-sides');
    return gitlab.host === winner.name && line?.fix === `autogit-node gitlab diff ${kept}` && line.severity === 'fail';
  };
  for (const machine of rig.machines) await until(`${machine.name} says so`, () => isSaid(machine), 30_000);
  // What it served lies there, and nothing of it runs any more.
  expect(existsSync(join(await treeAt(1 - wins), kept, 'live'))).toBe(true);
  expect(engines[1 - wins]!.docker('ps', '-q').trim()).toBe('');
  const rows = JSON.parse((await loser.cli('--json', 'gitlab', 'fenced')).stdout);
  expect(rows).toEqual([expect.objectContaining({ node: loser.name, name: kept })]);
  const { times } = goesOn.refused;
  await until('a push is refused', () => goesOn.refused.times > times, 30_000);
  expect(goesOn.refused.words).toContain(`no push is taken before somebody has looked at what is in ${kept} alone`);
  const taken = goesOn.pushed.length;
  await until('and the next ones', () => goesOn.refused.times > times + 2, 30_000);
  expect(goesOn.pushed).toHaveLength(taken);

  const compared = await winner.cli('--json', 'gitlab', 'diff', kept);
  expect(compared.code, compared.stderr).toBe(0);
  const row = (JSON.parse(compared.stdout) as Comparison).rows.find(({ repository }) => repository === 'root/pushed');
  expect(row?.lost, compared.stdout).toBeGreaterThanOrEqual(ends.pushed.length);
  await until('somebody has looked, and pushes are taken', () => goesOn.pushed.length > taken + 1, 60_000);
  expect((await now()).sides).toBeUndefined();
  const brought = await loser.cli('gitlab', 'restore', kept, '--project', 'root/pushed');
  expect(brought.code, brought.stderr).toBe(0);
  const beside = /is (root\/pushed-restored-\S+) now/.exec(brought.stdout)?.[1];
  expect(await goesOn.lacking(ends.pushed, remote(urls[wins], beside))).toEqual([]);
  const dropped = await winner.cli('--yes', 'gitlab', 'fenced', 'drop', kept);
  expect(dropped.code, dropped.stderr).toBe(0);
  await inSync(winner, loser.name);
  await goesOn.end();
  expect(await goesOn.lacking(goesOn.pushed, remote(urls[wins]))).toEqual([]);
}

it('recovered by force on two machines that do not see each other, one side goes on once they do, and what the other served is looked at before a push', {
  timeout: 400_000,
}, async () => {
  const wins = await whoWins();
  const [winner, loser] = [names[wins], names[1 - wins]] as [string, string];
  const { host } = await now();
  await inSync(host === 'kang' ? kang! : desktop!, host === 'kang' ? 'desktop-1' : 'kang');
  if (host === winner) {
    const moved = await other!.cli('--yes', 'gitlab', 'move', loser);
    expect(moved.code, moved.stderr).toBe(0);
    await inSync(wins === 0 ? desktop! : kang!, winner);
  }
  const before = usersAt(3, urls);
  await before.begin({ goesOn: true });
  await until('both sides begin with the same', () => before.acknowledged.length > 0, 60_000);
  await before.end();
  // First the side of GitLab's host is given up, then one that went on by copies: of an epoch above that of the mesh.
  for (const host of [1 - wins, wins] as (0 | 1)[]) await meetAgain(host, wins);
  expect(await before.lacking(before.pushed, remote(urls[wins]))).toEqual([]);
});
