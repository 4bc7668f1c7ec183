import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { GitlabEffects } from '../../node/agent/gitlab-effects.ts';
import type { Executor } from '../../node/ports.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { RunFault } from '../../protocol/job-fault.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Happened } from '../../scheduler/inputs.ts';
import { plainText, RunLab, until } from './run-lab.ts';

let lab: RunLab;
afterEach(() => lab.stop());
const fails = { '.gitlab-ci.yml': 'only:\n  script: ["echo begun; exit 3"]\n' };

/** Everything of the usual executor but what begins a place. */
const withoutPlace = (executor: Executor, error: Error): Executor =>
  Object.assign(Object.create(executor) as Executor, {
    prepare: async (): Promise<never> => {
      throw error;
    },
    kind: executor.kind,
    features: executor.features,
    adopt: async () => null,
    sweep: async () => [],
  });

/** What the leader hears of GitLab when it asks for something with that token. */
async function heard(
  url: string,
  token: string,
  act: (handlers: ReturnType<GitlabEffects['handlers']>) => void,
): Promise<Happened | undefined> {
  const fed: Happened[] = [];
  const gitlab = { mode: 'connected', url, token };
  const effects = new GitlabEffects({
    ledger: () => ({ gitlab, classes: {}, mesh: { id: 'mesh-1' } }) as unknown as Ledger,
    seal: (text) => text,
    unseal: (text) => text,
    feed: (happened) => void fed.push(happened),
    warn: () => undefined,
  });
  act(effects.handlers());
  await until('an answer', () => fed.length > 0);
  return fed[0];
}

describe('a job that GitLab gave away, and whose answer got lost (SAFETY J3, server-double S1)', () => {
  const ask = (act: Parameters<typeof heard>[2]) => heard(lab.gitlab.url, lab.gitlab.adminToken, act);
  const lose = async (): Promise<void> => {
    lab.gitlab.faults.lostAnswers = 1;
    expect(await lab.take()).toMatchObject({ kind: 'failed', maybeTaken: true });
  };

  it('is ended by force, as its runner never answers a cancel, and tried again; a canceling one is found, and only ended', async () => {
    lab = await RunLab.start(fails);
    await lab.agent();
    await lose();
    const running = await ask((handlers) =>
      handlers['compare-runs']({ kind: 'compare-runs', runners: [lab.runnerId] }),
    );
    expect(running).toMatchObject({ kind: 'runs-compared', running: [{ job: 1, projectId: lab.projectId }] });
    const rescue = (job: number, retry: boolean) =>
      ask((handlers) =>
        handlers['rescue-job']({ kind: 'rescue-job', projectId: lab.projectId, job, retry, because: 'x' }),
      );
    expect(await rescue(1, true)).toMatchObject({ kind: 'job-rescued', job: 1, done: true });
    expect(await lab.admin.job(lab.projectId, 1)).toMatchObject({ status: 'canceled', retried: true });

    // Its second try is lost as well, and a person cancels that.
    await lose();
    await lab.admin.cancelJob(lab.projectId, 2);
    expect(await lab.admin.job(lab.projectId, 2)).toMatchObject({ status: 'canceling' });
    const canceling = await ask((handlers) =>
      handlers['compare-runs']({ kind: 'compare-runs', runners: [lab.runnerId] }),
    );
    expect(canceling).toMatchObject({ running: [{ job: 2, canceling: true }] });
    expect(await rescue(2, false)).toMatchObject({ job: 2, done: true });
    expect(await lab.admin.job(lab.projectId, 2)).toMatchObject({ status: 'canceled', retried: false });
    expect(await lab.take()).toMatchObject({ kind: 'empty' });
  }, 60_000);
});

