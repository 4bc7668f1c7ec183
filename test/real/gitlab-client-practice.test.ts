import { afterEach, describe, expect, it } from 'vitest';
import { createGitlabAdmin } from '../../gitlab-bridge/gitlab-admin.ts';
import {
  readTokenEnd,
  revokeAdminToken,
  rotateAdminToken,
  secondAdminToken,
} from '../../gitlab-bridge/gitlab-tokens.ts';
import { RunLab } from './run-lab.ts';

/** The admin client against the practice GitLab, which speaks as GitLab 19 does. */
let lab: RunLab;
afterEach(() => lab.stop());

const jobs = (count: number): string =>
  Array.from({ length: count }, (_, i) => `job${i}:\n  tags: [t${i % 3}, linux]\n  script: ["true"]\n`).join('');

describe('admin client', () => {
  it('reads the whole queue, oldest first, with tags', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': jobs(230) });
    const { jobs: queue, complete } = await lab.admin.readQueue(2000);
    expect(complete).toBe(true);
    expect(queue.map(({ job }) => job)).toEqual(Array.from({ length: 230 }, (_, i) => i + 1));
    expect(queue[4]).toMatchObject({ name: 'job4', project: 'root/sample', projectId: lab.projectId, ref: 'main' });
    expect([...(queue[4]?.tags ?? [])].sort()).toEqual(['linux', 't1']);
    expect(queue[4]?.queuedAt).toBeGreaterThan(Date.now() - 60_000);
    expect(new Set(queue.map(({ pipeline }) => pipeline))).toEqual(new Set([1]));
    const some = await lab.admin.readQueue(7);
    expect(some.complete).toBe(false);
    expect(some.jobs.map(({ job }) => job)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });

  it('tells a stranger from an empty queue', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': jobs(2) });
    expect(await lab.admin.check()).toMatchObject({
      isAdmin: true,
      user: 'root',
      version: expect.stringMatching(/^19\./),
      maySudo: true,
    });
    const admin = lab.gitlab.createUser('carl', { admin: true, scopes: ['api'] });
    const plain = createGitlabAdmin({ url: lab.gitlab.url, token: admin.token, timeoutMs: 5000 });
    expect(await plain.check()).toMatchObject({ isAdmin: true, maySudo: false });
    const { token } = lab.gitlab.createUser('guest');
    const guest = createGitlabAdmin({ url: lab.gitlab.url, token, timeoutMs: 5000 });
    expect(await guest.check()).toMatchObject({ isAdmin: false, user: 'guest' });
    await expect(guest.readQueue(10)).rejects.toMatchObject({
      code: 'gitlab-refused',
      message: expect.stringMatching(/no admin/),
    });
  });

  it('knows when its token ends, and renews it for as long as GitLab allows; one that has ended opens nothing', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': jobs(1) });
    const { url } = lab.gitlab;
    const dayIn = (days: number): string => new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);
    const { token } = lab.gitlab.createUser('carl', { admin: true, scopes: ['api'], expiresOn: dayIn(5) });
    const holder = { url, token, timeoutMs: 5000 };
    expect(await readTokenEnd({ ...holder, token: lab.gitlab.adminToken })).toBeNull();
    expect(await readTokenEnd(holder)).toBe(dayIn(5));
    const same = await rotateAdminToken(holder);
    expect(await readTokenEnd({ ...holder, token: same })).toBe(dayIn(5));
    const longest = await rotateAdminToken({ ...holder, token: same }, 'longest');
    expect(await readTokenEnd({ ...holder, token: longest })).toBe(dayIn(364));
    for (const dead of [token, same])
      await expect(readTokenEnd({ ...holder, token: dead })).rejects.toMatchObject({ code: 'gitlab-refused' });
    // Beside it: as long, with the same rights, and the first goes on until it is told to end, once or twice.
    const second = await secondAdminToken({ ...holder, token: longest });
    for (const one of [second, longest]) {
      expect(await readTokenEnd({ ...holder, token: one })).toBe(dayIn(364));
      expect(await createGitlabAdmin({ url, token: one, timeoutMs: 5000 }).check()).toMatchObject({
        user: 'carl',
        maySudo: false,
      });
    }
    for (let count = 0; count < 2; count++) await revokeAdminToken({ ...holder, token: second });
    await expect(readTokenEnd({ ...holder, token: second })).rejects.toMatchObject({ code: 'gitlab-refused' });
    const guest = lab.gitlab.createUser('guest').token;
    await expect(secondAdminToken({ ...holder, token: guest })).rejects.toMatchObject({ code: 'gitlab-refused' });
    lab.gitlab.clock.advance(365 * 86_400_000);
    const admin = createGitlabAdmin({ url, token: longest, timeoutMs: 5000 });
    await expect(admin.readQueue(10)).rejects.toMatchObject({
      code: 'gitlab-refused',
      message: expect.stringMatching(/does not know this token, or it has ended/),
    });
  });

  it('makes, lists and deletes runners; sees, cancels and retries jobs', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'only: { script: ["sleep 600"] }\n' });
    const made = await lab.admin.createRunner({ tags: ['gpu', 'linux'], description: 'autogit mesh1 nonce7' });
    expect(made.token).toMatch(/^glrt-/);
    expect(await lab.admin.listOurRunners('autogit mesh1 ')).toEqual([
      { id: made.id, description: 'autogit mesh1 nonce7', nonce: 'nonce7' },
    ]);
    await lab.admin.deleteRunner(made.id);
    await lab.admin.deleteRunner(made.id);
    expect(await lab.admin.listOurRunners('autogit mesh1 ')).toEqual([]);
    expect(await lab.admin.runningJobs(made.id)).toEqual([]);

    await lab.agent();
    const run = await lab.begin();
    expect(run.pipeline).toBe(1);
    expect(await lab.admin.runningJobs(lab.runnerId)).toEqual([
      { job: run.job, projectId: lab.projectId, systemId: null, startedAt: expect.any(Number) },
    ]);
    expect(await lab.admin.job(lab.projectId, run.job)).toMatchObject({ status: 'running', retried: false });
    await lab.supervisor?.drop(run.run, 'test');
    const { failRun } = await import('../../gitlab-bridge/gitlab-runner.ts');
    await failRun({ url: lab.gitlab.url, job: run.job, token: Buffer.from(run.token, 'base64').toString() });
    expect(await lab.admin.job(lab.projectId, run.job)).toMatchObject({
      status: 'failed',
      failureReason: 'runner_system_failure',
      retried: false,
    });
    const next = await lab.admin.retryJob(lab.projectId, run.job);
    expect(next).toBeGreaterThan(run.job);
    expect(await lab.admin.job(lab.projectId, run.job)).toMatchObject({ retried: true });
    await lab.admin.cancelJob(lab.projectId, next);
    expect(lab.gitlab.job(next)).toMatchObject({ status: 'canceled' });
    expect((await lab.admin.trace(lab.projectId, run.job, 8)).toString()).toMatch(/^with autogit-node|^$/);
  });

  it('may lose the answer to a request: the job is taken, and said to be perhaps', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'only: { script: ["true"] }\n' });
    await lab.agent();
    lab.gitlab.faults.lostAnswers = 1;
    expect(await lab.take()).toMatchObject({ kind: 'failed', maybeTaken: true });
    expect(await lab.admin.runningJobs(lab.runnerId)).toMatchObject([{ job: 1 }]);
    expect(await lab.take()).toMatchObject({ kind: 'empty' });
  });
});
