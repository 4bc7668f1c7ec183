import { afterAll, beforeAll, expect, it } from 'vitest';
import { connectGitlab, counting, formMesh, pipelineEnd, runningJobs, settled, ticks, upTo } from './mesh.ts';
import { asRoot, Rig, sleep, type TestMachine, until } from './rig.ts';

const rig = new Rig();
let machines: TestMachine[] = [];
beforeAll(async () => {
  const gitlab = rig.practice();
  await gitlab.start();
  machines = await formMesh(rig, ['kang', 'desktop-1', 'desktop-2']);
  await connectGitlab(machines[0]!, gitlab);
}, 180_000);
afterAll(() => rig.clean());

it.each([
  ['SIGTERM', (machine: TestMachine) => machine.kill('SIGTERM')],
  ['leave', (machine: TestMachine) => machine.cli('leave')],
])('a polite end costs no job: %s, and the agent is back after 6 s (SAFETY J2)', async (name, end) => {
  const gitlab = rig.gitlab!;
  const project = await gitlab.push(`long-${name}`, {
    '.gitlab-ci.yml': `count: { tags: [node-desktop-1], script: ['${counting(40)}'] }`,
  });
  await until('the script has begun', async () => {
    const [job] = await runningJobs(rig, project);
    return job && ticks(await gitlab.trace(project, job.id)).length > 0;
  });
  const machine = machines[1]!;
  await end(machine);
  await until('it has ended', () => machine.process?.exitCode !== null);
  await sleep(6000);
  machine.join('--executor', 'process', ...asRoot, '--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns');
  const { jobs } = await pipelineEnd(rig, project, 60_000);
  expect(jobs.map(({ name: job, status }) => [job, status])).toEqual([['count', 'success']]);
  expect(ticks(await gitlab.trace(project, jobs[0]!.id))).toEqual(upTo(40));
  expect(machines.flatMap((one) => one.events('run-lost'))).toEqual([]);
  await settled(machines);
});