describe('whose fault the end of a run is (SAFETY J10)', () => {
  it.each<[string, Error, RunFault | null, string]>([
    [
      'a registry that does not answer',
      new AutogitError('registry-away', 'no such host', { server: 'registry.example' }),
      { kind: 'network', begun: false, server: 'registry.example' },
      'image_pull_failure',
    ],
    ['an image that is not there', new AutogitError('image-missing', 'manifest unknown'), null, 'image_pull_failure'],
    [
      'an engine that is away',
      new AutogitError('no-docker', 'it hangs'),
      { kind: 'machine', begun: false },
      'runner_system_failure',
    ],
    [
      'a place that cannot be made',
      new AutogitError('executor-failed', 'no uid is free'),
      { kind: 'environment', begun: false },
      'runner_system_failure',
    ],
    ['a wrong image name', new AutogitError('bad-config', 'no path'), null, 'runner_configuration_error'],
  ])('%s', async (_what, error, fault, reason) => {
    lab = await RunLab.start(fails);
    const usual = lab.executor;
    lab.executor = () => withoutPlace(usual(), error);
    await lab.agent();
    const ended = await lab.ended(await lab.begin());
    expect([ended.fault ?? null, ended.result?.reason]).toEqual([fault, reason]);
    const trace = plainText(await lab.traceAt(ended));
    expect(trace.includes('Nothing of its script has run: the mesh may try it again on another machine')).toBe(
      fault !== null,
    );
  });

  it('a script that fails by itself, and one that fails while the disk is full, once nothing of it is left', async () => {
    lab = await RunLab.start(fails);
    await lab.agent();
    const own = await lab.ended(await lab.begin());
    expect([own.result?.reason, own.fault]).toEqual(['script_failure', undefined]);
    await lab.stopAgent();
    lab.more = { diskWasFull: () => true };
    await lab.agent();
    await lab.admin.retryJob(lab.projectId, own.job);
    const ended = await lab.ended(await lab.begin());
    expect([ended.result?.reason, ended.fault]).toEqual(['runner_system_failure', { kind: 'machine', begun: true }]);
    expect(plainText(await lab.traceAt(ended))).toContain('Its script had begun: it runs again by its retry:');
  });
});

describe('another try of a job', () => {
  const call = async <T>(path: string, token: string, body?: object): Promise<T> => {
    const answer = await fetch(`${lab.gitlab.url}/api/v4${path}`, {
      ...(body && { method: 'POST', body: JSON.stringify(body) }),
      headers: { 'PRIVATE-TOKEN': token, 'Content-Type': 'application/json' },
    });
    return (await answer.json()) as T;
  };
  const tokenOf = async (user: number, scopes: string[]): Promise<string> =>
    (
      await call<{ token: string }>(`/users/${user}/personal_access_tokens`, lab.gitlab.adminToken, {
        name: 't',
        scopes,
      })
    ).token;

  /** What the leader hears when it asks for another try with that token. */
  const retried = (
    token: string,
    projectId: number,
    job: number,
    url = lab.gitlab.url,
  ): Promise<Happened | undefined> =>
    heard(url, token, (handlers) =>
      handlers['retry-job']({ kind: 'retry-job', run: 'r', projectId, job, because: 'x' }),
    );

  it.each([
    ['a proxy answers for it, of job 404', 502, 'text/plain', false],
    ['a page is there instead', 404, 'text/html', false],
    ['GitLab itself knows no such job', 404, 'application/json', true],
  ])('is asked for again where %s: %i of %s', async (_what, status, type, done) => {
    lab = await RunLab.start(fails);
    const instead = createServer((_, response) => response.writeHead(status, { 'content-type': type }).end('{}'));
    await once(instead.listen(0, '127.0.0.1'), 'listening');
    try {
      const url = `http://127.0.0.1:${(instead.address() as AddressInfo).port}`;
      expect(await retried('t', 7, 404, url)).toMatchObject({ done, made: false });
    } finally {
      instead.close();
    }
  });

  it('is of its own user, or there is none: never of the administrator whose token the mesh has', async () => {
    lab = await RunLab.start(fails);
    const { id: user } = await call<{ id: number }>('/users', lab.gitlab.adminToken, {
      ...{
        username: 'ada',
        name: 'Ada',
        email: 'ada@lab.home',
        password: 'a-long-password-1',
        skip_confirmation: true,
      },
    });
    const ada = await tokenOf(user, ['api', 'write_repository']);
    const project = await call<{ id: number; http_url_to_repo: string }>('/projects', ada, { name: 'hers' });
    const address = Object.assign(new URL(project.http_url_to_repo), { username: 'ada', password: ada });
    await lab.git('push', '-q', address.href, 'HEAD:main');
    await lab.agent();
    await lab.ended(await lab.begin());
    const hers = await lab.begin();
    expect(hers.projectId).toBe(project.id);
    await lab.ended(hers);

    const plain = await tokenOf(1, ['api', 'admin_mode']);
    expect(await retried(plain, project.id, hers.job)).toMatchObject({
      done: true,
      made: false,
      because: expect.stringContaining('the token needs scope sudo'),
    });
    expect((await lab.admin.job(project.id, hers.job)).retried).toBe(false);

    const sudo = await tokenOf(1, ['api', 'admin_mode', 'sudo']);
    expect(await retried(sudo, project.id, hers.job)).toMatchObject({ done: true, made: true });
    const next = await lab.begin();
    expect(lab.gitlab.job(next.job)).toMatchObject({ userId: user });
    // Asked late or twice it makes nothing.
    expect(await retried(sudo, project.id, hers.job)).toMatchObject({
      made: true,
      because: expect.stringContaining('by itself, or somebody'),
    });
    await lab.ended(next);
    expect(await lab.take()).toMatchObject({ kind: 'empty' });
  });
});
