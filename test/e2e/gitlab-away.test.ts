import { cpSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectGitlab, counting, formMesh, pipelineEnd, runningJobs, ticks, upTo } from './mesh.ts';
import { Rig, sleep, type TestMachine, until } from './rig.ts';

describe('GitLab goes away', () => {
  const rig = new Rig();
  let machines: TestMachine[] = [];

  beforeAll(async () => {
    const gitlab = rig.practice();
    await gitlab.start();
    machines = await formMesh(rig, ['kang', 'desktop-1']);
    await connectGitlab(machines[0]!, gitlab);
  }, 120_000);

  afterAll(() => rig.clean());

  it('for two minutes: scripts run on, results and traces arrive when it is back, nothing is lost', async () => {
    const gitlab = rig.gitlab!;
    const project = await gitlab.push('away', {
      '.gitlab-ci.yml': [
        'stages: [one, two]',
        // Ends while GitLab is away.
        `short: { stage: one, script: ['${counting(40)}'] }`,
        // Still runs when it is back.
        `long: { stage: one, script: ['${counting(150, 1)}'] }`,
        'after: { stage: two, script: ["echo after"] }',
      ].join('\n'),
    });
    await until('both scripts have begun', async () => {
      const jobs = await runningJobs(rig, project);
      const traces = await Promise.all(jobs.map((job) => gitlab.trace(project, job.id)));
      return traces.length === 2 && traces.every((text) => ticks(text).length > 0);
    });
    await gitlab.kill();
    await sleep(120_000);
    for (const machine of machines) expect(machine.process?.exitCode).toBe(null);
    await gitlab.start();
    const { status, jobs } = await pipelineEnd(rig, project, 200_000);
    expect(jobs.map((job) => [job.name, job.status]).sort()).toEqual([
      ['after', 'success'],
      ['long', 'success'],
      ['short', 'success'],
    ]);
    expect(status).toBe('success');
    const trace = async (name: string) => gitlab.trace(project, jobs.find((job) => job.name === name)!.id);
    expect(ticks(await trace('short'))).toEqual(upTo(40));
    expect(ticks(await trace('long'))).toEqual(upTo(150));
  }, 360_000);

  it('and comes back as it was some seconds before: what it forgot is tried once more, what runs goes on (SAFETY J8)', async () => {
    const gitlab = rig.gitlab!;
    const said = join(rig.dir, 'said');
    const [begun, go, end] = ['begun', 'go', 'end'].map((name) => join(rig.dir, name)) as [string, string, string];
    const waiting = (name: string, for_: string) =>
      `${name}: { script: ["echo >> ${begun}", "until [ -e ${for_} ]; do sleep 0.2; done; echo ${name} >> ${said}"] }`;
    const runs = await gitlab.push('runs-on', { '.gitlab-ci.yml': waiting('long', end) });
    const forgets = await gitlab.push('forgets', {
      '.gitlab-ci.yml': [
        'stages: [test, two]',
        waiting('ended', go),
        // Its runner is made only after the copy was taken.
        `after: { stage: two, tags: [cpu-1], script: ["echo after >> ${said}"] }`,
      ].join('\n'),
    });
    await until('both scripts have begun', () => existsSync(begun) && readFileSync(begun, 'utf8').length === 2);
    const kept = `${gitlab.data}-kept`;
    await gitlab.kill();
    cpSync(gitlab.data, kept, { recursive: true });
    await gitlab.start();
    writeFileSync(go, '');
    expect((await pipelineEnd(rig, forgets)).status).toBe('success');
    await gitlab.kill();
    rmSync(gitlab.data, { recursive: true });
    renameSync(kept, gitlab.data);
    await gitlab.start();
    await until(
      'all is done again',
      async () => (await pipelineEnd(rig, forgets, 120_000)).status === 'success',
      120_000,
    );
    const names = (jobs: { name: string; status: string }[]) =>
      jobs.map(({ name, status }) => `${name} ${status}`).sort();
    expect(names((await pipelineEnd(rig, forgets)).jobs)).toEqual(['after success', 'ended canceled', 'ended success']);
    const because = machines.flatMap((machine) => machine.events('run-rescued')).map((line) => JSON.stringify(line));
    expect(
      because.filter((line) => line.includes('had brought its result (success): GitLab was put back')),
    ).toHaveLength(1);
    writeFileSync(end, '');
    expect(names((await pipelineEnd(rig, runs)).jobs)).toEqual(['long success']);
    expect(readFileSync(said, 'utf8').split('\n').sort().join(' ').trim()).toBe('after after ended ended long');
  }, 240_000);
});
