import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { api, call, patch, practice, project, put, runner, statuses, temporary } from './rig.ts';

const minute = 60_000;

describe('pipelines go on', () => {
  it('stage by stage, with needs at once, on_failure, always, allow_failure and manual as GitLab does', async () => {
    const gitlab = await practice();
    const id = await project(
      gitlab,
      `
stages: [build, test, deploy]
compile: {stage: build, script: x}
docs: {stage: build, script: x, allow_failure: true}
early: {stage: test, script: x, needs: []}
unit: {stage: test, script: x, needs: [compile]}
slow: {stage: test, script: x}
ship: {stage: deploy, script: x}
alarm: {stage: deploy, script: x, when: on_failure}
tidy: {stage: deploy, script: x, when: always}
maybe: {stage: deploy, script: x, when: manual}
after-unit: {stage: deploy, script: x, needs: [unit]}
`,
    );
    expect(await statuses(gitlab, id)).toMatchObject({
      compile: 'pending',
      docs: 'pending',
      early: 'pending',
      unit: 'created',
      slow: 'created',
    });
    const taker = await runner(gitlab);
    const [compile, docs, early] = [await taker.take(), await taker.take(), await taker.take()];
    await put(gitlab, compile, 'success');
    expect(await statuses(gitlab, id)).toMatchObject({ unit: 'pending', slow: 'created' });
    await put(gitlab, docs, 'failed');
    expect(await statuses(gitlab, id)).toMatchObject({ slow: 'pending' });
    await put(gitlab, early, 'success');
    const [unit, slow] = [await taker.take(), await taker.take()];
    await put(gitlab, unit, 'failed', { failure_reason: 'script_failure' });
    expect(await statuses(gitlab, id)).toMatchObject({ 'after-unit': 'skipped', ship: 'created' });
    await put(gitlab, slow, 'success');
    expect(await statuses(gitlab, id)).toEqual({
      compile: 'success',
      docs: 'failed',
      early: 'success',
      unit: 'failed',
      slow: 'success',
      ship: 'skipped',
      alarm: 'pending',
      tidy: 'pending',
      maybe: 'skipped',
      'after-unit': 'skipped',
      pipeline: 'running',
    });
    await put(gitlab, await taker.take(), 'success');
    await put(gitlab, await taker.take(), 'success');
    expect((await statuses(gitlab, id)).pipeline).toBe('failed');
    // A retry is a new job; what was skipped behind it waits again.
    const again = await api(gitlab, 'POST', `/projects/${id}/jobs/${unit.id}/retry`);
    expect(again.status).toBe(201);
    expect(again.json.id).toBeGreaterThan(unit.id);
    expect(await statuses(gitlab, id)).toMatchObject({
      unit: 'pending',
      ship: 'created',
      'after-unit': 'created',
      pipeline: 'running',
    });
    expect((await api(gitlab, 'POST', `/projects/${id}/jobs/${unit.id}/retry`)).status).toBe(403);
    await put(gitlab, await taker.take(), 'success');
    expect(await statuses(gitlab, id)).toMatchObject({ ship: 'pending', maybe: 'manual', 'after-unit': 'pending' });
    const manual = gitlab.jobsOf(1).find((job) => job.name === 'maybe' && !job.retried);
    const played = await api(gitlab, 'POST', `/projects/${id}/jobs/${manual?.id}/play`);
    expect([played.status, played.json.status]).toEqual([200, 'pending']);
    for (let left = 3; left > 0; left -= 1) await put(gitlab, await taker.take(), 'success');
    expect((await statuses(gitlab, id)).pipeline).toBe('success');
  });

  it('a blocking manual job holds the pipeline', async () => {
    const gitlab = await practice();
    const id = await project(
      gitlab,
      'gate: {stage: build, script: x, when: manual, allow_failure: false}\nnext: {script: x}\n',
    );
    expect(await statuses(gitlab, id)).toEqual({ gate: 'manual', next: 'created', pipeline: 'manual' });
    await api(gitlab, 'POST', `/projects/${id}/jobs/1/play`);
    await put(gitlab, await (await runner(gitlab)).take(), 'success');
    expect(await statuses(gitlab, id)).toEqual({ gate: 'success', next: 'pending', pipeline: 'running' });
  });

  it('cancel and retry of a whole pipeline', async () => {
    const gitlab = await practice();
    const id = await project(gitlab, 'a: {stage: build, script: x}\nb: {stage: build, script: x}\nc: {script: x}\n');
    const taker = await runner(gitlab);
    await put(gitlab, await taker.take(), 'success');
    expect((await api(gitlab, 'POST', `/projects/${id}/pipelines/1/cancel`)).status).toBe(200);
    expect(await statuses(gitlab, id)).toEqual({ a: 'success', b: 'canceled', c: 'canceled', pipeline: 'canceled' });
    expect((await taker.request()).status).toBe(204);
    expect((await api(gitlab, 'POST', `/projects/${id}/pipelines/1/retry`)).status).toBe(201);
    expect(await statuses(gitlab, id)).toEqual({ a: 'success', b: 'pending', c: 'created', pipeline: 'running' });
  });

  it('retry: makes a new job for the named reasons only, and no more than max', async () => {
    const gitlab = await practice();
    const id = await project(
      gitlab,
      'a: {script: x, retry: {max: 1, when: [runner_system_failure]}}\nb: {script: x}\nc: {script: x, retry: {exit_codes: [9]}}\n',
    );
    const taker = await runner(gitlab);
    const [a, b, c] = [await taker.take(), await taker.take(), await taker.take()];
    await put(gitlab, a, 'failed', { failure_reason: 'runner_system_failure' });
    await put(gitlab, b, 'failed', { failure_reason: 'runner_system_failure' });
    await put(gitlab, c, 'failed', { failure_reason: 'script_failure', exit_code: 9 });
    expect(await statuses(gitlab, id)).toMatchObject({ a: 'pending', b: 'failed', c: 'pending' });
    const second = await taker.take();
    expect([second.job_info.name, second.id > c.id, second.token === a.token]).toEqual(['a', true, false]);
    expect((await put(gitlab, a, 'running')).status).toBe(403);
    await put(gitlab, second, 'failed', { failure_reason: 'runner_system_failure' });
    expect(await statuses(gitlab, id)).toMatchObject({ a: 'failed' });
    const all = (await api(gitlab, 'GET', `/projects/${id}/jobs?include_retried=true`)).json;
    expect(all.filter((job: { name: string }) => job.name === 'a')).toHaveLength(2);
  });
});

