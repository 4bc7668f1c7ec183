import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStore } from '../../node/store/level-store.ts';
import setUpBundle from '../e2e/bundle.ts';
import { formMesh, pipelineEnd } from '../e2e/mesh.ts';
import { bin, Rig, type TestMachine, until } from '../e2e/rig.ts';

describe('gitlab disconnect', () => {
  const rig = new Rig();
  let machines: TestMachine[] = [];
  let kang: TestMachine;

  beforeAll(async () => {
    setUpBundle();
    await rig.practice().start();
    machines = await formMesh(rig, ['kang', 'desktop-1', 'desktop-2']);
    kang = machines[0]!;
    kang.env.PRACTICE_TOKEN = rig.gitlab!.token;
    await connect();
  }, 60_000);
  afterAll(() => rig.clean());

  const connect = async (): Promise<void> => {
    const { code, stderr } = await kang.cli('gitlab', 'connect', rig.gitlab!.url, '--token-env', 'PRACTICE_TOKEN');
    expect([code, stderr]).toEqual([0, expect.not.stringContaining('error')]);
  };
  /** Of the practice GitLab's administrator, with these scopes, in a variable of kang's. */
  const tokenWith = async (variable: string, scopes: string[], days?: number): Promise<void> => {
    const ends = days === undefined ? {} : { expires_at: dayIn(days) };
    const body = JSON.stringify({ name: variable, scopes, ...ends });
    const path = '/users/1/personal_access_tokens';
    const made = await rig.gitlab!.api<{ token: string }>(path, { method: 'POST', body });
    kang.env[variable] = made.token;
  };
  const dayIn = (days: number): string => new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);
  const runners = async (): Promise<string[]> =>
    (await rig.gitlab!.api<{ description: string }[]>('/runners/all')).map(({ description }) => description);
  const push = (name: string, script: string): Promise<number> =>
    rig.gitlab!.push(name, { '.gitlab-ci.yml': `${name}: { script: ['${script}'] }` });
  const running = (name: string) =>
    until(`${name} runs`, async () =>
      (await kang.jobs()).find((row) => row.name === name && row.state === 'running' && row.startedAt !== null),
    );
  const gone = (machine: TestMachine) =>
    until(`${machine.name} knows no GitLab`, async () => (await machine.status()).gitlab.mode === 'none');

  it('a token without scope sudo is taken, with a warning, which status shows on each machine until one has it', async () => {
    const codes = async (): Promise<string[]> => (await machines[1]!.status()).attention.map(({ code }) => code);
    expect(await codes()).not.toContain('token-without-sudo');
    await tokenWith('PLAIN_TOKEN', ['api', 'admin_mode']);
    const plain = await kang.cli('gitlab', 'connect', rig.gitlab!.url, '--token-env', 'PLAIN_TOKEN');
    expect([plain.code, plain.stdout]).toEqual([
      0,
      expect.stringMatching(/is connected.*; warning: GitLab's token has no/s),
    ]);
    await until('the others say it', async () => (await codes()).includes('token-without-sudo'));
    const { fix } = (await kang.status()).attention.find(({ code }) => code === 'token-without-sudo')!;
    expect(fix).toContain(
      `scopes api and sudo in VAR, then: autogit-node gitlab connect ${rig.gitlab!.url} --token-env VAR`,
    );
    await connect();
    await until('it is mended', async () => !(await codes()).includes('token-without-sudo'));
  });

  it('a token that ends is said a month before on each machine, and renewed a week before: the new one works, the old is dead', async () => {
    const said = async () =>
      (await machines[1]!.status()).attention
        .filter(({ code }) => code === 'gitlab-token-ends')
        .map(({ sentence }) => sentence);
    const connectWith = async (days: number): Promise<void> => {
      await tokenWith('ENDING_TOKEN', ['api', 'sudo', 'admin_mode'], days);
      const { code } = await kang.cli('gitlab', 'connect', rig.gitlab!.url, '--token-env', 'ENDING_TOKEN');
      expect(code).toBe(0);
    };
    await connectWith(20);
    const [sentence] = await until('the others say when it ends', async () => {
      const all = await said();
      return all.length > 0 ? all : null;
    });
    expect(sentence).toContain(`ends on ${dayIn(20)}, in 20 days: the mesh renews it by itself on ${dayIn(13)}`);
    await connectWith(3);
    const old = kang.env.ENDING_TOKEN as string;
    const isDead = async (): Promise<boolean> =>
      (await fetch(`${rig.gitlab!.url}/api/v4/user`, { headers: { 'PRIVATE-TOKEN': old } })).status === 401;
    await until('it is renewed', isDead);
    await until('nothing is left to say', async () => (await said()).length === 0);
    const project = await push('renewed', 'echo by the new token');
    expect((await pipelineEnd(rig, project)).status).toBe('success');
    await connect();
  });

  it('asks once on a terminal, and no means no', async () => {
    const command = `${process.execPath} ${bin} --home ${kang.home} gitlab disconnect`;
    const { status, stdout } = spawnSync('script', ['-qec', command, '/dev/null'], {
      input: 'n\n',
      encoding: 'utf8',
      timeout: 20_000,
    });
    expect(stdout).toContain(`Disconnect ${rig.gitlab!.url}? The mesh's runners and token for it go; the mesh stays.`);
    expect(status).toBe(1);
    expect((await kang.status()).gitlab).toMatchObject({ mode: 'connected', flag: null });
  });

  it('lets what runs end, takes nothing more, deletes the runners, forgets the token everywhere; connect works again', async () => {
    const gitlab = rig.gitlab!;
    const go = join(rig.dir, 'go');
    const project = await push('ends', `until test -e ${go}; do sleep 0.2; done; echo ended well`);
    await running('ends');
    expect(await runners()).toHaveLength(1);
    const asked = machines[1]!.cli('gitlab', 'disconnect');
    await until('every machine says so', async () => {
      const all = await Promise.all(machines.map((machine) => machine.status()));
      return all.every((status) => status.gitlab.flag?.includes('(ends) runs to its end'));
    });
    const later = await push('later', 'echo later');
    writeFileSync(go, '');
    const { code, stdout, stderr } = await asked;
    expect([code, stdout]).toEqual([0, `GitLab at ${gitlab.url} is disconnected, 1 runner deleted there\n`]);
    expect(stderr).toMatch(/is being disconnected: job \d+ \(ends\) runs to its end/);
    const { jobs } = await pipelineEnd(rig, project);
    expect(jobs.map(({ status }) => status)).toEqual(['success']);
    expect(await gitlab.trace(project, jobs[0]!.id)).toContain('ended well');
    expect(await runners()).toEqual([]);
    for (const machine of machines) {
      await gone(machine);
      expect((await machine.status()).attention).toContainEqual(
        expect.objectContaining({ code: 'act-gitlab-gone', sentence: expect.stringContaining('is disconnected') }),
      );
    }
    expect((await kang.cli('cancel', '1')).stderr).toMatch(/no GitLab is connected/);
    const [waits] = await gitlab.api<{ status: string }[]>(`/projects/${later}/jobs`);
    expect(waits?.status).toBe('pending');
    const again = await kang.cli('--json', 'gitlab', 'disconnect', '--yes');
    expect(JSON.parse(again.stdout)).toEqual({ state: 'gone', because: 'no GitLab is connected' });
    await connect();
    expect((await pipelineEnd(rig, later)).status).toBe('success');
  }, 120_000);

  it('--now gives up what runs, on its machine and at GitLab', async () => {
    const project = await push('endless', 'sleep 600');
    await running('endless');
    const { code, stdout } = await kang.cli('gitlab', 'disconnect', '--now');
    expect([code, stdout]).toEqual([0, expect.stringContaining('is disconnected')]);
    const { jobs } = await pipelineEnd(rig, project);
    expect(jobs.map(({ failure_reason }) => failure_reason)).toEqual(['runner_system_failure']);
    expect(await runners()).toEqual([]);
    expect((await kang.jobs()).find(({ name }) => name === 'endless')).toMatchObject({
      state: 'lost',
      because: 'GitLab is disconnected, at once; the mesh does not try it again: GitLab is being disconnected',
    });
  });

  it('--force waits for no GitLab: what is left there is named, and the token is on no disk’s ledger', async () => {
    await connect();
    await pipelineEnd(rig, await push('quick', 'echo quick'));
    await rig.gitlab!.kill();
    const { code, stdout } = await machines[2]!.cli('gitlab', 'disconnect', '--force');
    expect([code, stdout]).toEqual([0, expect.stringMatching(/; runner \d+ is left there, to be deleted by hand \(/)]);
    for (const machine of machines) {
      await gone(machine);
      await machine.kill('SIGTERM');
      const store = await openStore(`${machine.home}/store`);
      const { accepted, committed } = await store.load();
      await store.close();
      for (const ledger of [accepted, committed])
        expect([machine.name, ledger?.gitlab.token, ledger?.gitlab.url, ledger?.classes]).toEqual([
          machine.name,
          null,
          null,
          {},
        ]);
    }
  });
});
