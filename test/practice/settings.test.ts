import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { pushFiles } from '../../gitlab-bridge/practice/sample-project.ts';
import { api, call, patch, practice, project, put, runner, type TestRunner } from './rig.ts';

interface Sent {
  key: string;
  value: string;
  public: boolean;
  file: boolean;
  masked: boolean;
  raw: boolean;
}
/** The last of a key, as a runner takes them. */
const sent = (job: { variables: Sent[] }, key: string): Partial<Sent> | undefined =>
  job.variables.filter((one) => one.key === key).at(-1);

const upload = (gitlab: { url: string }, job: { id: number; token: string }, bytes: Uint8Array, query: string) => {
  const form = new FormData();
  form.set('file', new Blob([Uint8Array.from(bytes)]), 'report');
  return call(gitlab, 'POST', `/api/v4/jobs/${job.id}/artifacts?${query}`, form, { 'JOB-TOKEN': job.token });
};

it('variables of a project: file, masked, raw, protected and by environment, between the file and the pipeline', async () => {
  const gitlab = await practice();
  const ci = `
variables: {A: file, USES: "at $CERT"}
a: {script: x, variables: {B: job}, environment: production, rules: [{if: $ASKED == "yes"}]}
`;
  const id = await project(gitlab, 'nothing: {script: x, tags: [none]}\n');
  const make = (body: object) => api(gitlab, 'POST', `/projects/${id}/variables`, body);
  for (const body of [
    { key: 'A', value: 'project' },
    { key: 'B', value: 'project' },
    { key: 'ASKED', value: 'yes' },
    { key: 'CERT', value: 'text $A', variable_type: 'file' },
    { key: 'SECRET', value: 'hidden-word', masked: true },
    { key: 'RAW', value: 'x$A', raw: true },
    { key: 'GUARDED', value: 'only main', protected: true },
    { key: 'WHERE', value: 'anywhere' },
    { key: 'WHERE', value: 'prod', environment_scope: 'prod*' },
    { key: 'WHERE', value: 'review', environment_scope: 'review/*' },
  ])
    expect((await make(body)).status).toBe(201);
  expect((await make({ key: 'A', value: 'again' })).status).toBe(400);
  expect((await make({ key: 'SHORT', value: 'x', masked: true })).json).toEqual({ message: { value: ['is invalid'] } });
  expect((await make({ key: 'a-b', value: 'x' })).status).toBe(400);
  const token = gitlab.adminToken;
  const url = `${gitlab.url}/root/lab.git`;
  await pushFiles(url, token, { '.gitlab-ci.yml': ci }, 'With rules');
  const taker = await runner(gitlab);
  const job = await taker.take();
  expect(sent(job, 'A')).toMatchObject({ value: 'project', public: false, masked: false });
  expect(sent(job, 'B')?.value).toBe('project');
  expect(sent(job, 'CERT')).toMatchObject({ value: 'text project', file: true });
  expect(sent(job, 'USES')?.value).toBe('at $CERT');
  expect(sent(job, 'SECRET')).toMatchObject({ value: 'hidden-word', masked: true, public: false });
  expect(sent(job, 'RAW')).toMatchObject({ value: 'x$A', raw: true });
  expect(sent(job, 'GUARDED')?.value).toBe('only main');
  expect(sent(job, 'WHERE')?.value).toBe('prod');
  await put(gitlab, job, 'success');
  const body = {
    ref: 'main',
    variables: [
      { key: 'A', value: 'pipeline' },
      { key: 'F', value: 'x', variable_type: 'file' },
    ],
  };
  await api(gitlab, 'POST', `/projects/${id}/pipeline`, body);
  const second = await taker.take();
  expect([sent(second, 'A')?.value, sent(second, 'F')?.file]).toEqual(['pipeline', true]);
  // Changed and removed; a key of several scopes has to be named with one.
  const at = `/projects/${id}/variables`;
  expect((await api(gitlab, 'PUT', `${at}/SECRET`, { masked: false })).json).toMatchObject({ masked: false });
  expect((await api(gitlab, 'GET', `${at}/WHERE`)).status).toBe(409);
  expect((await api(gitlab, 'DELETE', `${at}/WHERE?filter[environment_scope]=review/*`)).status).toBe(204);
  expect((await api(gitlab, 'GET', `${at}/GONE`)).status).toBe(404);
  expect((await api(gitlab, 'GET', at)).json).toHaveLength(9);
  const guest = gitlab.createUser('guest');
  expect((await api(gitlab, 'GET', at, undefined, guest.token)).status).toBe(404);
});

