import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { userWorkDir } from '../../node/executors/process-executor.ts';
import { pipelineEnd, runningJobs, ticks, upTo } from './mesh.ts';
import { Rig, type TestMachine, until } from './rig.ts';

const rig = new Rig();
let kang: TestMachine;
const join_ = (...args: string[]): void =>
  kang.join(...args, '--executor', 'process', '--user', 'root', '--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns');

beforeAll(async () => {
  const gitlab = rig.practice();
  await gitlab.start();
  kang = rig.machine('kang', null);
  mkdirSync(kang.home, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=90m,mode=700', 'tmpfs', kang.home]);
  // Runs as a user have their folders below /var/lib: on this disk too.
  mkdirSync(join(kang.home, 'w'));
  mkdirSync(userWorkDir(kang.home), { recursive: true });
  execFileSync('mount', ['--bind', join(kang.home, 'w'), userWorkDir(kang.home)]);
  kang.env.PRACTICE_TOKEN = gitlab.token;
  join_('--new', 'home');
  await until('it leads', async () => (await kang.status()).leader);
  const connected = await kang.cli('gitlab', 'connect', gitlab.url, '--token-env', 'PRACTICE_TOKEN');
  expect(connected.stderr).not.toContain('error');
}, 120_000);
/** What the machine said, and what fills its disk. */
const explain = (error: unknown): never => {
  const script = 'df "$1"; du -ak "$1" | sort -n | tail; tail -n 40 "$1/agent.log"';
  const looked = execFileSync('sh', ['-c', script, 'sh', kang.home], { encoding: 'utf8' });
  throw new Error(`${kang.output}\n${looked}`, { cause: error });
};
afterAll(async () => {
  await kang.kill();
  await rig.clean().catch(() => undefined);
  execFileSync('umount', ['-l', userWorkDir(kang.home), kang.home]);
  rmSync(userWorkDir(kang.home), { recursive: true, force: true });
});

it('a job that fills the disk fails saying so; the agent, its store and the other job go on', async () => {
  const gitlab = rig.gitlab!;
  const project = await gitlab.push('fills', {
    '.gitlab-ci.yml': [
      'fill: { script: ["sleep 2", "dd if=/dev/zero of=fill bs=1M count=200 || true", "sleep 60"] }',
      // What it writes itself may meet the full disk: the agent's own part is what is looked at.
      'other: { script: ["for i in $(seq 60); do echo tick $i 2>/dev/null || sleep 0.5 && echo tick $i; sleep 0.1; done > /dev/null", "for i in $(seq 20); do echo tick $i; sleep 0.2; done"] }',
    ].join('\n'),
  });
  const { jobs } = await pipelineEnd(rig, project, 25_000).catch(explain);
  const named = Object.fromEntries(jobs.map((job) => [job.name, job]));
  expect(named.fill).toMatchObject({ status: 'failed', failure_reason: 'runner_system_failure' });
  const trace = await gitlab.trace(project, named.fill!.id);
  expect(trace).toMatch(/the disk of this machine is full, and this job has \d+ MiB of it/);
  expect(named.other, await gitlab.trace(project, named.other!.id)).toMatchObject({ status: 'success' });
  expect(ticks(await gitlab.trace(project, named.other!.id))).toEqual(upTo(20));
  expect(kang.process?.exitCode).toBeNull();
  const lines = kang.log().map(({ msg }) => msg);
  expect(lines).toContainEqual(expect.stringMatching(/its disk is full: job \d+, which has \d+ MiB of it, was ended/));
  await until('there is room again', async () =>
    (await kang.status()).attention.every(({ sentence }) => !sentence.includes('disk')),
  );
  expect(existsSync(join(kang.home, 'reserve'))).toBe(true);
});

it('an agent that starts on a full disk makes room by what dead runs left, then by the largest, and says so', async () => {
  const gitlab = rig.gitlab!;
  const project = await gitlab.push('holds', {
    '.gitlab-ci.yml': 'hold: { script: ["dd if=/dev/zero of=held bs=1M count=40", "echo tick 1", "sleep 300"] }',
  });
  await until('it holds its file', async () => {
    const [job] = await runningJobs(rig, project);
    return job && ticks(await gitlab.trace(project, job.id)).length > 0;
  });
  await kang.kill('SIGKILL');
  rmSync(join(kang.home, 'reserve'), { force: true });
  execFileSync('sh', ['-c', 'dd if=/dev/zero of="$1" bs=4k 2>/dev/null || true', 'sh', join(kang.home, 'filler')]);
  kang.output = '';
  join_();
  const { jobs } = await pipelineEnd(rig, project, 25_000).catch(explain);
  expect(jobs).toMatchObject([{ status: 'failed', failure_reason: 'runner_system_failure' }]);
  expect(kang.output).toMatch(/the files of run \w+, 4\d MiB, are removed/);
  expect(await gitlab.trace(project, jobs[0]!.id)).toContain(
    'the disk of this machine was full when its agent started',
  );
  expect(kang.process?.exitCode).toBeNull();
});