describe('sweeps on the settable clock', () => {
  it('running without an update 30 min, canceling too, pending 1 h without a runner and 24 h with one', async () => {
    const gitlab = await practice();
    const id = await project(
      gitlab,
      'a: {script: x}\nb: {script: x}\nc: {script: x}\nnobody: {tags: [none], script: x}\nd: {script: x}\n',
    );
    const taker = await runner(gitlab);
    const [a, b] = [await taker.take(), await taker.take()];
    await api(gitlab, 'POST', `/projects/${id}/jobs/${b.id}/cancel`);
    gitlab.clock.advance(25 * minute);
    await put(gitlab, a, 'running');
    gitlab.sweep();
    expect(await statuses(gitlab, id)).toMatchObject({ a: 'running', b: 'canceling' });
    gitlab.clock.advance(10 * minute);
    gitlab.sweep();
    expect(await statuses(gitlab, id)).toMatchObject({ a: 'running', b: 'canceled' });
    gitlab.clock.advance(26 * minute);
    gitlab.sweep();
    expect(await statuses(gitlab, id)).toMatchObject({ a: 'failed', nobody: 'failed', c: 'pending' });
    expect(gitlab.job(a.id)?.failureReason).toBe('no_updates_running');
    expect(gitlab.job(4)?.failureReason).toBe('stuck_pending_no_matching_runners');
    for (let hours = 0; hours < 24; hours += 1) {
      gitlab.clock.advance(60 * minute);
      await taker.request({ info: { features: {} }, last_update: undefined }).then(async (answer) => {
        if (answer.status === 201 && hours < 23) await put(gitlab, answer.json, 'success');
      });
    }
    gitlab.sweep();
    expect(await statuses(gitlab, id)).toMatchObject({ c: 'success' });
  });

  it('pending for 24 h although a runner fits', async () => {
    const gitlab = await practice();
    const id = await project(gitlab, 'a: {script: x}\n');
    const taker = await runner(gitlab);
    gitlab.clock.advance(24 * 60 * minute + 1000);
    await call(gitlab, 'POST', '/api/v4/runners/verify', { token: taker.token });
    gitlab.sweep();
    expect(await statuses(gitlab, id)).toMatchObject({ a: 'failed' });
    expect(gitlab.job(1)?.failureReason).toBe('stuck_pending_with_matching_runners');
  });

  it('running 15 min past its timeout, however lively', async () => {
    const gitlab = await practice();
    await project(gitlab, 'a: {script: x, timeout: 10m}\n');
    const job = await (await runner(gitlab)).take();
    for (let at = 0; at < 24; at += 1) {
      gitlab.clock.advance(minute);
      await put(gitlab, job, 'running');
    }
    gitlab.sweep();
    expect(gitlab.job(job.id)?.status).toBe('running');
    gitlab.clock.advance(2 * minute);
    await put(gitlab, job, 'running');
    gitlab.sweep();
    expect(gitlab.job(job.id)?.failureReason).toBe('server_timeout_running');
    expect((await put(gitlab, job, 'running')).headers.get('job-status')).toBe('failed');
  });
});