it('include, changes and exists look into the repository that was pushed', async () => {
  const gitlab = await practice();
  await project(gitlab, 'x: {script: x, tags: [none]}\n', 'shared', { 'ci.yml': 'b: {script: from shared}' });
  const ci = `
include: [ci/*.yml, {project: root/shared, file: ci.yml}]
c: {script: c, rules: [{changes: ["src/**/*"]}]}
d: {script: d, rules: [{exists: [gone.txt]}]}
`;
  const files = { 'ci/a.yml': 'a: {script: from a file}', 'src/x.c': '1' };
  const id = await project(gitlab, ci, 'lab', files);
  const names = async () => {
    const [newest] = (await api(gitlab, 'GET', `/projects/${id}/pipelines`)).json;
    const jobs = (await api(gitlab, 'GET', `/projects/${id}/pipelines/${newest.id}/jobs`)).json;
    return jobs.map((job: { name: string }) => job.name).sort();
  };
  // A new branch: nothing to compare with, so all is taken for changed.
  expect(await names()).toEqual(['a', 'b', 'c']);
  const url = `${gitlab.url}/root/lab.git`;
  const push = (more: Record<string, string>) =>
    pushFiles(url, gitlab.adminToken, { '.gitlab-ci.yml': ci, ...files, ...more }, 'More');
  await push({ README: 'x' });
  expect(await names()).toEqual(['a', 'b']);
  await push({ README: 'x', 'src/y/z.c': '2', 'gone.txt': '' });
  expect(await names()).toEqual(['a', 'b', 'c', 'd']);
  // What made no pipeline is said on the project's page; a linter says it before the push.
  await push({ '.gitlab-ci.yml': 'a: {script: x, rules: [{when: never}]}' });
  expect((await call(gitlab, 'GET', '/root/lab')).text).toContain('No pipeline for main at ');
  const lint = await api(gitlab, 'POST', `/projects/${id}/ci/lint`, { content: 'include: gone.yml\na: {script: x}' });
  expect(lint.json).toMatchObject({ valid: false, errors: ['Local file `gone.yml` does not exist!'] });
  expect((await api(gitlab, 'POST', `/projects/${id}/ci/lint`, { content: ci })).json.valid).toBe(true);
});

it('dotenv, coverage, every report type, environments and what a stop job does to them', async () => {
  const gitlab = await practice();
  const id = await project(
    gitlab,
    `
stages: [build, test, deploy]
a: {stage: build, script: x, coverage: '/Total: (\\d+\\.\\d+)%/', artifacts: {reports: {dotenv: a.env, sast: s.json, coverage_report: {coverage_format: cobertura, path: c.xml}}}}
b: {stage: test, script: x, dependencies: [a]}
c: {stage: test, script: x, dependencies: []}
up: {stage: deploy, script: x, environment: {name: review/x, url: "https://$CI_ENVIRONMENT_SLUG.$DOMAIN/$BUILD", on_stop: down}}
down: {stage: deploy, script: x, when: manual, environment: {name: review/x, action: stop}}
`,
  );
  const scoped = { key: 'DOMAIN', value: 'lab', environment_scope: 'review/*' };
  await api(gitlab, 'POST', `/projects/${id}/variables`, scoped);
  const taker: TestRunner = await runner(gitlab);
  const a = await taker.take();
  expect(a.artifacts.map((one: { artifact_type: string }) => one.artifact_type)).toEqual([
    'dotenv',
    'sast',
    'cobertura',
  ]);
  expect(a.artifacts[1]).toMatchObject({ name: 'gl-sast-report.json', artifact_format: 'raw', when: 'always' });
  const dotenv = 'artifact_type=dotenv&artifact_format=gzip';
  expect((await upload(gitlab, a, gzipSync('# a comment\n'), dotenv)).json).toEqual({ error: 'Invalid Format' });
  expect((await upload(gitlab, a, gzipSync('A=x\n'.repeat(3000)), dotenv)).status).toBe(400);
  expect((await upload(gitlab, a, Buffer.from('plain'), dotenv)).status).toBe(400);
  expect((await upload(gitlab, a, gzipSync('BUILD = 7 \nB=a=b\n'), dotenv)).status).toBe(201);
  for (const kind of ['artifact_type=sast&artifact_format=raw', 'artifact_type=cobertura&artifact_format=gzip'])
    expect((await upload(gitlab, a, gzipSync('{}'), kind)).status).toBe(201);
  expect((await upload(gitlab, a, gzipSync('{}'), 'artifact_type=nothing&artifact_format=raw')).status).toBe(400);
  await patch(gitlab, a, 'Total: 10.00%\nTotal: 81.25%\r\nend\n', 0);
  await put(gitlab, a, 'success');
  expect((await api(gitlab, 'GET', `/projects/${id}/jobs/${a.id}`)).json.coverage).toBe(81.25);
  expect((await api(gitlab, 'GET', `/projects/${id}/pipelines/1`)).json.coverage).toBe('81.25');
  const [b, c] = [await taker.take(), await taker.take()];
  expect([sent(b, 'BUILD')?.value, sent(b, 'B')?.value, sent(c, 'BUILD')]).toEqual(['7', 'a=b', undefined]);
  for (const job of [b, c]) await put(gitlab, job, 'success');
  const up = await taker.take();
  expect(sent(up, 'CI_ENVIRONMENT_NAME')?.value).toBe('review/x');
  const slug = sent(up, 'CI_ENVIRONMENT_SLUG')?.value;
  expect(sent(up, 'CI_ENVIRONMENT_URL')?.value).toBe(`https://${slug}.lab/7`);
  await put(gitlab, up, 'success');
  const environments = async () => (await api(gitlab, 'GET', `/projects/${id}/environments`)).json;
  const made = { name: 'review/x', slug, state: 'available', tier: 'development' };
  expect(await environments()).toMatchObject([{ ...made, external_url: `https://${slug}.lab/7` }]);
  const down = gitlab.jobsOf(1).find(({ name }) => name === 'down');
  await api(gitlab, 'POST', `/projects/${id}/jobs/${down?.id}/play`);
  await put(gitlab, await taker.take(), 'success');
  expect(await environments()).toMatchObject([{ state: 'stopped' }]);
});

