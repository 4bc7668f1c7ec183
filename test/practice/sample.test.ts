import { execFile, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';
import { expect, it } from 'vitest';
import { practiceCommand } from '../../gitlab-bridge/practice/cli-entry.ts';
import type { PracticeGitlab } from '../../gitlab-bridge/practice/practice-gitlab.ts';
import { sampleProject, seedProject } from '../../gitlab-bridge/practice/sample-project.ts';
import { api, call, patch, practice, put, runner, statuses, type TestRunner, temporary } from './rig.ts';

const execute = promisify(execFile);

// biome-ignore lint/suspicious/noExplicitAny: the payload is looked into freely
type Payload = any;

const bash = (script: string, cwd: string, env: Record<string, string>): Promise<{ code: number; output: string }> =>
  new Promise((resolve) => {
    const child = spawn('bash', ['-eo', 'pipefail', '-c', script], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (part) => {
      output += part;
    });
    child.stderr.on('data', (part) => {
      output += part;
    });
    child.on('close', (code) => resolve({ code: code ?? 1, output }));
  });

/** What any runner does with a job: fetch, artifacts down, script, after_script, trace, artifacts up, result. */
const runJob = async (gitlab: PracticeGitlab, job: Payload, folder: string): Promise<void> => {
  mkdirSync(folder);
  await execute('git', ['init', '--quiet', '.'], { cwd: folder });
  await execute(
    'git',
    ['fetch', '--quiet', '--depth', String(job.git_info.depth), job.git_info.repo_url, ...job.git_info.refspecs],
    { cwd: folder },
  );
  await execute('git', ['checkout', '--quiet', '--detach', job.git_info.sha], { cwd: folder });
  for (const dependency of job.dependencies) {
    const tar = await fetch(`${gitlab.url}/api/v4/jobs/${dependency.id}/artifacts`, {
      headers: { 'JOB-TOKEN': dependency.token },
    });
    expect(tar.status).toBe(200);
    const child = execute('tar', ['xz'], { cwd: folder });
    child.child.stdin?.end(Buffer.from(await tar.arrayBuffer()));
    await child;
  }
  const env: Record<string, string> = { PATH: process.env.PATH ?? '', CI_PROJECT_DIR: folder };
  for (const { key, value } of job.variables) env[key] = value;
  let trace = '';
  let failed = false;
  for (const step of job.steps) {
    const { code, output } = await bash(step.script.join('\n'), folder, {
      ...env,
      CI_JOB_STATUS: failed ? 'failed' : 'success',
    });
    expect((await patch(gitlab, job, output, Buffer.byteLength(trace))).status).toBe(202);
    trace += output;
    if (code !== 0 && !step.allow_failure) failed = true;
  }
  for (const artifact of failed ? [] : (job.artifacts ?? [])) {
    const { stdout } = await execute('tar', ['cz', ...artifact.paths], { cwd: folder, encoding: 'latin1' });
    const form = new FormData();
    form.set('file', new Blob([Buffer.from(stdout, 'latin1')]), 'artifacts.tar.gz');
    expect(
      (
        await call(gitlab, 'POST', `/api/v4/jobs/${job.id}/artifacts?artifact_format=zip`, form, {
          'JOB-TOKEN': job.token,
        })
      ).status,
    ).toBe(201);
  }
  const output = {
    checksum: `crc32:${crc32(Buffer.from(trace)).toString(16).padStart(8, '0')}`,
    bytesize: Buffer.byteLength(trace),
  };
  const end = await put(gitlab, job, failed ? 'failed' : 'success', {
    output,
    exit_code: failed ? 1 : 0,
    failure_reason: failed ? 'script_failure' : undefined,
  });
  expect(end.status).toBe(200);
};

it('the sample project passes on three runners: real git, bash, traces, artifacts and dependencies', async () => {
  const gitlab = await practice();
  const id = await seedProject(gitlab, sampleProject());
  const jobs = gitlab.jobsOf(1);
  expect(jobs.length).toBeGreaterThanOrEqual(8);
  expect(new Set(jobs.map((job) => job.stage)).size).toBe(3);
  expect(new Set(jobs.flatMap((job) => job.spec.tags))).toEqual(new Set(['cpu-1', 'gpu']));
  const folder = temporary();
  let busy = 0;
  const work = async (taker: TestRunner): Promise<void> => {
    for (;;) {
      const answer = await taker.request();
      if (answer.status === 201) {
        busy += 1;
        await runJob(gitlab, answer.json, join(folder, `job-${answer.json.id}`));
        busy -= 1;
      } else if (busy === 0 && ['success', 'failed'].includes((await statuses(gitlab, id)).pipeline ?? '')) return;
      else await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  const takers = [
    await runner(gitlab, { tag_list: 'gpu', run_untagged: false }),
    await runner(gitlab, { tag_list: 'cpu-1' }),
    await runner(gitlab),
  ];
  await Promise.all(takers.map(work));
  for (const job of gitlab.jobsOf(1)) {
    const trace = (await api(gitlab, 'GET', `/projects/${id}/jobs/${job.id}/trace`)).text;
    expect([job.name, job.status, job.traceCheck, job.status === 'success' ? '' : trace]).toEqual([
      job.name,
      'success',
      'match',
      '',
    ]);
  }
  expect((await statuses(gitlab, id)).pipeline).toBe('success');
  const report = gitlab.jobsOf(1).find((job) => job.name === 'report');
  expect((await api(gitlab, 'GET', `/projects/${id}/jobs/${report?.id}/trace`)).text).toMatch(
    /score \d+ of 1000[\s\S]*after_script, the job's status is success/,
  );
}, 120_000);

it('practice-gitlab as a command: prints url and token, serves, and ends with the signal', async () => {
  for (const json of [true, false]) {
    const out = new PassThrough();
    let text = '';
    out.on('data', (part) => {
      text += part;
    });
    const stop = new AbortController();
    const ended = practiceCommand({ port: 0, json, pace: 'fast', data: join(temporary(), 'data') }, out, stop.signal);
    while (!text.includes('\n')) await new Promise((resolve) => setTimeout(resolve, 20));
    const found = json
      ? JSON.parse(text)
      : { url: /url\s+(\S+)/.exec(text)?.[1], token: /token\s+(\S+)/.exec(text)?.[1] };
    if (!json) expect(text).toContain('practice GitLab, not GitLab');
    const answer = await call(found, 'GET', '/api/v4/user', undefined, { 'PRIVATE-TOKEN': found.token });
    expect(answer.json.username).toBe('root');
    stop.abort();
    await ended;
    await expect(call(found, 'GET', '/-/health')).rejects.toThrow('fetch failed');
  }
});
