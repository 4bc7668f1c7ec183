import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { counting, formMesh, pipelineEnd, runningJobs, settled, ticks, upTo } from './mesh.ts';
import { oldVersion } from './old-version.ts';
import { bin, Rig, type TestMachine, until } from './rig.ts';

/** The main of before issue 7: secrets sealed by the mesh key, the mesh key in the clear in each store. */
const before = '5a643bc';

describe('an upgrade, machine by machine', () => {
  const rig = new Rig();
  let machines: TestMachine[] = [];
  /** All of the mesh: with them attic, until it is removed before it was upgraded. */
  let members: TestMachine[] = [];
  let token = '';

  beforeAll(async () => {
    const gitlab = rig.practice();
    await gitlab.start();
    const old = oldVersion(before, join(rig.dir, 'old-version'));
    const names = ['kang', 'desktop-1', 'desktop-2', 'attic'];
    // As such homes were made: by root, and without a word about who jobs are.
    const args = Object.fromEntries(names.map((name) => [name, ['--executor', 'process']]));
    members = await formMesh(rig, names, { bin: old, args });
    machines = members.slice(0, 3);
    const body = JSON.stringify({ name: 'autogit', scopes: ['api', 'admin_mode'] });
    token = (await gitlab.api<{ token: string }>('/users/1/personal_access_tokens', { method: 'POST', body })).token;
    machines[0]!.env.PRACTICE_TOKEN = token;
    const connected = await machines[0]!.cli('gitlab', 'connect', gitlab.url, '--token-env', 'PRACTICE_TOKEN');
    expect(connected.stderr).not.toContain('error');
  }, 180_000);

  afterAll(() => rig.clean());

  /** The first new machine beside two old voters, one of which leads. */
  async function besideOlder(): Promise<void> {
    const [kang, old] = machines as [TestMachine, TestMachine];
    const project = await rig.gitlab!.push('cut', {
      '.gitlab-ci.yml': 'cut: { tags: [node-kang], script: ["echo begun; sleep 300"] }',
    });
    const job = await until('it runs on the new machine', async () => {
      const [found] = await runningJobs(rig, project);
      return found && (await rig.gitlab!.trace(project, found.id)).includes('begun') && found.id;
    });
    expect((await kang.cli('cancel', String(job))).stdout).toContain(`job ${job} (cut) is being canceled`);
    await until('old and new machine agree that it is over', async () => {
      const rows = [...(await kang.jobs()), ...(await old.jobs())].filter((row) => row.job === job);
      return rows.length === 2 && rows.every(({ state }) => state === 'canceled');
    });
    const { code, stderr } = await kang.cli('gitlab', 'disconnect', '--yes');
    expect([code, stderr]).toEqual([1, expect.stringMatching(/run an earlier version, .*: upgrade them first/)]);
    expect((await old.status()).gitlab.mode).toBe('connected');
  }

  /** By a new machine, while an old one is there and may lead: that one changes nothing of what attic knew. */
  async function forgetAttic(): Promise<void> {
    expect((await machines[0]!.cli('forget', 'attic', '--yes')).code).toBe(0);
    members = machines;
    await settled(members);
  }

  /** Once all are new: GitLab's token too, whoever led when attic was removed. */
  async function nothingThatAtticKnew(): Promise<void> {
    const headers = { 'private-token': token };
    const user = `${rig.gitlab!.url}/api/v4/user`;
    await until("GitLab's token is another one", async () => (await fetch(user, { headers })).status === 401);
    await until('nothing is left to change', async () => {
      const { attention } = await machines[0]!.status();
      return !attention.some(({ code }) => code === 'secrets-known');
    });
  }

  it('of a mesh of the commit before: its running job goes on, N and N-1 are one mesh, new jobs run at every step', async () => {
    const gitlab = rig.gitlab!;
    const long = await gitlab.push('long', {
      '.gitlab-ci.yml': `count: { tags: [node-desktop-1], script: ['${counting(200)}'] }`,
    });
    await until('the script has begun', async () => {
      const [job] = await runningJobs(rig, long);
      return job && ticks(await gitlab.trace(long, job.id)).length > 0;
    });
    for (const [index, machine] of machines.entries()) {
      await machine.kill('SIGTERM');
      machine.bin = bin;
      machine.output = '';
      machine.join('--executor', 'process', '--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns');
      await settled(members);
      if (index === 0) await besideOlder();
      if (index === 1) await forgetAttic();
      const step = await gitlab.push(`step-${index}`, {
        '.gitlab-ci.yml': machines
          .map(({ name }) => `on-${name}: { tags: [node-${name}], script: ["echo here"] }`)
          .join('\n'),
      });
      const { jobs } = await pipelineEnd(rig, step, 60_000);
      expect(jobs.map(({ name, status }) => [name, status]).sort(), `after ${machine.name}`).toEqual([
        ['on-desktop-1', 'success'],
        ['on-desktop-2', 'success'],
        ['on-kang', 'success'],
      ]);
    }
    await nothingThatAtticKnew();
    const { jobs } = await pipelineEnd(rig, long, 90_000);
    expect(jobs.map(({ name, status }) => [name, status])).toEqual([['count', 'success']]);
    expect(ticks(await gitlab.trace(long, jobs[0]!.id))).toEqual(upTo(200));
    expect((await machines[1]!.cli('gitlab', 'disconnect', '--yes')).stdout).toMatch(
      /is disconnected, \d+ runners deleted/,
    );
  }, 240_000);
});
