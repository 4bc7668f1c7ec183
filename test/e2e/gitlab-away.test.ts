import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { counting, formMesh, pipelineEnd, runningJobs, ticks, upTo } from './mesh.ts';
import { Rig, sleep, type TestMachine, until } from './rig.ts';

describe('GitLab goes away', () => {
  const rig = new Rig();
  let machines: TestMachine[] = [];

  beforeAll(async () => {
    const gitlab = rig.practice();
    await gitlab.start();
    machines = await formMesh(rig, ['kang', 'desktop-1']);
    machines[0]!.env.PRACTICE_TOKEN = gitlab.token;
    await machines[0]!.cli('gitlab', 'connect', gitlab.url, '--token-env', 'PRACTICE_TOKEN');
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
});
