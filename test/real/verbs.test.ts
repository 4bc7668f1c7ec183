import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import setUpBundle from '../e2e/bundle.ts';
import { formMesh, pipelineEnd } from '../e2e/mesh.ts';
import { asRoot, Rig, type TestMachine, until } from '../e2e/rig.ts';
import { freePort } from '../fixtures/free-port.ts';

/** What people do to jobs, on a machine that does not vote and holds no token: it is drained. */
describe('cancel, retry and logs from a plain machine', () => {
  const rig = new Rig();
  let kang: TestMachine;
  let plain: TestMachine;
  let project = 0;
  const go = join(rig.dir, 'go');

  beforeAll(async () => {
    setUpBundle();
    const gitlab = rig.practice();
    await gitlab.start();
    const env = { kang: { AUTOGIT_WEBHOOK: `127.0.0.1:${await freePort()}` } };
    const own = (label: string): string[] => ['--executor', 'process', ...asRoot, '--label', label];
    const args = { kang: own('one'), 'desktop-1': own('two') };
    const machines = await formMesh(rig, ['kang', 'desktop-1', 'plain'], { args, env });
    [kang, , plain] = machines as [TestMachine, TestMachine, TestMachine];
    kang.env.PRACTICE_TOKEN = gitlab.token;
    await done(kang, 'drain', 'plain');
    await done(kang, 'gitlab', 'connect', gitlab.url, '--token-env', 'PRACTICE_TOKEN');
    await until('plain votes no more', async () => !(await plain.status()).quorum.voters.includes('plain'));
    project = await gitlab.push('verbs', {
      '.gitlab-ci.yml': [
        'silent:',
        '  script: ["echo begun; sleep 600; echo never"]',
        `  after_script: ["echo cleaning; until test -e ${go}; do sleep 0.2; done; echo cleaned up"]`,
        'waits: { tags: [nowhere], script: ["echo never"] }',
        'breaks: { script: ["test -e /proc/self/nothing"] }',
        'keeps: { tags: [one], cache: { key: k, paths: [w] }, script: ["mkdir w; head -c 3000000 /dev/urandom > w/noise; md5sum w/noise"] }',
        'takes: { tags: [two], cache: { key: k, paths: [w] }, script: ["md5sum w/noise"], needs: [keeps] }',
        `talks: { script: ["seq 1 60000 | sed 's/^/tick /'"] }`,
      ].join('\n'),
    });
  }, 60_000);
  afterAll(() => rig.clean());

  const done = async (machine: TestMachine, ...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await machine.cli(...args);
    expect(`${args.join(' ')}: ${code} ${stderr}`).toMatch(/: 0 /);
    return stdout;
  };
  const refused = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await plain.cli(...args);
    expect([code, stdout, stderr]).toEqual([1, '', expect.stringMatching(/^error: .*\nfix: ./)]);
    return stderr;
  };
  const row = async (name: string) => (await plain.jobs()).find((one) => one.name === name);
  const atGitlab = (job: number) => rig.gitlab!.api<{ status: string }>(`/projects/${project}/jobs/${job}`);

  it('every machine says in status that a job fits no machine, though only the leader knows the queue', async () => {
    const line = { code: 'tags-unsatisfiable', severity: 'warn', sentence: expect.stringContaining('nowhere') };
    for (const machine of [kang, plain])
      await until('it stands in status', async () => {
        const { attention } = await machine.status();
        const found = attention.filter(({ code }) => code === 'tags-unsatisfiable');
        if (found.length > 0) expect(found).toEqual([expect.objectContaining(line)]);
        return found.length > 0;
      });
  });

  it('a cache that one machine keeps is there for the next job on another one', async () => {
    const gitlab = rig.gitlab!;
    const trace = (name: string) =>
      until(`${name} has ended`, async () => {
        const found = await row(name);
        const text = found ? await gitlab.trace(project, found.job) : '';
        return /Job (succeeded|failed)/.test(text) && text;
      });
    const [kept, taken] = [await trace('keeps'), await trace('takes')];
    const sum = /[0-9a-f]{32} {2}w\/noise/.exec(kept)?.[0] ?? 'none';
    expect(kept).toContain('kept on kang');
    expect(taken).toMatch(/Fetching it from kang: 2\.9 MiB[\s\S]*Successfully extracted cache/);
    expect(taken).toContain(sum);
    expect(await done(kang, 'cache')).toMatch(/^root\/verbs\t\d+\t.*\tk-protected\n$/);
  });

  it('a silent script is ended within 5 s, its after_script runs, and it is canceling until then', async () => {
    const gitlab = rig.gitlab!;
    const { job } = await until('it runs', async () => {
      const found = await row('silent');
      return found && (await gitlab.trace(project, found.job)).includes('begun') && found;
    });
    const canceled = done(plain, 'cancel', 'silent');
    await until('GitLab cancels it', async () => (await atGitlab(job)).status === 'canceling');
    const began = performance.now();
    await until('the script has ended', async () => (await gitlab.trace(project, job)).includes('cleaning\n'));
    expect(performance.now() - began).toBeLessThan(5_000);
    expect(await canceled).toMatch(
      new RegExp(`^job ${job} \\(silent\\) is being canceled: its script ends within seconds`),
    );
    await until('jobs says so', async () => (await row('silent'))?.state === 'canceling');
    writeFileSync(go, '');
    await until('it is over', async () => (await row('silent'))?.state === 'canceled');
    expect((await atGitlab(job)).status).toBe('canceled');
    const trace = await gitlab.trace(project, job);
    expect(trace).toContain('cleaned up');
    expect(trace).not.toContain('never\n');
    expect(await done(plain, 'cancel', String(job))).toBe(`job ${job} (silent) is canceled already\n`);
    const leader = (await plain.status()).leader?.node;
    const acted = rig.machines.find(({ name }) => name === leader);
    expect(acted?.events('job-wish')).toMatchObject([{ job, msg: expect.stringContaining('as plain asked') }]);
  });

  it('one that waits is canceled too, and what cannot be is refused with what to type', async () => {
    const waits = await until('it waits', () => row('waits'));
    expect(JSON.parse(await done(plain, '--json', 'cancel', String(waits.job)))).toEqual({
      job: waits.job,
      said: `job ${waits.job} (waits) is canceled`,
      next: null,
    });
    expect((await atGitlab(waits.job)).status).toBe('canceled');
    const broken = await until('it failed', async () => {
      const found = await row('breaks');
      return found?.state === 'failed' && found;
    });
    expect(await refused('cancel', String(broken.job))).toMatch(
      new RegExp(`has ended already: failed\nfix: to run it again: autogit-node --home \\S+ retry ${broken.job}`),
    );
    expect(await refused('cancel', '987654')).toMatch(/knows no job 987654\nfix: .*autogit-node --home \S+ jobs --all/);
    expect(await refused('retry', 'talkz')).toMatch(/no job called talkz/);
    const again = await done(plain, 'retry', 'breaks');
    const next = Number(/runs again as job (\d+)/.exec(again)?.[1]);
    expect((await atGitlab(next)).status).toMatch(/pending|running|failed/);
    expect(await refused('retry', String(broken.job))).toMatch(/was tried again already/);
    await pipelineEnd(rig, project);
  });

  it('the trace of a job that is long over comes whole, piece by piece, from who holds the token', async () => {
    const talks = await until('it is done', async () => {
      const found = await row('talks');
      return found?.state === 'done' && found;
    });
    const whole = await rig.gitlab!.trace(project, talks.job);
    expect(whole.length).toBeGreaterThan(500_000);
    expect(await done(plain, 'logs', String(talks.job))).toBe(whole);
  });

  it('webhook test: what each door says, by a machine that may lead; why there is none; and what is shown of it', async () => {
    const gitlab = rig.gitlab!;
    const address = `http://${kang.env.AUTOGIT_WEBHOOK}`;
    const blocked = await kang.cli('webhook', 'test');
    expect([blocked.code, blocked.stdout]).toEqual([1, expect.stringContaining('kang\t-\tGitLab has no hook to it')]);
    expect((await kang.cli('gitlab')).stdout).toContain(`webhook\t${address}, GitLab sends no webhooks to 127.0.0.1:`);
    const body = JSON.stringify({ allow_local_requests_from_web_hooks_and_services: true });
    await gitlab.api('/application/settings', { method: 'PUT', body });
    const rows = (await done(kang, 'webhook', 'test')).trim().split('\n');
    expect(rows).toEqual([
      expect.stringMatching(/^desktop-1\t-\tGitLab has no hook to it/),
      expect.stringMatching(new RegExp(`^kang\t${address}/autogit/\\S+\theard: `)),
    ]);
    expect(await done(kang, 'gitlab')).toMatch(/^webhook\thttp:\S+, hooks in 1 project; the last came 20/m);
    expect((await kang.cli('doctor')).stdout).toMatch(
      /^ok\twebhook\tGitLab tells http:\S+ of 1 project; the last came/m,
    );
    expect(await refused('webhook', 'test')).toContain("this machine does not hold GitLab's token");
  });

  it('without a connected GitLab, or with one that is away: a sentence and a fix, in time', async () => {
    await rig.gitlab!.kill();
    const { job } = (await row('breaks'))!;
    const began = performance.now();
    expect(await refused('retry', String(job))).toMatch(/GitLab does not retry job .*gave no whole answer/);
    expect(performance.now() - began).toBeLessThan(20_000);
    const lone = rig.machine('lone');
    lone.join('--new', 'other', '--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns');
    await until('it leads', async () => (await lone.status()).leader);
    const { code, stderr } = await lone.cli('cancel', '5');
    expect([code, stderr]).toEqual([1, expect.stringMatching(/no GitLab is connected.*\nfix: .*gitlab connect URL/)]);
  });
});
