import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { api, call, practice, project, put, runner, upload } from './rig.ts';

/** GitLab's own OpenAPI document, cut down to what we serve. */
interface Property {
  $ref?: string;
  type?: string;
  items?: Property;
}
interface Document {
  paths: Record<string, Record<string, { responses: Record<string, { schema?: Property }> }>>;
  definitions: Record<string, { properties: Record<string, Property> }>;
}
const document = JSON.parse(
  readFileSync(fileURLToPath(new URL('../fixtures/gitlab-openapi.json', import.meta.url)), 'utf8'),
) as Document;

/**
 * Fields that newer GitLabs or richer entities send and the document of 2025 does not list where we use them; and
 * properties whose type the generator guessed as a string.
 */
const newer: Record<string, string[]> = {
  API_Entities_User: ['email', 'is_admin', 'two_factor_enabled', 'external'],
  API_Entities_Ci_Runner: ['created_at'],
  API_Entities_Ci_RunnerDetails: ['created_at'],
};
const guessed = new Set([
  'tag_list',
  'run_untagged',
  'locked',
  'maximum_timeout',
  'projects',
  'groups',
  'bot',
  'id',
  'project_id',
  'alert_status',
]);

const typeOf = (value: unknown): string => (Array.isArray(value) ? 'array' : typeof value);

const check = (value: unknown, schema: Property, at: string, wrong: string[]): void => {
  if (value === null) return;
  if (schema.type === 'array' && schema.items !== undefined) {
    if (!Array.isArray(value)) wrong.push(`${at} is no array`);
    else for (const [index, inner] of value.entries()) check(inner, schema.items, `${at}[${index}]`, wrong);
    return;
  }
  if (schema.$ref === undefined) {
    const expected = schema.type === 'integer' ? 'number' : schema.type;
    if (expected !== undefined && expected !== typeOf(value)) wrong.push(`${at} is ${typeOf(value)}, not ${expected}`);
    if (schema.type === 'integer' && !Number.isInteger(value)) wrong.push(`${at} is no integer`);
    return;
  }
  const name = schema.$ref.replace('#/definitions/', '');
  const properties = document.definitions[name]?.properties ?? {};
  if (typeof value !== 'object' || Array.isArray(value)) {
    wrong.push(`${at} is no ${name}`);
    return;
  }
  for (const [key, inner] of Object.entries(value)) {
    const property = properties[key];
    if (property === undefined) {
      if (!newer[name]?.includes(key)) wrong.push(`${at}.${key} is not in ${name}`);
    } else if (!guessed.has(key)) check(inner, property, `${at}.${key}`, wrong);
  }
};

/** What of an answer contradicts the document. */
const contradictions = (method: string, path: string, status: number, body: unknown): string[] => {
  const responses = document.paths[path]?.[method]?.responses;
  if (responses === undefined) return [`${method} ${path} is not in the document`];
  const wrong: string[] = [];
  const known = responses[String(status)];
  if (known === undefined) wrong.push(`${method} ${path} never answers ${status}`);
  const schema = known?.schema;
  if (schema === undefined) return wrong;
  // The document leaves out `array` for some lists.
  if (Array.isArray(body) && schema.type !== 'array') for (const row of body) check(row, schema, path, wrong);
  else check(body, schema, path, wrong);
  return wrong;
};

