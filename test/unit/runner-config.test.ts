import { describe, expect, it } from 'vitest';
import { containerLine, runnerConfig } from '../../node/fallback/runner-config.ts';
import type { Measured } from '../../protocol/report.ts';
import { readRunnerConfig } from '../fixtures/ordinary-runner.ts';
import { measured } from './jobs-lab-machines.ts';

const GiB = 2 ** 30;
const models = {
  nvidia: 'NVIDIA GeForce RTX 3090 Ti',
  amd: 'AMD Radeon RX 7900 XTX',
  intel: 'Intel Arc A770',
};
const gpu = (uuid: string, gib: number, vendor: keyof typeof models = 'nvidia') => ({
  uuid,
  model: models[vendor],
  vendor,
  memoryBytes: gib * GiB,
});
const machine: Measured = measured({
  capacity: {
    cpuMillis: 16_000,
    memoryBytes: 64 * GiB,
    diskBytes: 500 * GiB,
    gpus: [gpu('GPU-a', 24), gpu('GPU-b', 24)],
  },
  labels: ['fast'],
  executors: ['docker', 'process'],
});
const made = (sets: string[][], more: Partial<Parameters<typeof runnerConfig>[0]> = {}) => {
  const found = runnerConfig({
    mesh: 'home',
    node: 'desktop-1',
    url: 'https://gitlab.lan:8443',
    classes: sets.map((tags, at) => ({ tags, token: `glrt-t1_"${at}\\` })),
    measured: machine,
    defaultArch: 'amd64',
    executors: ['docker', 'process'],
    defaultImage: null,
    dockerHost: null,
    nodesOf: (uuid) => [`/dev/dri/card-${uuid}`],
    caFile: null,
    ...more,
  });
  return { ...found, config: readRunnerConfig(found.text) };
};

describe("an ordinary gitlab-runner's config from the mesh's classes", () => {
  it('a runner for each class that this machine could take, with its limits; tokens byte for byte', () => {
    const { config, takes, leaves } = made([
      [],
      ['cpu-8', 'mem-16g'],
      ['fast', 'process'],
      ['arm64'],
      ['cpu-32'],
      ['node-kang'],
    ]);
    expect(config.runners.map(({ token }) => token)).toEqual(['glrt-t1_"0\\', 'glrt-t1_"1\\', 'glrt-t1_"2\\']);
    expect(config.runners.map(({ executor, limit }) => [executor, limit])).toEqual([
      ['docker', 16],
      ['docker', 2],
      ['shell', 16],
    ]);
    expect(config.runners[1]?.docker).toMatchObject({ cpus: '8', memory: '16384m', privileged: false });
    // Without a tag the mesh has them use what is free: a limit of the floor would end what went well there.
    expect(config.runners[0]?.docker).toMatchObject({ cpus: '1', memory: '63488m' });
    // As many at once as the largest of them has room for.
    expect(config.concurrent).toBe(2);
    expect(takes).toEqual([[], ['cpu-8', 'mem-16g'], ['fast', 'process']]);
    expect(leaves.map(({ tags, because }) => `${tags}: ${because}`)).toEqual([
      'arm64: is amd64, and the job needs arm64',
      'cpu-32: has 16 CPU, and the job needs 32',
      'node-kang: is not kang',
    ]);
  });

  it('cards by their uuid, one job of a class at a time', () => {
    const { config } = made([['gpu-2'], ['vram-20g'], ['rtx-3090-ti']]);
    expect(config.runners.map(({ limit, docker }) => [limit, docker?.gpus])).toEqual([
      [1, '"device=GPU-a,GPU-b"'],
      [1, '"device=GPU-a"'],
      [1, '"device=GPU-a"'],
    ]);
    const capacity = { ...machine.capacity, gpus: [gpu('amd-0', 24, 'amd')] };
    const { config: amd } = made([['amd']], { measured: { ...machine, capacity } });
    expect(amd.runners[0]?.docker).toMatchObject({ devices: ['/dev/kfd', '/dev/dri/card-amd-0'], shm_size: GiB });
    expect(amd.runners[0]?.docker?.gpus).toBeUndefined();
    // No /dev/kfd is there without a card of AMD's, and a container that asks for it does not begin.
    const arc = { ...machine.capacity, gpus: [gpu('a', 16, 'intel'), gpu('b', 16, 'intel')] };
    const { config: intel } = made([['intel'], []], { measured: { ...machine, capacity: arc } });
    expect(intel.runners[0]?.docker?.devices).toEqual(['/dev/dri/card-a']);
    expect(intel.runners[1]?.docker).not.toHaveProperty('devices');
  });

  it('more isolation by the runtime that the engine has for it: never less, and never a shell', () => {
    const runtimes = ['kata-fc', 'runsc'];
    const sets = [['isolation-gvisor'], ['firecracker-2cpu-4gb'], ['runtime-runsc', 'process'], []];
    const { config, takes, leaves } = made(sets, { measured: { ...machine, runtimes } });
    expect(takes).toEqual([['isolation-gvisor'], ['firecracker-2cpu-4gb'], []]);
    expect(config.runners.map(({ docker }) => docker?.runtime)).toEqual(['runsc', 'kata-fc', undefined]);
    expect(leaves).toEqual([
      { tags: ['runtime-runsc', 'process'], because: 'asks for isolation, and would run in a shell here' },
    ]);
    expect(made([['isolation-gvisor'], []]).leaves[0]?.because).toContain(
      'has no engine with a runtime that is gVisor',
    );
  });

  it('image, engine, CA, most jobs at once and what is kept of the memory are the machine’s', () => {
    const { config } = made([[]], {
      ...{ defaultImage: 'debian:12', dockerHost: 'unix:///run/x.sock', caFile: '/home/x/gitlab-ca.pem' },
      measured: { ...machine, maxRuns: 3, reserveMemoryBytes: 63 * GiB },
    });
    expect(config.runners[0]?.docker).toMatchObject({ memory: '1024m' });
    expect(config.concurrent).toBe(1);
    expect(config.runners[0]).toMatchObject({ limit: 1, 'tls-ca-file': '/home/x/gitlab-ca.pem' });
    expect(config.runners[0]?.docker).toMatchObject({ image: 'debian:12', host: 'unix:///run/x.sock' });
    expect(made([[]], { measured: { ...machine, maxRuns: 3 } }).config.concurrent).toBe(3);
  });
});

it('in a container it finds the certificate that its config names, whatever the home is called', () => {
  expect(containerLine('/h/fallback', null)).toBe(
    'docker run -d --name gitlab-runner -v /h/fallback:/etc/gitlab-runner -v /var/run/docker.sock:/var/run/docker.sock gitlab/gitlab-runner',
  );
  expect(containerLine('/h', null, 'unix:///run/user/1000/docker.sock')).toMatch(
    / -v \/run\/user\/1000\/docker\.sock:\/run\/user\/1000\/docker\.sock gitlab\/gitlab-runner$/,
  );
  expect(containerLine('/h', null, 'tcp://10.0.0.2:2375')).toBe(
    'docker run -d --name gitlab-runner -v /h:/etc/gitlab-runner gitlab/gitlab-runner',
  );
  expect(containerLine('/my home/fallback', '/my home/gitlab-ca.pem')).toContain(
    "-v '/my home/fallback:/etc/gitlab-runner' -v '/my home/gitlab-ca.pem:/my home/gitlab-ca.pem:ro' -v /var/run",
  );
});
