import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { counting, formMesh, pipelineEnd, runningJobs, settled, ticks, upTo } from './mesh.ts';
import { Lan } from './namespaces.ts';
import { asRoot, Rig, sleep, type TestMachine, until } from './rig.ts';

/** Three machines with nothing shared but a bridge, found by mDNS alone (needs root: it makes network namespaces). */
describe('three machines on one LAN', () => {
  const rig = new Rig();
  let lan: Lan;
  let machines: TestMachine[] = [];

  beforeAll(async () => {
    lan = new Lan(3);
    const gitlab = rig.practice(lan.namespace(1));
    await gitlab.start(lan.address(1));
    machines = await formMesh(rig, ['kang', 'desktop-1', 'desktop-2'], {
      lan,
      env: { 'desktop-1': { AUTOGIT_PLAY_GPU: 'RTX 3090 Ti:24g' } },
    });
    const connect = ['gitlab', 'connect', gitlab.url, '--token-env', 'PRACTICE_TOKEN'];
    machines[0]!.env.PRACTICE_TOKEN = gitlab.token;
    const { code, stderr } = await machines[0]!.cli(...connect);
    expect(stderr + code).toBe(`${stderr}0`);
  }, 120_000);

  afterAll(async () => {
    await rig.clean();
    lan?.down();
  });

  it('run a pipeline, each job where it fits', async () => {
    const gitlab = rig.gitlab!;
    const project = await gitlab.push('first', {
      '.gitlab-ci.yml': [
        'stages: [make, use]',
        'make: { stage: make, script: ["echo made > it.txt", "echo made it"], artifacts: { paths: [it.txt] } }',
        'eval: { stage: make, tags: [gpu, vram-20g], script: ["echo on a GPU machine"] }',
        'pinned: { stage: make, tags: [node-desktop-2], script: ["echo on desktop-2"] }',
        'use: { stage: use, script: ["grep made it.txt"] }',
      ].join('\n'),
    });
    const { status, jobs } = await pipelineEnd(rig, project);
    expect(jobs.map((job) => [job.name, job.status]).sort()).toEqual([
      ['eval', 'success'],
      ['make', 'success'],
      ['pinned', 'success'],
      ['use', 'success'],
    ]);
    expect(status).toBe('success');
    const rows = await until('the mesh agrees that all four are done', async () => {
      const all = await machines[1]!.jobs();
      return all.filter((row) => row.state === 'done').length === 4 ? all : null;
    });
    expect(rows.find((row) => row.name === 'eval')?.node).toBe('desktop-1');
    expect(rows.find((row) => row.name === 'pinned')?.node).toBe('desktop-2');
  });

  it('lose the leader (kill -9) while jobs run: each job ends once, traces are whole', async () => {
    const gitlab = rig.gitlab!;
    const count = 40;
    const names = ['a', 'b', 'c', 'd'];
    const project = await gitlab.push('second', {
      '.gitlab-ci.yml': names.map((name) => `${name}: { script: ['${counting(count)}'] }`).join('\n'),
    });
    await until('all jobs run', async () => (await runningJobs(rig, project)).length === names.length);
    const leaderName = await settled(machines);
    const leader = machines.find((machine) => machine.name === leaderName) as TestMachine;
    const others = machines.filter((machine) => machine !== leader);
    const before = Math.max(...others.map((machine) => machine.events('leader-elected').length));
    await leader.kill('SIGKILL');
    await until('another leads, and both others know it', () =>
      others.every((machine) => machine.events('leader-elected').length > before),
    );
    leader.join('--executor', 'process', ...asRoot);
    const { status, jobs } = await pipelineEnd(rig, project);
    expect(jobs.map((job) => [job.name, job.status]).sort()).toEqual(names.map((name) => [name, 'success']));
    expect(status).toBe('success');
    for (const job of jobs) expect(ticks(await gitlab.trace(project, job.id))).toEqual(upTo(count));
    await settled(machines);
  });

  it('lose a machine in mid-run: the job fails as runner_system_failure and its retry runs elsewhere', async () => {
    const gitlab = rig.gitlab!;
    // GitLab lives in kang's namespace, so a desktop is the one to lose; a job that a person retries has its one retry behind it.
    await machines[0]!.cli('drain', 'kang');
    const project = await gitlab.push('third', {
      '.gitlab-ci.yml': `long: { retry: { max: 1, when: [runner_system_failure] }, tags: [cpu-1], script: ['${counting(50)}'] }`,
    });
    const row = await until('the job runs on a desktop', async () => {
      const rows = await machines[1]!.jobs();
      return rows.find(({ name, state, node }) => name === 'long' && state === 'running' && node !== 'kang');
    });
    await machines[0]!.cli('undrain', 'kang');
    const victim = machines.findIndex((machine) => machine.name === row.node);
    lan.unplug(victim + 1);
    const { status, jobs } = await pipelineEnd(rig, project);
    expect(status).toBe('success');
    const lost = jobs.filter((job) => job.status === 'failed');
    expect(lost.map((job) => job.failure_reason)).toEqual(['runner_system_failure']);
    const done = jobs.filter((job) => job.status === 'success');
    expect(done.length).toBe(1);
    expect(ticks(await gitlab.trace(project, done[0]!.id))).toEqual(upTo(50));
    lan.plug(victim + 1);
    await settled(machines);
  });

  it('lose all datagrams (a firewall), then have them again: nobody elects, misses or looks for anybody', async () => {
    const leaderName = await settled(machines);
    const leader = machines.findIndex((machine) => machine.name === leaderName);
    /** Datagrams that came into the leader’s machine, mDNS among them: a few in ten seconds, dozens in a second after a cable was out. */
    const heardIn = async (ms: number): Promise<number> => {
      const before = lan.datagramsIn(leader + 1);
      await sleep(ms);
      return lan.datagramsIn(leader + 1) - before;
    };
    const unrest = ['leader-elected', 'leader-lost', 'node-suspect', 'node-lost', 'false-alarm'];
    const alarms = (): number => machines.flatMap((machine) => unrest.flatMap((name) => machine.events(name))).length;
    // Two followers answer ten times a second each.
    await until('beats are datagrams', async () => (await heardIn(1000)) >= 15);
    const before = alarms();
    const wall = lan.wallOfDatagrams(leader + 1);
    // Of eighty.
    expect(await heardIn(4000)).toBeLessThan(50);
    expect((await machines[leader]!.status()).leader?.node).toBe(leaderName);
    wall.end();
    await until('beats are datagrams again', async () => (await heardIn(1000)) >= 15, 30_000);
    expect(alarms()).toBe(before);
  });
});