describe('restarts and outages', () => {
  it('the same folder is the same GitLab: tokens, ids, traces, running jobs', async () => {
    const dataDir = temporary();
    const first = await practice({ dataDir });
    const id = await project(first, 'a: {script: x}\nb: {script: x}\n');
    const taker = await runner(first);
    const job = await taker.take();
    await patch(first, job, 'before', 0);
    await first.stop();
    // What kill -9 in the middle of a write leaves behind.
    appendFileSync(join(dataDir, 'state.jsonl'), '{"t":"job","id":1,"v":{"id":1,"stat');
    const second = await practice({ dataDir });
    expect([second.adminToken, second.instanceUuid]).toEqual([first.adminToken, first.instanceUuid]);
    expect((await patch(second, job, 'x', 0)).headers.get('range')).toBe('0-6');
    expect((await patch(second, job, ' after', 6)).status).toBe(202);
    expect((await put(second, job, 'success')).status).toBe(200);
    expect((await api(second, 'GET', `/projects/${id}/jobs/${job.id}/trace`)).text).toBe('before after');
    const next = await call(second, 'POST', '/api/v4/jobs/request', { token: taker.token });
    expect(next.json.job_info.name).toBe('b');
    expect((await api(second, 'POST', '/projects', { path: 'more' })).json.id).toBe(id + 1);
  });

  it('a damaged journal is refused with its line, not read half', async () => {
    const dataDir = temporary();
    await (await practice({ dataDir })).stop();
    appendFileSync(join(dataDir, 'state.jsonl'), 'garbage\n{"t":"next","id":0,"v":{}}\n');
    await expect(practice({ dataDir })).rejects.toThrow(/state\.jsonl line \d+ is unreadable/);
  });

  it('502 with an HTML page while it boots, also on API paths; refused while it is down', async () => {
    const gitlab = await practice();
    gitlab.boot(60_000);
    for (const path of ['/api/v4/version', '/-/health', '/', '/api/v4/jobs/request']) {
      const answer = await call(gitlab, path.endsWith('request') ? 'POST' : 'GET', path);
      expect([answer.status, answer.headers.get('content-type')]).toEqual([502, 'text/html; charset=utf-8']);
    }
    gitlab.boot(0);
    expect((await call(gitlab, 'GET', '/api/v4/version')).status).toBe(401);
    const url = gitlab.url;
    await gitlab.down();
    await expect(call(gitlab, 'GET', '/-/health')).rejects.toThrow('fetch failed');
    await gitlab.up();
    expect(gitlab.url).toBe(url);
    expect((await call(gitlab, 'GET', '/-/health')).text).toBe('GitLab OK');
  });

  it('an answer lost on the wire: the job is taken all the same', async () => {
    const gitlab = await practice();
    const id = await project(gitlab, 'a: {script: x}\n');
    const taker = await runner(gitlab);
    gitlab.faults.lostAnswers = 1;
    await expect(taker.request()).rejects.toThrow('fetch failed');
    expect(await statuses(gitlab, id)).toMatchObject({ a: 'running' });
    const running = (await api(gitlab, 'GET', `/runners/${taker.id}/jobs?status=running&system_id=s_test`)).json;
    expect(running.map((job: { id: number }) => job.id)).toEqual([1]);
    expect((await api(gitlab, 'GET', `/runners/${taker.id}/jobs?status=running&system_id=other`)).json).toEqual([]);
  });

  it('a taken port is refused by name', async () => {
    const gitlab = await practice();
    await expect(practice({ port: Number(new URL(gitlab.url).port) })).rejects.toMatchObject({ code: 'port-taken' });
  });

  it('--pace real answers as slowly as GitLab', async () => {
    const gitlab = await practice({ pace: 'real' });
    const took = async (work: () => Promise<unknown>): Promise<number> => {
      const began = performance.now();
      await work();
      return performance.now() - began;
    };
    expect(await took(() => api(gitlab, 'GET', '/version'))).toBeGreaterThan(75);
    expect(await took(() => call(gitlab, 'POST', '/api/graphql', { query: '{currentUser{id}}' }))).toBeGreaterThan(240);
  });
});