it('job payloads and addresses follow the address by which it is reached, wherever it listens', async () => {
  const gitlab = await practice({ externalUrl: 'http://gitlab.lan:8080/' });
  await project(gitlab, 'a: {script: x}\n').catch(() => undefined);
  const made = (await api(gitlab, 'GET', '/projects/1')).json;
  expect([made.web_url, made.http_url_to_repo]).toEqual([
    'http://gitlab.lan:8080/root/lab',
    'http://gitlab.lan:8080/root/lab.git',
  ]);
});

it('caches are cleared by a number behind their keys, and need not be apart for protected branches', async () => {
  const gitlab = await practice();
  const id = await project(gitlab, 'a: {script: x, cache: {key: k, paths: [x], fallback_keys: [f]}}\n');
  const taker = await runner(gitlab);
  const keys = async () => {
    const { cache } = await taker.take();
    return [cache[0].key, cache[0].fallback_keys[0]];
  };
  expect(await keys()).toEqual(['k-protected', 'f-protected']);
  const again = () => api(gitlab, 'POST', `/projects/${id}/pipeline`, { ref: 'main' });
  const clear = (token: string) =>
    call(gitlab, 'POST', '/root/lab/-/settings/ci_cd/reset_cache', undefined, { 'PRIVATE-TOKEN': token });
  expect((await clear('wrong')).status).toBe(401);
  expect((await clear(gitlab.adminToken)).status).toBe(200);
  await again();
  expect(await keys()).toEqual(['k-1-protected', 'f-1-protected']);
  await api(gitlab, 'PUT', `/projects/${id}`, { ci_separated_caches: false });
  await again();
  expect(await keys()).toEqual(['k-1', 'f-1']);
});

it('Pipeline Hook: on each new status of a pipeline, to hooks that ask for it', async () => {
  // biome-ignore lint/suspicious/noExplicitAny: the body is looked into freely
  const heard: { event: unknown; body: any }[] = [];
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
    heard.push({ event: request.headers['x-gitlab-event'], body: JSON.parse(Buffer.concat(parts).toString('utf8')) });
    response.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const gitlab = await practice();
    const id = await project(gitlab, 'a: {script: x, environment: prod}\n');
    await api(gitlab, 'PUT', '/application/settings', { allow_local_requests_from_web_hooks_and_services: true });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
    const made = await api(gitlab, 'POST', `/projects/${id}/hooks`, { url, pipeline_events: true });
    expect(made.json).toMatchObject({ pipeline_events: true, job_events: false });
    await put(gitlab, await (await runner(gitlab)).take(), 'success');
    await expect.poll(() => heard.length).toBe(2);
    expect(heard.map(({ event, body }) => [event, body.object_attributes.status]).sort()).toEqual([
      ['Pipeline Hook', 'running'],
      ['Pipeline Hook', 'success'],
    ]);
    const end = heard.find(({ body }) => body.object_attributes.status === 'success')?.body;
    expect(end).toMatchObject({
      object_kind: 'pipeline',
      object_attributes: { ref: 'main', source: 'push', detailed_status: 'passed', protected_ref: true },
      project: { id, path_with_namespace: 'root/lab' },
      builds: [{ name: 'a', status: 'success', environment: { name: 'prod', action: 'start' } }],
    });
  } finally {
    server.close();
  }
});
