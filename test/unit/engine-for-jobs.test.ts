import { describe, expect, it } from 'vitest';
import { containerOptions } from '../../node/executors/docker-container.ts';
import { engineFor, isEngineFor } from '../../node/executors/engine-for-jobs.ts';
import type { ExecutorSpec } from '../../node/ports.ts';

describe('an engine for jobs', () => {
  it.each<[string, string, boolean]>([
    ['lab/app', 'lab/app', true],
    ['lab/app', 'lab/apple', false],
    ['lab/app', 'other/lab/app', false],
    ['lab/*', 'lab/deep/app', true],
    ['lab/*', 'lab', false],
    ['lab/*', 'labs/app', false],
    ['*', 'any/thing', true],
  ])('%s lets jobs of %s have it: %s', (allowed, project, isLet) => {
    expect(isEngineFor([allowed], project)).toBe(isLet);
  });

  it('is a socket, for who is named; whoever is not reads why', () => {
    const given = (project: string | null, allowed: string[], address: string | null) =>
      engineFor({ project }, allowed, address);
    const at = (source: string) => ({
      mount: expect.objectContaining({ Source: source, Target: '/var/run/docker.sock' }),
    });
    expect(given('lab/app', ['lab/*'], null)).toEqual(at('/var/run/docker.sock'));
    expect(given('lab/app', ['*'], 'unix:///run/user/1000/docker.sock')).toEqual(at('/run/user/1000/docker.sock'));
    for (const [refused, words] of [
      [given('lab/app', [], null), 'is for no jobs: its owner has not said --engine-for-jobs'],
      [given('stranger/app', ['lab/*'], null), 'is for jobs of lab/*, not of stranger/app'],
      [given(null, ['lab/*'], null), 'not of a project that GitLab does not name'],
      [
        engineFor({ project: 'lab/app', isIsolated: true }, ['*'], null),
        'isolated by more than a container gets no engine',
      ],
      [given('lab/app', ['*'], 'tcp://10.0.0.1:2375'), 'is reached at tcp://10.0.0.1:2375, and only a socket'],
    ] as const)
      expect(refused).toEqual({ refused: expect.stringContaining(words) });
  });

  it('a container has it as one mount more, and no container has it by itself', () => {
    const spec = {
      run: 'r1',
      job: 1,
      image: 'x',
      entrypoint: null,
      variables: [],
      cpuMillis: null,
      memoryBytes: null,
      gpus: [],
    };
    const plan = {
      spec: spec as ExecutorSpec,
      image: 'i',
      node: 'n',
      nonce: 'o',
      user: '0:0',
      controlDir: '/c',
      network: 'w',
      extraHosts: [],
    };
    const found = engineFor({ project: 'lab/app' }, ['*'], null);
    if (!('mount' in found)) throw new Error('refused');
    // CI_BUILDS_DIR alone: a mount that goes with its container.
    const builds = {
      ...{ Type: 'volume', Target: '/builds' },
      VolumeOptions: { Labels: { 'autogit.node': 'n', 'autogit.run': 'r1' } },
    };
    expect(containerOptions(plan).HostConfig?.Mounts).toEqual([builds]);
    expect(containerOptions({ ...plan, engine: found.mount }).HostConfig).toMatchObject({
      Privileged: false,
      Mounts: [builds, found.mount],
    });
  });
});
