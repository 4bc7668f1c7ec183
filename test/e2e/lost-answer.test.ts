import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formMesh, pipelineEnd, runningJobs } from './mesh.ts';
import { asRoot, Rig, type TestMachine, until } from './rig.ts';
import { SpoilingProxy } from './spoiling-proxy.ts';

/** SAFETY J3: GitLab gave a job, and nobody here knows it. */
describe('a job whose answer got lost', () => {
  const rig = new Rig();
  const proxy = new SpoilingProxy();
  let machine: TestMachine;

  beforeAll(async () => {
    const gitlab = rig.practice();
    await gitlab.start();
    await proxy.start(gitlab.url);
    [machine] = (await formMesh(rig, ['kang'])) as [TestMachine];
    machine.env.PRACTICE_TOKEN = gitlab.token;
    const { code, stderr } = await machine.cli('gitlab', 'connect', proxy.url, '--token-env', 'PRACTICE_TOKEN');
    expect(stderr + code).toBe(`${stderr}0`);
  }, 60_000);

  afterAll(async () => {
    proxy.stop();
    await rig.clean();
  });

  it('on the wire, and one whose agent is killed -9 in the take: each runs once, by a retry', async () => {
    const gitlab = rig.gitlab!;
    const ran = join(rig.dir, 'ran');
    let given = 0;
    proxy.spoil = ({ path, status }) => {
      if (!path.startsWith('/api/v4/jobs/request') || status !== 201) return 'pass';
      given += 1;
      return given === 1 ? 'cut' : given === 2 ? 'hold' : 'pass';
    };
    const job = (name: string) => `${name}: { script: ["echo ${name} >> ${ran}"] }`;
    const project = await gitlab.push('lost', { '.gitlab-ci.yml': [job('cut'), job('killed')].join('\n') });
    await until('the second job is on the wire', () => given === 2);
    await machine.kill('SIGKILL');
    machine.join('--executor', 'process', ...asRoot, '--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns');
    // Between a cancel and its retry GitLab calls the pipeline canceled: that is not its end.
    const isRescued = async () => (await pipelineEnd(rig, project, 120_000)).status === 'success';
    await until('each ran by a retry', isRescued, 120_000);
    const { status, jobs } = await pipelineEnd(rig, project);
    const seen = jobs.map(({ name, status }) => `${name} ${status}`).sort();
    expect(seen).toEqual(['cut canceled', 'cut success', 'killed canceled', 'killed success']);
    expect(status).toBe('success');
    expect(existsSync(ran) && readFileSync(ran, 'utf8').split('\n').sort().join(' ').trim()).toBe('cut killed');
    const rescued = machine.events('run-rescued').map((line) => JSON.stringify(line));
    expect(rescued.filter((line) => line.includes('no node owns it'))).toHaveLength(2);
    expect(rescued.filter((line) => line.includes('it is canceled, and it is tried again as job'))).toHaveLength(2);
  }, 180_000);

  it('a runner that an admin deleted is made anew, within seconds (S2)', async () => {
    const gitlab = rig.gitlab!;
    const ran = join(rig.dir, 'ran-again');
    proxy.spoil = () => 'pass';
    // The runner of its class, also where this test runs alone.
    const before = await gitlab.push('before', { '.gitlab-ci.yml': 'before: { script: ["true"] }' });
    expect((await pipelineEnd(rig, before, 20_000)).status).toBe('success');
    const headers = { 'private-token': gitlab.token };
    const ours = await gitlab.api<{ id: number }[]>('/runners/all');
    for (const { id } of ours) await fetch(`${gitlab.url}/api/v4/runners/${id}`, { method: 'DELETE', headers });
    const project = await gitlab.push('again', { '.gitlab-ci.yml': `again: { script: ["echo again >> ${ran}"] }` });
    expect((await pipelineEnd(rig, project, 20_000)).status).toBe('success');
    expect(machine.events('class-lost')).toHaveLength(1);
    expect(await gitlab.api<unknown[]>('/runners/all')).toHaveLength(1);
  }, 60_000);

  it('a cancel in GitLab reaches a script that says nothing within 5 s, and jobs says so (server-double A4, newcomer S8)', async () => {
    const gitlab = rig.gitlab!;
    const project = await gitlab.push('silent', {
      '.gitlab-ci.yml': "silent: { script: ['echo began; sleep 120'] }",
    });
    const job = await until('the script', async () => {
      const [running] = await runningJobs(rig, project);
      return running && (await gitlab.trace(project, running.id)).includes('began') ? running : null;
    });
    const began = Date.now();
    await gitlab.api(`/projects/${project}/jobs/${job.id}/cancel`, { method: 'POST' });
    expect((await pipelineEnd(rig, project, 20_000)).jobs).toMatchObject([{ name: 'silent', status: 'canceled' }]);
    expect(Date.now() - began).toBeLessThan(5_000);
    await until('jobs says what GitLab says', async () =>
      (await machine.jobs()).find((row) => row.job === job.id && row.state === 'canceled'),
    );
  }, 60_000);
});