describe("REST answers have GitLab's names and types", () => {
  it('for projects, pipelines, jobs, runners, hooks and metadata, in all states of a job', async () => {
    const gitlab = await practice();
    const id = await project(
      gitlab,
      'a: {stage: build, script: x, artifacts: {paths: [x]}}\nb: {script: x}\nm: {stage: build, script: x, when: manual}\n',
    );
    const taker = await runner(gitlab, { tag_list: 'gpu' });
    const job = await taker.take();
    await upload(gitlab, job, 'bytes');
    await put(gitlab, job, 'success');
    await put(gitlab, await taker.take(), 'failed', { failure_reason: 'script_failure' });
    await api(gitlab, 'PUT', '/application/settings', { allow_local_requests_from_web_hooks_and_services: true });
    const wrong: string[] = [];
    const ask = async (method: string, pattern: string, values: Record<string, number>, body?: unknown) => {
      const path = pattern.replace(/\{(\w+)\}/g, (_, name: string) => String(values[name]));
      const answer = await call(gitlab, method.toUpperCase(), path, body, { 'PRIVATE-TOKEN': gitlab.adminToken });
      wrong.push(...contradictions(method, pattern, answer.status, answer.json));
      return answer.json;
    };
    const at = '/api/v4/projects/{id}';
    const ids = { id, job_id: job.id, pipeline_id: 1 };
    // Without `simple` GitLab answers more than the document says.
    const simple = await call(gitlab, 'GET', '/api/v4/projects?simple=true', undefined, {
      'PRIVATE-TOKEN': gitlab.adminToken,
    });
    wrong.push(...contradictions('get', '/api/v4/projects', simple.status, simple.json));
    await ask('get', at, ids);
    await ask('put', at, ids, { description: 'changed' });
    await ask('post', '/api/v4/projects', ids, { name: 'Second One' });
    await ask('get', `${at}/pipelines`, ids);
    await ask('get', `${at}/pipelines/latest`, ids);
    await ask('get', `${at}/pipelines/{pipeline_id}`, ids);
    await ask('get', `${at}/pipelines/{pipeline_id}/jobs`, ids);
    await ask('post', `${at}/pipeline`, ids, { ref: 'main' });
    await ask('post', `${at}/pipelines/{pipeline_id}/retry`, ids);
    await ask('get', `${at}/jobs`, ids);
    await ask('get', `${at}/jobs/{job_id}`, ids);
    await ask('post', `${at}/jobs/{job_id}/retry`, ids);
    await ask('post', `${at}/jobs/{job_id}/cancel`, ids);
    const manual = gitlab.jobsOf(1).find((one) => one.name === 'm');
    await ask('post', `${at}/jobs/{job_id}/play`, { ...ids, job_id: manual?.id ?? 0 });
    const hook = await ask('post', `${at}/hooks`, ids, { url: 'http://127.0.0.1:9/x', job_events: true });
    await ask('get', `${at}/hooks`, ids);
    await ask('put', `${at}/hooks/{hook_id}`, { ...ids, hook_id: hook.id }, { token: 'secret' });
    await ask('delete', `${at}/hooks/{hook_id}`, { ...ids, hook_id: hook.id });
    const made = await ask('post', '/api/v4/user/runners', ids, { runner_type: 'project_type', project_id: id });
    await ask('get', '/api/v4/runners', ids);
    await ask('get', '/api/v4/runners/all', ids);
    await ask('get', '/api/v4/runners/{id}', { id: made.id });
    await ask('put', '/api/v4/runners/{id}', { id: taker.id }, { paused: true });
    await ask('get', '/api/v4/runners/{id}/managers', { id: taker.id });
    await ask('get', '/api/v4/runners/{id}/jobs', { id: taker.id });
    await ask('post', '/api/v4/runners/{id}/reset_authentication_token', { id: made.id });
    await ask('delete', '/api/v4/runners/{id}', { id: made.id });
    await ask('get', '/api/v4/version', ids);
    await ask('get', '/api/v4/metadata', ids);
    expect(wrong).toEqual([]);
  });

  it('the check itself finds a wrong name and a wrong type', () => {
    const path = '/api/v4/projects/{id}/jobs/{job_id}';
    expect(contradictions('get', path, 200, { id: 1, state: 'x' })).toEqual([
      `${path}.state is not in API_Entities_Ci_Job`,
    ]);
    expect(contradictions('get', path, 200, { id: 1, name: 5, pipeline: { id: 1.5 } })).toEqual([
      `${path}.name is number, not string`,
    ]);
    expect(contradictions('get', path, 418, {})).toEqual([`get ${path} never answers 418`]);
  });
});

