import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import {
  type PracticeGitlab,
  type PracticeOptions,
  startPractice,
} from '../../gitlab-bridge/practice/practice-gitlab.ts';
import { pushFiles } from '../../gitlab-bridge/practice/sample-project.ts';

/** A practice GitLab for one test, and small clients that speak to it over real HTTP and with real git. */

const cleanUp: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const work of cleanUp.splice(0).reverse()) await work();
});

export const temporary = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'practice-test-'));
  cleanUp.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
};

/** Long polls are off unless a test asks for them. */
export const practice = async (options: Partial<PracticeOptions> = {}): Promise<PracticeGitlab> => {
  const started = await startPractice({ dataDir: options.dataDir ?? temporary(), longPollMs: 0, ...options });
  cleanUp.push(() => started.stop().catch(() => {}));
  return started;
};

export interface Reply {
  status: number;
  headers: Headers;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely here
  json: any;
}

const reply = async (response: Response): Promise<Reply> => {
  const text = await response.text();
  let json: unknown = null;
  try {
    json = JSON.parse(text);
  } catch {
    // not JSON
  }
  return { status: response.status, headers: response.headers, text, json };
};

export const call = async (
  gitlab: { url: string },
  method: string,
  path: string,
  body: unknown = undefined,
  headers: Record<string, string> = {},
): Promise<Reply> => {
  const raw = typeof body === 'string' || body instanceof Uint8Array || body instanceof FormData;
  return reply(
    await fetch(`${gitlab.url}${path}`, {
      method,
      headers: { ...(body === undefined || raw ? {} : { 'Content-Type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: raw ? (body as string) : JSON.stringify(body) }),
    }),
  );
};

/** As the administrator, on /api/v4. */
export const api = (gitlab: PracticeGitlab, method: string, path: string, body?: unknown, token = gitlab.adminToken) =>
  call(gitlab, method, `/api/v4${path}`, body, { 'PRIVATE-TOKEN': token });

export const graphql = async (gitlab: PracticeGitlab, query: string, token: string | null = gitlab.adminToken) =>
  (await call(gitlab, 'POST', '/api/graphql', { query }, token === null ? {} : { 'PRIVATE-TOKEN': token })).json;

/** Creates a project and pushes files by real git: a pipeline starts. Returns the project's id. */
export const project = async (
  gitlab: PracticeGitlab,
  ci: string,
  path = 'lab',
  more: Record<string, string> = {},
  token = gitlab.adminToken,
): Promise<number> => {
  const made = await api(gitlab, 'POST', '/projects', { path }, token);
  if (made.status !== 201) throw new Error(made.text);
  await pushFiles(made.json.http_url_to_repo, token, { '.gitlab-ci.yml': ci, ...more }, 'First commit');
  return made.json.id;
};

export const allFeatures = Object.fromEntries(
  [
    'cancel_gracefully',
    'upload_multiple_artifacts',
    'artifacts_exclude',
    'return_exit_code',
    'fallback_cache_keys',
  ].map((name) => [name, true]),
);

export class TestRunner {
  readonly id: number;
  readonly token: string;
  readonly gitlab: PracticeGitlab;
  lastUpdate: string | null = null;
  constructor(gitlab: PracticeGitlab, made: { id: number; token: string }) {
    this.gitlab = gitlab;
    this.id = made.id;
    this.token = made.token;
  }
  request(more: Record<string, unknown> = {}, features: Record<string, boolean> = allFeatures): Promise<Reply> {
    const info = {
      name: 'gitlab-runner',
      version: '19.3.0',
      platform: 'linux',
      architecture: 'amd64',
      executor: 'shell',
      features,
    };
    return call(this.gitlab, 'POST', '/api/v4/jobs/request', { token: this.token, system_id: 's_test', info, ...more });
  }
  /** The next job; throws when there is none. */
  // biome-ignore lint/suspicious/noExplicitAny: the payload is looked into freely
  async take(): Promise<any> {
    const taken = await this.request();
    if (taken.status !== 201) throw new Error(`no job: ${taken.status} ${taken.text}`);
    return taken.json;
  }
}

export const runner = async (gitlab: PracticeGitlab, settings: Record<string, unknown> = {}): Promise<TestRunner> => {
  const made = await api(gitlab, 'POST', '/user/runners', { runner_type: 'instance_type', ...settings });
  if (made.status !== 201) throw new Error(made.text);
  return new TestRunner(gitlab, made.json);
};

export interface Taken {
  id: number;
  token: string;
}

export const patch = (
  gitlab: PracticeGitlab,
  job: Taken,
  text: string | Uint8Array,
  start: number,
  token = job.token,
) =>
  call(gitlab, 'PATCH', `/api/v4/jobs/${job.id}/trace`, text, {
    'JOB-TOKEN': token,
    'Content-Type': 'text/plain',
    'Content-Range': `${start}-${start + text.length - 1}`,
  });

export const put = (gitlab: PracticeGitlab, job: Taken, state: string, more: Record<string, unknown> = {}) =>
  call(gitlab, 'PUT', `/api/v4/jobs/${job.id}`, { token: job.token, state, ...more });

export const upload = (gitlab: PracticeGitlab, job: Taken, bytes: string, query = '', token = job.token) => {
  const form = new FormData();
  form.set('file', new Blob([bytes]), 'artifacts.zip');
  return call(gitlab, 'POST', `/api/v4/jobs/${job.id}/artifacts${query}`, form, { 'JOB-TOKEN': token });
};

/** Statuses of a project's newest pipeline by job name, and its own. */
export const statuses = async (gitlab: PracticeGitlab, id: number): Promise<Record<string, string>> => {
  const [newest] = (await api(gitlab, 'GET', `/projects/${id}/pipelines`)).json;
  const jobs = (await api(gitlab, 'GET', `/projects/${id}/pipelines/${newest.id}/jobs?per_page=100`)).json;
  const byName = Object.fromEntries(jobs.map((job: { name: string; status: string }) => [job.name, job.status]));
  return { ...byName, pipeline: newest.status };
};
