import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freezerOfProcess, isCgroupFrozen } from '../../node/executors/run-cgroup.ts';
import { makeTestImages } from '../root/test-image.ts';
import { connectGitlab, counting, formMesh, pipelineEnd, ticks, upTo } from './mesh.ts';
import { Rig, type TestMachine, until } from './rig.ts';

/** Its page is at every address of the machine, and so at the one that containers reach it by. */
const inDocker = ['--executor', 'docker', '--dashboard', '0.0.0.0:7118'];
const asker = fileURLToPath(new URL('page-asker.sh', import.meta.url));

/** Needs root and a Docker Engine, which the project's global set-up starts when none answers. */
describe('jobs in containers', () => {
  const rig = new Rig();
  let machine: TestMachine;
  let image: string;
  let web: string;

  beforeAll(async () => {
    ({ bash: image, web } = makeTestImages());
    const gitlab = rig.practice();
    await gitlab.start();
    [machine] = (await formMesh(rig, ['kang'], {
      args: { kang: ['--executor', 'docker', '--dashboard', '0.0.0.0:7118'] },
    })) as [TestMachine];
    await connectGitlab(machine, gitlab);
  }, 120_000);

  afterAll(() => rig.clean());

  const containersOf = (job: number): string[] =>
    execFileSync('docker', ['ps', '-a', '-q', '--filter', `label=autogit.job=${job}`], { encoding: 'utf8' })
      .split('\n')
      .filter((line) => line !== '');

  const joinAgain = (): void => machine.join(...inDocker, '--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns');
  const isFrozen = (container: string): boolean => {
    const pid = Number(execFileSync('docker', ['inspect', '-f', '{{.State.Pid}}', container], { encoding: 'utf8' }));
    const group = freezerOfProcess(pid);
    return group !== null && isCgroupFrozen(group);
  };

  it('a job in a container reaches the page of its machine, which all may reach here, and is told nothing by it', async () => {
    const gitlab = rig.gitlab!;
    const { url } = JSON.parse((await machine.cli('dashboard', 'key', '--json')).stdout) as { url: string };
    const port = Number(new URL(url).port);
    expect((await fetch(`${url}/api/status`)).status).toBe(401);
    const addresses = Object.values(networkInterfaces())
      .flat()
      .filter((one) => one?.family === 'IPv4' && !one.internal)
      .map((one) => one?.address as string);
    const project = await gitlab.push('look', {
      'ask.sh': readFileSync(asker, 'utf8'),
      '.gitlab-ci.yml': `look: { image: '${image}', script: ['bash ask.sh ${port} ${addresses.join(' ')}'] }`,
    });
    const { status, jobs } = await pipelineEnd(rig, project);
    const trace = await gitlab.trace(project, jobs[0]!.id);
    expect(status, trace).toBe('success');
    // Its own loopback is not its machine's.
    const asked = [...trace.matchAll(/^ASKED (\S+) (\S+) (\S+?)\r?$/gm)].map(([, at, , said]) => `${at} ${said}`);
    const of = (at: string) => new Set(asked.filter((one) => one.startsWith(`${at} `)).map((one) => one.split(' ')[1]));
    expect(of('127.0.0.1'), trace).toEqual(new Set(['none']));
    const reached = asked.filter((one) => !one.startsWith('127.0.0.1 '));
    expect(reached.length, trace).toBeGreaterThanOrEqual(20);
    expect(new Set(reached.map((one) => one.split(' ')[1])), trace).toEqual(new Set(['401']));
    expect(trace).not.toMatch(/^TOLD/m);
    expect((await machine.status()).nodes[0]?.state).not.toBe('draining');
  });

  it('an agent killed -9, first while a service is waited for, then in its script, and started again: what is left stands still and is begun anew, or adopted, with the service beside it, and the trace goes on without gap or repetition', async () => {
    const gitlab = rig.gitlab!;
    const late = "command: [sh, -c, 'sleep 4; exec httpd -f -p 8080 -h /']";
    const project = await gitlab.push('adopt', {
      '.gitlab-ci.yml': `long: { image: '${image}', services: [{ name: '${web}', alias: web, ${late} }], script: ['${counting(40)}', 'echo done > out.txt', 'echo > /dev/tcp/web/8080'], artifacts: { paths: [out.txt] } }`,
    });
    const row = await until('the job runs', async () =>
      (await machine.jobs()).find((job) => job.name === 'long' && job.state === 'running'),
    );
    await until('its service is waited for', async () =>
      (await gitlab.trace(project, row.job)).includes('Waiting for services'),
    );
    await machine.kill('SIGKILL');
    const left = containersOf(row.job);
    expect(left).toHaveLength(2);
    await until('all of it stands still (J1)', () => left.every(isFrozen));
    joinAgain();
    await until('its script has begun', async () => ticks(await gitlab.trace(project, row.job)).length > 3);
    await until('its containers are there', () => containersOf(row.job).length === 2);
    await machine.kill('SIGKILL');
    joinAgain();
    const { status, jobs } = await pipelineEnd(rig, project);
    expect(status).toBe('success');
    expect(jobs.length).toBe(1);
    expect(ticks(await gitlab.trace(project, row.job))).toEqual(upTo(40));
    await until('the containers are removed', () => containersOf(row.job).length === 0);
  });

  it('an image that is nowhere fails the job with the fix in its trace', async () => {
    const gitlab = rig.gitlab!;
    const project = await gitlab.push('missing', {
      '.gitlab-ci.yml': 'job: { image: "autogit-test:nowhere", script: ["echo never"] }',
    });
    const { status, jobs } = await pipelineEnd(rig, project);
    expect(status).toBe('failed');
    expect(await gitlab.trace(project, jobs[0]!.id)).toMatch(/autogit-test:nowhere[\s\S]*docker pull/);
  });
});