describe('people and permissions', () => {
  it('401 without a token, 403 without the scope, 404 for what one may not see', async () => {
    const gitlab = await practice();
    const id = await project(gitlab, 'a: {script: x}\n');
    const anna = gitlab.createUser('anna');
    const reader = gitlab.createUser('bert', { admin: true, scopes: ['read_api'] });
    const maker = gitlab.createUser('carl', { admin: true, scopes: ['create_runner'] });
    expect((await call(gitlab, 'GET', '/api/v4/user')).json).toEqual({ message: '401 Unauthorized' });
    expect((await api(gitlab, 'GET', `/projects/${id}`, undefined, anna.token)).status).toBe(404);
    expect((await api(gitlab, 'GET', '/runners/all', undefined, anna.token)).status).toBe(403);
    expect((await api(gitlab, 'GET', '/projects', undefined, anna.token)).json).toEqual([]);
    expect((await api(gitlab, 'GET', `/projects/root%2Flab`, undefined, reader.token)).json.id).toBe(id);
    expect((await api(gitlab, 'POST', `/projects/${id}/pipeline`, { ref: 'main' }, reader.token)).status).toBe(403);
    const made = await api(gitlab, 'POST', '/user/runners', { runner_type: 'instance_type' }, maker.token);
    expect([made.status, made.json.token.slice(0, 8)]).toEqual([201, 'glrt-t1_']);
    expect((await api(gitlab, 'POST', '/user/runners', { runner_type: 'instance_type' }, anna.token)).status).toBe(403);
    const bearer = await call(gitlab, 'GET', '/api/v4/user', undefined, { Authorization: `Bearer ${anna.token}` });
    expect(bearer.json).toMatchObject({ username: 'anna', is_admin: false });
    expect((await api(gitlab, 'GET', '/user')).json).toMatchObject({ id: 1, username: 'root', is_admin: true });
    const user = await api(gitlab, 'POST', '/users', { username: 'dora', force_random_password: true });
    const token = await api(gitlab, 'POST', `/users/${user.json.id}/personal_access_tokens`, {
      name: 't',
      scopes: ['api'],
    });
    expect((await api(gitlab, 'GET', '/user', undefined, token.json.token)).json.username).toBe('dora');
    const self = '/personal_access_tokens/self';
    const ends = '2027-01-01';
    const next = await api(gitlab, 'POST', `${self}/rotate`, { expires_at: ends }, token.json.token);
    expect(next).toMatchObject({ status: 200, json: { name: 't', scopes: ['api'], expires_at: ends } });
    expect((await api(gitlab, 'GET', self, undefined, token.json.token)).status).toBe(401);
    expect((await api(gitlab, 'GET', self, undefined, next.json.token)).json).toMatchObject({
      name: 't',
      active: true,
    });
  });

  it('pages lists with Link and X-Next-Page, and narrows jobs by scope', async () => {
    const gitlab = await practice();
    const id = await project(gitlab, 'a: {script: x, parallel: 45}\nz: {stage: deploy, script: x}\n');
    const first = await api(gitlab, 'GET', `/projects/${id}/jobs?scope[]=pending&per_page=20`);
    expect([first.json.length, first.json[0].id, first.headers.get('x-next-page')]).toEqual([20, 45, '2']);
    expect(first.headers.get('link')).toContain('rel="next"');
    expect(first.headers.get('x-total')).toBeNull();
    const last = await api(gitlab, 'GET', `/projects/${id}/jobs?scope[]=pending&scope[]=created&page=3`);
    expect([last.json.length, last.headers.get('x-next-page')]).toEqual([6, '']);
    expect((await api(gitlab, 'GET', `/projects/${id}/jobs?scope[]=nonsense`)).status).toBe(400);
  });

  it('runners: validation in GitLab’s words, verify, managers, unregister, registration token', async () => {
    const gitlab = await practice();
    const bad = await api(gitlab, 'POST', '/user/runners', { runner_type: 'instance_type', run_untagged: false });
    expect([bad.status, Object.keys(bad.json.message)]).toEqual([400, ['tags_list']]);
    expect((await api(gitlab, 'POST', '/user/runners', { runner_type: 'nonsense' })).json.error).toContain(
      'runner_type',
    );
    expect(
      (await api(gitlab, 'POST', '/user/runners', { runner_type: 'instance_type', maximum_timeout: 5 })).status,
    ).toBe(400);
    const taker = await runner(gitlab, { tag_list: ['a', 'b'], run_untagged: false, description: 'autogit a' });
    const system = {
      token: taker.token,
      system_id: 's_1',
      info: { version: '19.3.0', platform: 'linux', architecture: 'arm64' },
    };
    expect((await call(gitlab, 'POST', '/api/v4/runners/verify', system)).json).toEqual({
      id: taker.id,
      token: taker.token,
      token_expires_at: null,
    });
    expect((await call(gitlab, 'POST', '/api/v4/runners/verify', { token: 'x' })).status).toBe(403);
    expect((await api(gitlab, 'GET', `/runners/${taker.id}/managers`)).json).toMatchObject([
      { system_id: 's_1', architecture: 'arm64', status: 'online' },
    ]);
    expect((await api(gitlab, 'GET', `/runners/${taker.id}`)).json).toMatchObject({
      tag_list: ['a', 'b'],
      run_untagged: false,
      status: 'online',
    });
    expect((await api(gitlab, 'GET', '/runners/all?tag_list=a&type=instance_type')).json).toHaveLength(1);
    expect(
      (await call(gitlab, 'DELETE', '/api/v4/runners/managers', { token: taker.token, system_id: 's_1' })).status,
    ).toBe(204);
    expect((await call(gitlab, 'DELETE', '/api/v4/runners', { token: taker.token })).status).toBe(204);
    expect((await api(gitlab, 'GET', `/runners/${taker.id}`)).status).toBe(404);
    expect((await call(gitlab, 'POST', '/api/v4/runners', { token: 'wrong' })).status).toBe(403);
  });
});

