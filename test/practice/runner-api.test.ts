import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { api, call, patch, practice, project, put, runner, statuses, upload } from './rig.ts';

const one = 'job: {script: echo hi}\n';

describe('POST /jobs/request', () => {
  it('gives a job as application/json with all that a runner needs', async () => {
    const gitlab = await practice();
    const id = await project(
      gitlab,
      'variables: {G: g-$J}\njob: {tags: [gpu], image: debian:12, variables: {J: "1"}, before_script: [a], script: [b, c], after_script: [d], timeout: 20m, artifacts: {paths: [out], reports: {junit: r.xml}}}\n',
    );
    const taker = await runner(gitlab, { tag_list: ['gpu', 'cuda'], description: 'gpus' });
    const answer = await taker.request();
    expect(answer.status).toBe(201);
    expect(answer.headers.get('content-type')).toBe('application/json');
    expect(answer.headers.get('x-practice-gitlab')).toContain('not GitLab');
    const job = answer.json;
    expect(job).toMatchObject({
      id: 1,
      allow_git_fetch: true,
      job_info: { name: 'job', stage: 'test', project_id: id, pipeline_id: 1, project_full_path: 'root/lab' },
      git_info: { ref: 'main', ref_type: 'branch', depth: 20, repo_object_format: 'sha1', protected: true },
      runner_info: { timeout: 1200 },
      steps: [
        { name: 'script', script: ['a', 'b', 'c'], timeout: 1200, when: 'on_success', allow_failure: false },
        { name: 'after_script', script: ['d'], timeout: 1200, when: 'always', allow_failure: true },
      ],
      image: { name: 'debian:12' },
      services: [],
      artifacts: [
        { paths: ['out'], when: 'on_success', artifact_type: 'archive', artifact_format: 'zip' },
        { paths: ['r.xml'], when: 'always', artifact_type: 'junit', artifact_format: 'gzip' },
      ],
      dependencies: [],
    });
    expect(typeof job.job_info.project_jobs_running_on_instance_runners_count).toBe('string');
    expect(job.git_info.repo_url).toBe(`${gitlab.url.replace('://', `://gitlab-ci-token:${job.token}@`)}/root/lab.git`);
    expect(job.git_info.refspecs).toEqual([
      '+refs/pipelines/1:refs/pipelines/1',
      '+refs/heads/main:refs/remotes/origin/main',
    ]);
    expect(job.features.failure_reasons).toContain('runner_interrupted');
    const variable = (key: string) => job.variables.find((entry: { key: string }) => entry.key === key);
    expect(variable('G').value).toBe('g-1');
    expect(variable('CI_JOB_TOKEN')).toMatchObject({ value: job.token, public: false, masked: true });
    expect(variable('CI_COMMIT_SHA').value).toBe(job.git_info.sha);
    expect(variable('CI_SERVER_URL').value).toBe(gitlab.url);
    expect(job.token).toMatch(/^glcbt-/);
    const keys = job.variables.map((entry: { key: string }) => entry.key);
    expect(new Set(keys).size).toBe(keys.length);
  });

  it('gives services as they stand in the file: by name, or with all that they may have', async () => {
    const gitlab = await practice();
    await project(
      gitlab,
      `default: {services: ["redis:7"]}
inherits: {script: x}
own:
  script: x
  services:
    - redis
    - name: r.lab:5000/db:$V
      alias: "db, other"
      entrypoint: [/e]
      command: [-c, "a b"]
      variables: {A: "$B", N: 1}
      pull_policy: always
      docker: {user: "70:70", platform: linux/arm64}
`,
    );
    const taker = await runner(gitlab);
    expect((await taker.take()).services).toMatchObject([{ name: 'redis:7', alias: null, variables: [] }]);
    const variable = { public: true, file: false, masked: false, raw: false };
    expect((await taker.take()).services).toEqual([
      ...[{ name: 'redis', entrypoint: null, command: null, alias: null, variables: [] }].map((one) =>
        expect.objectContaining(one),
      ),
      {
        ...{ name: 'r.lab:5000/db:$V', alias: 'db, other', entrypoint: ['/e'], command: ['-c', 'a b'], ports: [] },
        variables: [expect.objectContaining({ key: 'A', value: '$B' }), { key: 'N', value: '1', ...variable }],
        pull_policy: ['always'],
        executor_opts: { docker: { user: '70:70', platform: 'linux/arm64' } },
      },
    ]);
  });

  it('matches tags, untagged, type, protection and pause, as GitLab does', async () => {
    const gitlab = await practice();
    const id = await project(
      gitlab,
      'a: {tags: [gpu], script: x}\nb: {tags: [gpu, cuda], script: x}\nc: {script: x}\n',
    );
    const none = await runner(gitlab, { tag_list: 'render', run_untagged: false });
    expect((await none.request()).status).toBe(204);
    const gpu = await runner(gitlab, { tag_list: 'gpu', run_untagged: false });
    expect((await gpu.take()).job_info.name).toBe('a');
    expect((await gpu.request()).status).toBe(204);
    const both = await runner(gitlab, { tag_list: 'gpu,cuda', run_untagged: false });
    expect((await both.take()).job_info.name).toBe('b');
    const paused = await runner(gitlab, { paused: true });
    const refused = await paused.request();
    expect(refused.status).toBe(204);
    expect(refused.headers.get('x-gitlab-last-update')).toBeTruthy();
    await api(gitlab, 'PUT', `/projects/${id}`, { shared_runners_enabled: false });
    const instance = await runner(gitlab);
    expect((await instance.request()).status).toBe(204);
    const own = await runner(gitlab, { runner_type: 'project_type', project_id: id });
    expect(own.token).toMatch(/^glrt-t3_/);
    expect((await own.take()).job_info.name).toBe('c');
  });

  it('a protected runner takes only jobs of the default branch', async () => {
    const gitlab = await practice();
    const id = await project(gitlab, one);
    await api(gitlab, 'PUT', `/projects/${id}`, { default_branch: 'other' });
    const guarded = await runner(gitlab, { access_level: 'ref_protected' });
    expect((await guarded.request()).status).toBe(204);
    await api(gitlab, 'PUT', `/projects/${id}`, { default_branch: 'main' });
    expect((await guarded.request()).status).toBe(201);
  });

  it('instance runners share fairly between projects, project runners take in order of id', async () => {
    const gitlab = await practice();
    const jobs = 'a: {script: x}\nb: {script: x}\n';
    const first = await project(gitlab, jobs, 'first');
    await project(gitlab, jobs, 'second');
    const shared = await runner(gitlab);
    const names: string[] = [];
    for (let turn = 0; turn < 4; turn += 1) {
      const job = await shared.take();
      names.push(`${job.job_info.project_name}/${job.job_info.name}`);
    }
    expect(names).toEqual(['first/a', 'second/a', 'first/b', 'second/b']);
    await api(gitlab, 'POST', `/projects/${first}/pipeline`, { ref: 'main' });
    const own = await runner(gitlab, { runner_type: 'project_type', project_id: first });
    expect((await own.take()).id).toBe(5);
    expect((await own.take()).id).toBe(6);
  });

  it('403 for a wrong token, 413 beyond 32 KiB, 400 for broken JSON, 409 when contended, 429 with Retry-After', async () => {
    const gitlab = await practice({ limits: { jobRequests: 3 } });
    await project(gitlab, one);
    const taker = await runner(gitlab);
    expect((await call(gitlab, 'POST', '/api/v4/jobs/request', { token: 'glrt-wrong' })).status).toBe(403);
    expect((await taker.request({ session: { url: 'x'.repeat(33_000) } })).status).toBe(413);
    const broken = await call(gitlab, 'POST', '/api/v4/jobs/request', '{"token": ', {
      'Content-Type': 'application/json',
    });
    expect(broken.status).toBe(400);
    expect(broken.json.message).toContain('no valid JSON');
    gitlab.faults.contended = 1;
    expect((await taker.request()).status).toBe(409);
    gitlab.faults.backoff = 1;
    const migrating = await taker.request();
    expect([migrating.status, migrating.headers.get('retry-after')]).toEqual([429, '60']);
    expect((await taker.request()).status).toBe(201);
    expect((await taker.request()).status).toBe(204);
    const limited = await taker.request();
    expect(limited.status).toBe(429);
    expect(Number(limited.headers.get('retry-after'))).toBeGreaterThan(0);
  });

  it('two requests at the same moment: one gets the job, the other 409', async () => {
    const gitlab = await practice({ pace: 'real' });
    await project(gitlab, one);
    const taker = await runner(gitlab);
    const answers = await Promise.all([taker.request(), taker.request()]);
    expect(answers.map((answer) => answer.status).sort()).toEqual([201, 409]);
  });

  it('drops a job as runner_unsupported when the runner lacks what it needs, and goes on', async () => {
    const gitlab = await practice();
    const id = await project(gitlab, 'a: {script: x, artifacts: {paths: [x], exclude: [y]}}\nb: {script: x}\n');
    const poor = await runner(gitlab);
    const answer = await poor.request({}, {});
    expect(answer.json.job_info.name).toBe('b');
    expect(await statuses(gitlab, id)).toMatchObject({ a: 'failed', b: 'running' });
    const job = (await api(gitlab, 'GET', `/projects/${id}/jobs/1`)).json;
    expect(job.failure_reason).toBe('runner_unsupported');
  });
});

describe('X-GitLab-Last-Update and the long poll', () => {
  it('echoing the current value is answered 204 without looking; a new job changes it', async () => {
    const gitlab = await practice();
    const taker = await runner(gitlab);
    const empty = await taker.request();
    const value = empty.headers.get('x-gitlab-last-update');
    expect(value).toBeTruthy();
    expect((await taker.request({ last_update: value })).headers.get('x-gitlab-last-update')).toBe(value);
    await project(gitlab, one);
    const other = await taker.request({ last_update: value });
    expect(other.status).toBe(201);
  });

  it('holds the request, and answers a bare 204 when something changed meanwhile', async () => {
    const gitlab = await practice({ longPollMs: 20_000 });
    const taker = await runner(gitlab);
    const value = (await taker.request()).headers.get('x-gitlab-last-update');
    const held = taker.request({ last_update: value });
    await project(gitlab, one);
    const answer = await held;
    expect(answer.status).toBe(204);
    expect(answer.headers.get('gitlab-ci-builds-polling')).toBe('yes');
    expect(answer.headers.get('x-gitlab-last-update')).toBeNull();
    // The value that it knows is old now: the next one is not held.
    expect((await taker.request({ last_update: value })).status).toBe(201);
  });

  it('ends the poll with 204 at its time, and at once when the server stops', async () => {
    const gitlab = await practice({ longPollMs: 50 });
    const taker = await runner(gitlab);
    const value = (await taker.request()).headers.get('x-gitlab-last-update');
    expect((await taker.request({ last_update: value })).status).toBe(204);
    const slow = await practice({ longPollMs: 60_000 });
    const waiting = await runner(slow);
    const old = (await waiting.request()).headers.get('x-gitlab-last-update');
    const held = waiting.request({ last_update: old }).then(
      () => 'answered',
      () => 'broken off',
    );
    await slow.stop();
    expect(['answered', 'broken off']).toContain(await held);
  });
});

describe('PATCH trace', () => {
  it('appends only at the end; 416 says where that is', async () => {
    const gitlab = await practice();
    const id = await project(gitlab, one);
    const job = await (await runner(gitlab)).take();
    const first = await patch(gitlab, job, 'hello ', 0);
    expect([first.status, first.headers.get('range'), first.headers.get('job-status')]).toEqual([
      202,
      '0-6',
      'running',
    ]);
    expect(first.headers.get('x-gitlab-trace-update-interval')).toBe('60');
    for (const start of [0, 5, 7, 100]) {
      const refused = await patch(gitlab, job, 'x', start);
      expect([refused.status, refused.headers.get('range')]).toEqual([416, '0-6']);
    }
    expect((await patch(gitlab, job, 'world ä', 6)).headers.get('range')).toBe('0-14');
    expect((await api(gitlab, 'GET', `/projects/${id}/jobs/${job.id}/trace`)).text).toBe('hello world ä');
    // Somebody looked: GitLab wants updates every 3 s now.
    expect((await patch(gitlab, job, '!', 14)).headers.get('x-gitlab-trace-update-interval')).toBe('3');
  });

  it('400 without Content-Range, 403 with a wrong token or a finished job, 429, and a log too large drops the job', async () => {
    const gitlab = await practice({ limits: { traces: 3, traceBytes: 10 } });
    const id = await project(gitlab, 'a: {script: x}\nb: {script: x}\n');
    const taker = await runner(gitlab);
    const [a, b] = [await taker.take(), await taker.take()];
    const path = `/api/v4/jobs/${a.id}/trace`;
    expect((await call(gitlab, 'PATCH', path, 'x', { 'JOB-TOKEN': a.token })).status).toBe(400);
    expect((await patch(gitlab, a, 'x', 0, b.token)).status).toBe(403);
    expect((await patch(gitlab, { id: 999, token: 'x' }, 'x', 0)).status).toBe(403);
    expect((await patch(gitlab, a, '12345', 0)).status).toBe(202);
    const large = await patch(gitlab, a, '6789012345', 5);
    expect([large.status, large.headers.get('job-status')]).toEqual([403, 'failed']);
    expect((await api(gitlab, 'GET', `/projects/${id}/jobs/${a.id}`)).json.failure_reason).toBe('trace_size_exceeded');
    const late = await patch(gitlab, a, 'x', 5);
    expect([late.status, late.headers.get('job-status'), late.json.message]).toEqual([
      403,
      'failed',
      '403 Forbidden - Job is not running',
    ]);
    for (let at = 0; at < 3; at += 1) await patch(gitlab, b, '', 0);
    expect((await patch(gitlab, b, '', 0)).status).toBe(429);
  });
});

describe('PUT job', () => {
  it('running keeps alive; success ends it with checksum and size compared; then 403 with Job-Status', async () => {
    const gitlab = await practice();
    await project(gitlab, 'a: {script: x}\nb: {script: x}\n');
    const taker = await runner(gitlab);
    const job = await taker.take();
    await patch(gitlab, job, 'the log', 0);
    const alive = await put(gitlab, job, 'running');
    expect([alive.status, alive.text, alive.headers.get('job-status')]).toEqual([200, '200', 'running']);
    const checksum = `crc32:${crc32(Buffer.from('the log')).toString(16).padStart(8, '0')}`;
    const done = await put(gitlab, job, 'success', { exit_code: 0, output: { checksum, bytesize: 7 } });
    expect([done.status, done.headers.get('job-status')]).toEqual([200, 'success']);
    expect(gitlab.job(job.id)?.traceCheck).toBe('match');
    const again = await put(gitlab, job, 'success');
    expect([again.status, again.headers.get('job-status')]).toEqual([403, 'success']);
    const other = await taker.take();
    expect((await put(gitlab, other, 'nonsense')).status).toBe(400);
    expect((await put(gitlab, { id: other.id, token: 'wrong' }, 'success')).status).toBe(403);
    await put(gitlab, other, 'failed', {
      failure_reason: 'script_failure',
      exit_code: 3,
      output: { checksum: 'crc32:00000001', bytesize: 9 },
    });
    expect(gitlab.job(other.id)).toMatchObject({
      traceCheck: 'mismatch',
      exitCode: 3,
      failureReason: 'script_failure',
    });
  });

  it('an exit code that is allowed makes the failure allowed; an unknown reason is unknown_failure', async () => {
    const gitlab = await practice();
    const id = await project(
      gitlab,
      'a: {script: x, allow_failure: {exit_codes: [7]}}\nb: {stage: deploy, script: x}\n',
    );
    const taker = await runner(gitlab);
    await put(gitlab, await taker.take(), 'failed', { exit_code: 7, failure_reason: 'made_up' });
    expect(await statuses(gitlab, id)).toEqual({ a: 'failed', b: 'pending', pipeline: 'pending' });
    expect(gitlab.job(1)?.failureReason).toBe('unknown_failure');
  });

  it('cancel: canceling for a runner that can stop gracefully, canceled and 403 for others', async () => {
    const gitlab = await practice();
    const id = await project(gitlab, 'a: {script: x}\nb: {script: x}\nc: {script: x}\n');
    const taker = await runner(gitlab);
    const soft = await taker.take();
    const hard = (await taker.request({}, {})).json;
    for (const job of [1, 2, 3])
      expect((await api(gitlab, 'POST', `/projects/${id}/jobs/${job}/cancel`)).status).toBe(201);
    expect(await statuses(gitlab, id)).toEqual({ a: 'canceling', b: 'canceled', c: 'canceled', pipeline: 'canceling' });
    const told = await patch(gitlab, soft, 'after_script', 0);
    expect([told.status, told.headers.get('job-status')]).toEqual([202, 'canceling']);
    const gone = await put(gitlab, hard, 'running');
    expect([gone.status, gone.headers.get('job-status')]).toEqual([403, 'canceled']);
    const end = await put(gitlab, soft, 'success');
    expect([end.status, end.headers.get('job-status')]).toEqual([200, 'canceled']);
    expect(await statuses(gitlab, id)).toMatchObject({ a: 'canceled', pipeline: 'canceled' });
  });
});

describe('artifacts', () => {
  it('are uploaded with the job token, listed, and downloaded by a dependent job of the same project only', async () => {
    const gitlab = await practice();
    const id = await project(
      gitlab,
      'a: {stage: build, script: x, artifacts: {paths: [x], expire_in: 1 day}}\nb: {script: x}\nc: {script: x, dependencies: []}\n',
    );
    const taker = await runner(gitlab);
    const a = await taker.take();
    expect((await upload(gitlab, a, 'zip bytes', '', 'wrong')).status).toBe(403);
    const done = await upload(gitlab, a, 'zip bytes', '?artifact_format=zip&artifact_type=archive&expire_in=1+day');
    expect([done.status, done.text]).toEqual([201, '201']);
    expect((await upload(gitlab, a, 'other bytes!')).status).toBe(400);
    await put(gitlab, a, 'success');
    expect((await upload(gitlab, a, 'late')).status).toBe(403);
    const [b, c] = [await taker.take(), await taker.take()];
    expect(b.dependencies).toEqual([
      { id: a.id, name: 'a', token: b.token, artifacts_file: { filename: 'artifacts.zip', size: 9 } },
    ]);
    expect(c.dependencies).toEqual([]);
    const path = `/api/v4/jobs/${a.id}/artifacts?direct_download=true`;
    const got = await call(gitlab, 'GET', path, undefined, { 'JOB-TOKEN': b.dependencies[0].token });
    expect([got.status, got.text, got.headers.get('content-type')]).toEqual([200, 'zip bytes', 'application/zip']);
    expect((await call(gitlab, 'GET', path, undefined, { 'JOB-TOKEN': a.token })).status).toBe(401);
    expect(
      (await call(gitlab, 'GET', `/api/v4/jobs/${c.id}/artifacts`, undefined, { 'JOB-TOKEN': b.token })).status,
    ).toBe(404);
    await project(gitlab, one, 'stranger');
    const stranger = await taker.take();
    expect((await call(gitlab, 'GET', path, undefined, { 'JOB-TOKEN': stranger.token })).status).toBe(403);
    expect((await api(gitlab, 'GET', `/projects/${id}/jobs/${a.id}`)).json).toMatchObject({
      artifacts_file: { filename: 'artifacts.zip', size: 9 },
      artifacts: [{ file_type: 'archive', size: 9, file_format: 'zip' }],
    });
    gitlab.clock.advance(2 * 86_400_000);
    gitlab.sweep();
    expect((await api(gitlab, 'GET', `/projects/${id}/jobs/${a.id}/artifacts`)).status).toBe(404);
  });

  it('413 beyond the limit, 400 without a file, 400 for a wrong type; nothing stays behind', async () => {
    const gitlab = await practice({ limits: { artifactBytes: 1000 } });
    await project(gitlab, one);
    const job = await (await runner(gitlab)).take();
    expect((await upload(gitlab, job, 'x'.repeat(5000))).status).toBe(413);
    expect((await upload(gitlab, job, 'x', '?artifact_type=poem')).status).toBe(400);
    const plain = await call(gitlab, 'POST', `/api/v4/jobs/${job.id}/artifacts`, 'x', { 'JOB-TOKEN': job.token });
    expect([plain.status, plain.json.error]).toEqual([400, 'file is missing']);
    expect(gitlab.job(job.id)?.artifacts).toEqual([]);
    // What our agents' words for a 413 say: raise "Maximum artifacts size".
    await api(gitlab, 'PUT', '/application/settings', { max_artifacts_size: 1 });
    expect((await upload(gitlab, job, 'x'.repeat(2_000_000))).status).toBe(413);
    expect((await upload(gitlab, job, 'x'.repeat(5000))).status).toBe(201);
  });

  it('GET /job answers the job of a token while it runs', async () => {
    const gitlab = await practice();
    await project(gitlab, one);
    const job = await (await runner(gitlab)).take();
    expect((await call(gitlab, 'GET', '/api/v4/job', undefined, { 'JOB-TOKEN': job.token })).json.id).toBe(job.id);
    await put(gitlab, job, 'success');
    expect((await call(gitlab, 'GET', '/api/v4/job', undefined, { 'JOB-TOKEN': job.token })).status).toBe(401);
  });
});
