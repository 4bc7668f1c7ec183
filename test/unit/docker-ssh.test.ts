import { afterEach, expect, it, vi } from 'vitest';
import { checkDocker } from '../../node/doctor/docker-check.ts';
import { DockerExecutor } from '../../node/executors/docker-executor.ts';

afterEach(() => vi.unstubAllEnvs());

it('an engine behind ssh:// is refused in words, by the executor as by doctor: the bundle has no SSH', async () => {
  vi.stubEnv('DOCKER_HOST', 'ssh://ada@kang.lan');
  const fix = 'name one that is reached without SSH: --docker-host unix:///var/run/docker.sock';
  await expect(new DockerExecutor({ node: 'n' }).check()).rejects.toMatchObject({
    code: 'no-docker',
    message: expect.stringMatching(/behind ssh:\/\/.*not supported/),
    hint: fix,
  });
  expect(await checkDocker(null)).toMatchObject({
    state: 'warn',
    sentence: expect.stringMatching(/not supported/),
    fix,
  });
});
