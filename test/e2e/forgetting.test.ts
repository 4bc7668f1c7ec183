import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formMesh, pipelineEnd } from './mesh.ts';
import { asRoot, Rig, type TestMachine, until } from './rig.ts';

/** SAFETY, security A6: what a removed machine knew is worth nothing soon after. */
describe('forget, with a GitLab connected', () => {
  const rig = new Rig();
  let kang: TestMachine;
  let token = '';

  beforeAll(async () => {
    const gitlab = rig.practice();
    await gitlab.start();
    const machines = await formMesh(rig, ['kang', 'desktop-1']);
    kang = machines[0] as TestMachine;
    const body = JSON.stringify({ name: 'autogit', scopes: ['api', 'admin_mode'] });
    const made = await gitlab.api<{ token: string }>('/users/1/personal_access_tokens', { method: 'POST', body });
    token = made.token;
    kang.env.CONNECT_TOKEN = token;
    const { code } = await kang.cli('gitlab', 'connect', gitlab.url, '--token-env', 'CONNECT_TOKEN');
    expect(code).toBe(0);
  }, 120_000);
  afterAll(() => rig.clean());

  const knows = async (given: string): Promise<number> =>
    (await fetch(`${rig.gitlab?.url}/api/v4/user`, { headers: { 'private-token': given } })).status;

  it('GitLab revokes the token that it knew, runners have new ones, and jobs run on', async () => {
    const gitlab = rig.gitlab!;
    const first = await gitlab.push('before', { '.gitlab-ci.yml': 'a: { script: [echo before] }' });
    expect((await pipelineEnd(rig, first)).status).toBe('success');
    expect(await knows(token)).toBe(200);
    const { stdout } = await kang.cli('forget', 'desktop-1', '--yes');
    expect(stdout).toContain('desktop-1 is forgotten');
    await until('the token that it knew is void', async () => (await knows(token)) === 401, 30_000);
    await until('nothing is left to change, and everybody is told what happened', async () => {
      const { attention } = await kang.status();
      const codes = attention.map(({ code }) => code);
      return codes.includes('act-forget') && !codes.includes('secrets-known');
    });
    expect(kang.output).not.toContain(token);
    const second = await gitlab.push('after', { '.gitlab-ci.yml': 'a: { script: [echo after] }' });
    expect((await pipelineEnd(rig, second)).status).toBe('success');
    // The new secrets open after a restart, too.
    await kang.kill('SIGTERM');
    kang.join('--executor', 'process', ...asRoot, '--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns');
    const third = await gitlab.push('restarted', { '.gitlab-ci.yml': 'a: { script: [echo again] }' });
    expect((await pipelineEnd(rig, third)).status).toBe('success');
  });
});