describe('health, pages and bad input', () => {
  it('probes answer this machine and 404 to others; version needs a token', async () => {
    const gitlab = await practice();
    expect((await call(gitlab, 'GET', '/-/health')).text).toBe('GitLab OK');
    expect((await call(gitlab, 'GET', '/-/readiness')).json).toEqual({
      status: 'ok',
      master_check: [{ status: 'ok' }],
    });
    expect((await call(gitlab, 'GET', '/-/liveness')).json).toEqual({ status: 'ok' });
    expect((await call(gitlab, 'GET', '/help')).headers.get('content-type')).toContain('text/html');
    expect((await call(gitlab, 'GET', '/api/v4/version')).status).toBe(401);
    expect((await api(gitlab, 'GET', '/version')).json).toMatchObject({
      version: '19.3.0-practice',
      enterprise: false,
    });
    const far = await practice({ monitoring: ['10.0.0.0/8'] });
    expect((await call(far, 'GET', '/-/health')).status).toBe(404);
  });

  it('pages say what they are and escape what came from outside', async () => {
    const gitlab = await practice();
    await project(gitlab, '"<script>alert(1)</script>": {script: x}\n');
    const job = await (await runner(gitlab)).take();
    const headers = { 'JOB-TOKEN': job.token, 'Content-Range': '0-99' };
    await call(gitlab, 'PATCH', `/api/v4/jobs/${job.id}/trace`, '<img src=x onerror=alert(2)>', headers);
    for (const path of ['/', '/root/lab', '/root/lab/-/pipelines/1', `/root/lab/-/jobs/${job.id}`]) {
      const page = await call(gitlab, 'GET', path);
      expect(page.status).toBe(200);
      expect(page.text).toContain('practice GitLab, not GitLab');
      expect(page.text).not.toMatch(/<script>|<img/);
      expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
    }
    expect((await call(gitlab, 'GET', '/root/lab/-/pipelines/1')).text).toContain('&#60;script&#62;');
  });

  it.each([
    ['GET', '/nowhere', 404],
    ['GET', '/api/v4/nowhere', 404],
    ['PATCH', '/api/v4/projects', 405],
    ['GET', '/api/v4/runners/abc', 400],
    ['GET', '/api/v4/projects/%', 400],
    ['GET', '/%', 400],
    ['GET', '//evil.example/x', 404],
    ['GET', '/api/v4/projects/1/jobs?per_page=x', 404],
  ])('%s %s answers %i, in words, and the server stays up', async (method, path, status) => {
    const gitlab = await practice();
    const answer = await call(gitlab, method, path, undefined, { 'PRIVATE-TOKEN': gitlab.adminToken });
    expect(answer.status).toBe(status);
    expect(answer.text.length).toBeGreaterThan(3);
    expect((await call(gitlab, 'GET', '/-/health')).status).toBe(200);
  });

  it('refuses bodies that are too large or of a wrong shape', async () => {
    const gitlab = await practice();
    expect((await api(gitlab, 'POST', '/projects', { path: 'x', description: 'y'.repeat(1_200_000) })).status).toBe(
      413,
    );
    expect((await api(gitlab, 'POST', '/projects', { path: '../etc' })).status).toBe(400);
    expect((await api(gitlab, 'POST', '/projects', { path: 5 })).json.error).toBe('path is invalid');
    expect((await api(gitlab, 'POST', '/projects', '[1]')).status).toBe(400);
    expect((await api(gitlab, 'POST', '/projects', {})).status).toBe(400);
    await api(gitlab, 'POST', '/projects', { path: 'x' });
    expect((await api(gitlab, 'POST', '/projects', { path: 'x' })).json.message.path).toEqual([
      'has already been taken',
    ]);
    gitlab.faults.broken = 1;
    expect((await api(gitlab, 'GET', '/user')).status).toBe(500);
    expect((await api(gitlab, 'GET', '/user')).status).toBe(200);
  });
});
