import { execFile, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lab } from '../lab/lab.ts';
import { labCgroup, labPrefix, labRoot } from '../lab/lab-file.ts';
import { continueAll, processesOf, stopAll } from '../lab/machine-processes.ts';
import { counting, pipelineEnd, ticks, upTo } from './mesh.ts';
import { namespacesNamed } from './namespaces.ts';
import { type JobRow, Rig, sleep, TestGitlab, until } from './rig.ts';

const script = fileURLToPath(new URL('../lab/run.mjs', import.meta.url));
const run = promisify(execFile);

/** One command of the lab, in a process of its own, as a user types it. */
const lab = async (...words: string[]): Promise<string> => {
  const { stdout } = await run(process.execPath, [script, ...words], { maxBuffer: 1 << 26 });
  return stdout.trim();
};

/** Machines in miniature, each with a Docker Engine of its own (needs root), in a place of the tests' own (`AUTOGIT_LAB`). */
describe('the lab', () => {
  const rig = new Rig();
  let isOurs = false;
  let open: Lab;
  const image = 'autogit-test:bash';

  beforeAll(async () => {
    // What a run of these tests that was killed has left.
    await lab('down');
    await interruptedUp();
    const said = await lab('up', '3');
    isOurs = true;
    expect(said).toMatch(/one mesh of 3, \S+ leads/);
    open = Lab.open();
    rig.gitlab = new TestGitlab('', open.machine('kang').namespace);
    Object.assign(rig.gitlab, open.file.gitlab);
  }, 240_000);

  afterAll(async () => {
    if (isOurs) await lab('down');
    await rig.clean();
  }, 60_000);

  /** Ctrl-C while it is built: all that was begun goes, and another one can be built. */
  async function interruptedUp(): Promise<void> {
    const child = spawn(process.execPath, [script, 'up', '1'], { stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => (said += chunk));
    const ended = new Promise<number | null>((done) => child.on('close', done));
    const begun = until('an engine of it is begun', () => {
      const [machine] = namespacesNamed(`${labPrefix}n1`);
      return machine !== undefined && processesOf(machine).some(({ command }) => command[0] === 'dockerd');
    });
    const endedEarly = ended.then((code) => {
      throw new Error(`the lab ended by itself, with ${code}:\n${said}`);
    });
    await Promise.race([begun, endedEarly]);
    child.kill('SIGINT');
    expect(await ended).toBe(130);
    expect(said).toMatch(/interrupted: .*\n.*down: 1 machines/s);
    expect([namespacesNamed(labPrefix), existsSync(labRoot)]).toEqual([[], false]);
  }

  const push = (name: string, job: string): Promise<number> =>
    rig.gitlab!.push(name, { '.gitlab-ci.yml': `job: { image: '${image}', ${job} }` });

  const running = (machine: string, asked: string, project: string): Promise<JobRow> =>
    until(
      `the job of ${project} runs on ${machine}`,
      async () =>
        (await open.machine(asked).agent.jobs()).find(
          (row) => row.project.endsWith(project) && row.state === 'running' && row.node === machine,
        ),
      120_000,
    );

  const containersOf = (machine: string, job: number): string[] =>
    open
      .machine(machine)
      .engine.docker(['ps', '-q', '--filter', `label=autogit.job=${job}`])
      .stdout.toString()
      .split('\n')
      .filter((line) => line !== '');

  it('runs a job in the engine of the machine that it names', async () => {
    const project = await push('named', `tags: [node-desktop-2], script: ['${counting(40)}']`);
    const row = await running('desktop-2', 'kang', 'named');
    await until('its container is in that engine', () => containersOf('desktop-2', row.job).length === 1);
    expect([...containersOf('kang', row.job), ...containersOf('desktop-1', row.job)]).toEqual([]);
    expect(await lab('status')).toMatch(new RegExp(`desktop-2 .* ${row.job} `));
    const { status } = await pipelineEnd(rig, project);
    expect(status).toBe('success');
    expect(ticks(await rig.gitlab!.trace(project, row.job))).toEqual(upTo(40));
  });

  it('shows who is inside its own machine only, and lets him end nothing else', async () => {
    const list = 'for p in /proc/[0-9]*; do tr "\\0" " " < $p/cmdline; echo; done 2>/dev/null';
    const seen = await lab('exec', 'desktop-1', '--', 'bash', '-c', list);
    expect(seen).toContain('--name desktop-1');
    expect(seen).not.toMatch(/--name (kang|desktop-2)|practice-gitlab|vitest/);
    const before = open
      .machine('kang')
      .agents()
      .map(({ pid }) => pid);
    await lab('exec', 'desktop-1', '--', 'bash', '-c', 'kill -9 -1').catch(() => undefined);
    await until('its own agent is gone', () => open.machine('desktop-1').agents().length === 0);
    expect(
      open
        .machine('kang')
        .agents()
        .map(({ pid }) => pid),
    ).toEqual(before);
    expect(await lab('start', 'desktop-1')).toMatch(/started; \S+ leads$/);
  });

  it('keeps its promises with a hostile job on each machine: killed, unplugged, suspended, nothing is lost or runs twice', async () => {
    const names = ['kang', 'desktop-1', 'desktop-2'];
    const busy =
      'for i in 1 2 3; do (trap "" TERM; while :; do :; done) & done; while :; do head -c 200000 /dev/zero | tr "\\0" x; echo; sleep 0.2; done';
    const hostile = await rig.gitlab!.push('hostile', {
      '.gitlab-ci.yml': names
        .map(
          (name) =>
            `burn-${name}: { image: '${image}', timeout: '60s', tags: [node-${name}], script: [${JSON.stringify(busy)}] }`,
        )
        .join('\n'),
    });
    for (const name of names) await running(name, 'kang', 'hostile');
    const counted = await rig.gitlab!.push('counted', {
      '.gitlab-ci.yml': names
        .map((name) => `count-${name}: { image: '${image}', tags: [node-${name}], script: ['${counting(150)}'] }`)
        .join('\n'),
    });
    for (const name of names) await running(name, 'kang', 'counted');
    const leaderNow = async () => {
      const { leader } = await open.machine('desktop-2').status();
      return [leader?.node, leader?.term];
    };
    const before = await leaderNow();
    await sleep(3_000);
    expect(await leaderNow(), 'a busy machine is no dead one').toEqual(before);
    await lab('kill', 'desktop-1');
    await lab('start', 'desktop-1');
    // Shorter than the 3 s after which a silent machine's young job is given up (SAFETY J1).
    const second = open.machine('desktop-2');
    open.lan.unplug(open.number(second));
    await sleep(1_500);
    open.lan.plug(open.number(second));
    await sleep(3_000);
    await stopAll(second.namespace);
    await sleep(1_000);
    await continueAll(second.namespace);
    const { jobs } = await pipelineEnd(rig, counted);
    expect(jobs.map(({ name, status }) => [name, status]).sort()).toEqual(
      names.map((name) => [`count-${name}`, 'success']).sort(),
    );
    for (const job of jobs) expect(ticks(await rig.gitlab!.trace(counted, job.id))).toEqual(upTo(150));
    const burnt = await pipelineEnd(rig, hostile);
    expect(burnt.jobs.map(({ failure_reason: reason }) => reason)).toEqual(Array(3).fill('job_execution_timeout'));
    for (const name of names)
      await until(
        `nothing of the hostile job is left on ${name}`,
        () => open.machine(name).engine.docker(['ps', '-q']).stdout.toString().trim() === '',
      );
  });

  it('kills the leader, and another leads; it is started and back', async () => {
    const { leader } = await open.machine('desktop-1').status();
    const said = await lab('kill', leader!.node);
    expect(said).toMatch(/; \S+ leads after \d+ ms$/);
    expect(said).not.toContain(`${leader!.node} leads after`);
    expect(await lab('status')).toMatch(new RegExp(`^${leader!.node} .*no agent`, 'm'));
    expect(await lab('start', leader!.node)).toMatch(/started; \S+ leads$/);
  });

  it('kills an agent whose job runs: its script stands still, and goes on with the agent', async () => {
    // Long: on a busy machine its first lines are seen late, and it must still run when its agent dies.
    const project = await push('adopted', `tags: [node-desktop-2], script: ['${counting(150)}']`);
    const row = await running('desktop-2', 'kang', 'adopted');
    await until('its script has begun', async () => ticks(await rig.gitlab!.trace(project, row.job)).length > 2);
    const watchdog = join(open.machine('desktop-2').agent.home, 'watchdog.log');
    // Jobs of the tests before were frozen too.
    const said = (): string => (existsSync(watchdog) ? readFileSync(watchdog, 'utf8') : '');
    const before = said().length;
    expect(await lab('kill', 'desktop-2')).toMatch(/^lab: desktop-2 killed/);
    await until('the watchdog froze it', () => said().slice(before).includes('froze run'));
    expect(containersOf('desktop-2', row.job).length).toBe(1);
    expect(await lab('start', 'desktop-2')).toMatch(/started; \S+ leads$/);
    const { status, jobs } = await pipelineEnd(rig, project);
    expect([status, jobs.length]).toEqual(['success', 1]);
    expect(ticks(await rig.gitlab!.trace(project, row.job))).toEqual(upTo(150));
  });

  it('pulls a cable and plugs it in again', async () => {
    expect(await lab('unplug', 'desktop-1')).toMatch(/^lab: desktop-1 unplugged/);
    await until('the others miss it', async () => {
      const { nodes } = await open.machine('kang').status();
      return ['suspect', 'gone'].includes(nodes.find((row) => row.node === 'desktop-1')?.state ?? '');
    });
    expect(await lab('status')).toMatch(/^desktop-1 .*unplugged$/m);
    expect(await lab('plug', 'desktop-1')).toMatch(/plugged in; \S+ leads$/);
  });

  /** Whether a datagram gets from one machine to another; asked 20 times. */
  let port = 7000;
  const hears = async (from: string, to: string): Promise<boolean> => {
    port += 1;
    const within = (name: string, code: string) =>
      run('nsenter', [`--net=/var/run/netns/${open.machine(name).namespace}`, process.execPath, '-e', code]);
    const address = open.lan.address(open.number(open.machine(to)));
    const listen = `const d = require('dgram').createSocket('udp4'); d.bind(${port});
      d.once('message', () => { console.log('heard'); process.exit(); }); setTimeout(() => process.exit(), 4000)`;
    const send = `const d = require('dgram').createSocket('udp4'); let n = 0;
      const t = setInterval(() => { d.send('x', ${port}, '${address}'); if (++n > 20) { clearInterval(t); d.close(); } }, 150)`;
    const [{ stdout }] = await Promise.all([within(to, listen), within(from, send)]);
    return stdout.includes('heard');
  };

  it('parts two machines one way, and heals', async () => {
    expect(await hears('kang', 'desktop-1')).toBe(true);
    const said = await lab('partition', 'kang', 'desktop-1', '--one-way');
    expect(said).toBe('lab: desktop-1 hears nothing of kang; the other way is open');
    expect(await lab('status')).toMatch(/^desktop-1 .*hears nothing of kang$/m);
    const ways = [hears('kang', 'desktop-1'), hears('desktop-1', 'kang'), hears('desktop-2', 'desktop-1')];
    expect(await Promise.all(ways)).toEqual([false, true, true]);
    await until('the two that hear each other know one leader', async () => {
      const two = await Promise.all(['kang', 'desktop-2'].map((name) => open.machine(name).status()));
      return two[0]?.leader && two[0].leader.node === two[1]?.leader?.node;
    });
    expect(await lab('heal')).toMatch(/1 fault of the network healed; \S+ leads$/);
    expect(await hears('kang', 'desktop-1')).toBe(true);
  });

  it('spares the job of a machine that does not hear the leader, and says so', async () => {
    const { leader } = await open.machine('kang').status();
    const boss = leader!.node;
    const deaf = boss === 'desktop-1' ? 'desktop-2' : 'desktop-1';
    const project = await push('deaf', `tags: [node-${deaf}], script: ['${counting(100)}']`);
    const row = await running(deaf, boss, 'deaf');
    await until('its script has begun', async () => ticks(await rig.gitlab!.trace(project, row.job)).length > 2);
    await lab('partition', boss, deaf, '--one-way');
    const seen = async (): Promise<JobRow | undefined> =>
      (await open.machine(boss).agent.jobs()).find(({ job }) => job === row.job);
    await until('the leader knows why it is silent', async () => /hear the leader/.test((await seen())?.because ?? ''));
    // Three times as long as a machine may be silent whose run is young.
    await sleep(9000);
    expect(await seen()).toMatchObject({ state: 'running', because: expect.stringMatching(/hear the leader/) });
    await lab('heal');
    const { status, jobs } = await pipelineEnd(rig, project);
    expect([status, jobs.length]).toEqual(['success', 1]);
    expect(ticks(await rig.gitlab!.trace(project, row.job))).toEqual(upTo(100));
  });

  it('suspends a machine, and resumes it', async () => {
    expect(await lab('suspend', 'desktop-2')).toMatch(/suspended \(\d+ processes stand still\)/);
    const states = open
      .machine('desktop-2')
      .processes()
      .map(({ state }) => state);
    expect(states.length).toBeGreaterThan(2);
    expect(new Set(states)).toEqual(new Set(['T']));
    expect(await lab('resume', 'desktop-2')).toMatch(/resumed \(\d+ processes\); \S+ leads$/);
  });

  it('reboots a machine with a job in its engine: the job fails as runner_system_failure, its retry runs', async () => {
    const retry = 'retry: { max: 1, when: [runner_system_failure] }';
    const project = await push('rebooted', `${retry}, tags: [node-desktop-1], script: ['${counting(50)}']`);
    const row = await running('desktop-1', 'kang', 'rebooted');
    await until('its script has begun', async () => ticks(await rig.gitlab!.trace(project, row.job)).length > 2);
    const boot = open.boot(open.machine('desktop-1'));
    expect(await lab('reboot', 'desktop-1')).toMatch(/is back with its disk and a new boot id; \S+ leads$/);
    open = Lab.open();
    expect(open.boot(open.machine('desktop-1'))).not.toBe(boot);
    const { status, jobs } = await pipelineEnd(rig, project);
    expect(jobs.map((job) => [job.status, job.failure_reason ?? null]).sort()).toEqual([
      ['failed', 'runner_system_failure'],
      ['success', null],
    ]);
    expect(status).toBe('success');
    const again = jobs.find((job) => job.status === 'success');
    expect(ticks(await rig.gitlab!.trace(project, again!.id))).toEqual(upTo(50));
    await until('the engine keeps nothing of either', () => {
      const { stdout } = open.machine('desktop-1').engine.docker(['ps', '-aq']);
      return stdout.toString().trim() === '';
    });
  });

  it('cuts the power of kang, GitLab and all, and gives it back: the mesh goes on, and so does GitLab', async () => {
    expect(await lab('kill', 'kang', '--machine')).toMatch(
      /^lab: kang killed, with its engine and all in it; desktop-\d (still )?leads/,
    );
    expect(await lab('status')).toMatch(/^kang .* off /m);
    expect(await lab('start', 'kang')).toMatch(/^lab: kang booted with its disk and a new boot id; \S+ leads$/);
    open = Lab.open();
    const project = await push('after', `tags: [node-kang], script: ['${counting(3)}']`);
    expect((await pipelineEnd(rig, project)).status).toBe('success');
  });

  it('takes everything down', async () => {
    expect(whatIsLeft().namespaces.length).toBe(4);
    expect(await lab('down')).toMatch(/^lab: down: 3 machines, \d+ processes$/);
    isOurs = false;
    expect(whatIsLeft()).toEqual(nothing);
  });

  it('takes down what a killed `up` left', async () => {
    const half = execFile(process.execPath, [script, 'up', '1']);
    isOurs = true;
    await until('an engine is starting', () => existsSync(`${labRoot}/home/kang/containerd.log`), 120_000);
    half.kill('SIGKILL');
    expect(whatIsLeft().namespaces.length).toBe(2);
    await lab('down');
    isOurs = false;
    expect(whatIsLeft()).toEqual(nothing);
  });
});

/** All that a lab makes, looked for by other means than its own. */
function whatIsLeft() {
  const processes = readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`${labRoot}/`);
    } catch {
      return false;
    }
  });
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  const cgroups = readFileSync('/proc/self/mounts', 'utf8').matchAll(/^cgroup2? (\S+) /gm);
  return {
    namespaces: namespacesNamed(labPrefix),
    processes: processes.length,
    mounts: mounts.filter((line) => line.includes(labRoot)).length,
    cgroups: [...cgroups].filter(([, path]) => existsSync(`${path}/${labCgroup}`)).length,
    folder: existsSync(labRoot),
  };
}
const nothing = { namespaces: [], processes: 0, mounts: 0, cgroups: 0, folder: false };
