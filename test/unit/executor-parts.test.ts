import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { containerOptions } from '../../node/executors/docker-container.ts';
import { cdiDevices } from '../../node/executors/gpu-options.ts';
import { jobEnvironment, jobPaths, quote, stepScript } from '../../node/executors/job-shell.ts';
import { lacksToolkit, toolkitFix } from '../../node/executors/nvidia-toolkit.ts';
import { authProblem, registryLogin } from '../../node/executors/registry-login.ts';
import { runSlug } from '../../node/executors/run-slug.ts';
import { parseStepRecord, readStepRecord, statusFile } from '../../node/executors/step-record.ts';
import type { ExecutorSpec } from '../../node/ports.ts';
import { jobMemory } from '../../node/runs/job-memory.ts';
import { watch } from '../../node/watchdog/watchdog-beat.ts';
import type { Measured } from '../../protocol/report.ts';

const spec = (more: Partial<ExecutorSpec> = {}): ExecutorSpec => ({
  run: 'r1',
  job: 1,
  image: 'debian',
  entrypoint: null,
  variables: [],
  cpuMillis: null,
  memoryBytes: null,
  gpus: [],
  ...more,
});
const variable = (key: string, value: string, file = false) => ({ key, value, file });

describe('an engine and NVIDIA’s GPUs', () => {
  it('lacks the toolkit when the driver is there and no runtime, CDI device or hook is', () => {
    const machine =
      (...paths: string[]) =>
      (path: string) =>
        ['/proc/driver/nvidia/version', ...paths].includes(path);
    expect(lacksToolkit({ Runtimes: { runc: {} } }, machine())).toBe(true);
    expect(lacksToolkit({ Runtimes: { runc: {}, nvidia: {} } }, machine())).toBe(false);
    expect(lacksToolkit({ DiscoveredDevices: [{ ID: 'nvidia.com/gpu=0' }] }, machine())).toBe(false);
    expect(lacksToolkit({}, machine('/usr/bin/nvidia-container-runtime-hook'))).toBe(false);
    expect(lacksToolkit({}, () => false)).toBe(false);
    expect(toolkitFix).toContain('nvidia-ctk runtime configure --runtime=docker');
  });
});

describe('the memory of a job', () => {
  it('is what its tag says, else what the machine has free, and never less than what it was placed by', () => {
    const gib = 2 ** 30;
    const free = (used: number) =>
      ({ capacity: { memoryBytes: 16 * gib }, usedMemoryBytes: used * gib, reserveMemoryBytes: 2 * gib }) as Measured;
    expect(jobMemory([], gib, free(4))).toBe(10 * gib);
    expect(jobMemory(['docker'], gib, free(15))).toBe(gib);
    expect(jobMemory(['mem-1g'], gib, free(4))).toBe(gib);
    expect(jobMemory(['docker', 'mem-4g'], 4 * gib, free(4))).toBe(4 * gib);
    expect(jobMemory([], gib, null)).toBe(gib);
  });
});

describe('a job’s shell', () => {
  it('puts the tree where GitLab has it, and takes no path that leads elsewhere', () => {
    const dir = (path: string): string =>
      jobPaths(spec({ variables: [variable('CI_PROJECT_PATH', path)] }), '/b').projectDir;
    expect(dir('group/my.project')).toBe('/b/group/my.project');
    for (const odd of ['', '..', 'a/../../b', 'a//b', '/etc', 'a b', '.', "a'b"]) expect(dir(odd)).toBe('/b/project');
    expect(jobPaths(spec(), '/b').filesDir).toBe('/b/project.tmp');
  });

  it('quotes anything for a real shell', () => {
    for (const value of ['', "'", "a'b'", '$x `y` \\', 'new\nline\n', '-n', 'é漢\u{1F600}', '!#~*?'])
      expect(execFileSync('sh', ['-c', `printf %s ${quote(value)}`], { encoding: 'utf8' })).toBe(value);
    expect(quote('a\0b')).toBe("'ab'");
  });

  it('leaves out what no shell can hold, and the last of two wins', () => {
    const { script, files, skipped } = jobEnvironment(
      spec({
        variables: [
          variable('A', '1', true),
          variable('A', '2'),
          variable('x-y', '1'),
          variable('PPID', '1'),
          variable('F', 'f', true),
        ],
      }),
      jobPaths(spec(), '/b'),
    );
    expect(skipped).toEqual(['x-y', 'PPID']);
    expect(files).toEqual([{ name: 'F', content: 'f' }]);
    expect(script.split('\n')).toContain("export A='2'");
    expect(script).toContain("export F='/b/project.tmp/F'");
    expect(script).not.toContain('x-y');
  });

  it('names folders and containers by the run', () => {
    expect(runSlug('12D3-7.a')).toBe('12D3-7.a');
    expect(runSlug('a/b')).toMatch(/^ra-b-[0-9a-f]{10}$/);
    expect(runSlug('a:b')).not.toBe(runSlug('a/b'));
    expect(runSlug('..')).toMatch(/^r\.\.-[0-9a-f]{10}$/);
  });

  it('stops at the first failing line', () => {
    const text = stepScript({ name: 's', script: ['a', 'b'], timeoutMs: null }, jobPaths(spec(), '/b'), '/e');
    expect(text.endsWith('set -e\na\nb\n')).toBe(true);
  });
});

describe('a step’s record', () => {
  it('counts a line once its newline is there', () => {
    const text = 'begun 1000 60000\nfilter 13 346\npid 12 345\nkilled "too \\"long\\""\nexit 143\n';
    expect(parseStepRecord(text)).toEqual({
      begunMs: 1000,
      timeoutMs: 60_000,
      supervisor: { pid: 12, startTicks: '345' },
      filter: { pid: 13, startTicks: '346' },
      killed: 'too "long"',
      exitCode: 143,
    });
    expect(parseStepRecord(text.slice(0, -1)).exitCode).toBeNull();
    expect(parseStepRecord('begun 5 0\nexit 0\nkilled "late"\n')).toMatchObject({
      timeoutMs: null,
      killed: null,
      exitCode: 0,
    });
    expect(parseStepRecord('').supervisor).toBeNull();
  });

  it('is what the agent’s side wrote first, whatever a job that has its descriptor adds', () => {
    const own = 'begun 1000 60000\nfilter 13 346\npid 12 345\n';
    const forged = 'begun 9 0\nfilter 1 2\npid 1 2\nkilled {\nexit many\npid\nexit 1e9\n__proto__ 1\n\n';
    expect(parseStepRecord(own + forged)).toEqual(parseStepRecord(own));
    expect(parseStepRecord(`${own}killed "late"\nkilled "later"\n`).killed).toBe('late');
  });

  it('is read as far as one can be, however much a job has put into it', () => {
    const folder = mkdtempSync(join(tmpdir(), 'autogit-record-'));
    try {
      const path = statusFile(folder, 0);
      writeFileSync(path, `begun 1000 0\n${'x\n'.repeat(4 << 20)}exit 0\n`);
      expect(readStepRecord(path)).toMatchObject({ begunMs: 1000, exitCode: null });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('a container', () => {
  const plan = {
    image: 'sha256:1',
    node: 'n',
    nonce: 'x',
    user: '',
    controlDir: '/builds/p.tmp/.autogit',
    network: 'net',
    extraHosts: [],
  };
  const gpu = (vendor: 'nvidia' | 'amd' | 'intel', uuid: string) => ({ vendor, uuid, model: 'm', memoryBytes: 1 });

  it('gets the GPUs that the job was given, and no other', () => {
    const none = containerOptions({ ...plan, spec: spec() });
    // An engine's default of 1024 shares is everybody else's.
    expect([none.HostConfig?.DeviceRequests, none.HostConfig?.CpuShares]).toEqual([undefined, 256]);
    expect(none.Env).toContain('NVIDIA_VISIBLE_DEVICES=void');
    const two = containerOptions({ ...plan, spec: spec({ gpus: [gpu('nvidia', 'GPU-1'), gpu('nvidia', 'GPU-2')] }) });
    expect(two.HostConfig?.DeviceRequests).toMatchObject([{ Driver: 'nvidia', DeviceIDs: ['GPU-1', 'GPU-2'] }]);
    expect(two.Env).not.toContain('NVIDIA_VISIBLE_DEVICES=void');
    // By CDI only where the engine has each of them by it.
    const facts = (...cdi: string[]) => ({ cdi: new Set(cdi), nodesOf: () => [] });
    const both = spec({ gpus: [gpu('nvidia', 'GPU-1'), gpu('nvidia', 'GPU-2')] });
    const half = containerOptions({
      ...plan,
      spec: both,
      gpuFacts: facts('nvidia.com/gpu=GPU-1', 'nvidia.com/gpu=all'),
    });
    expect(half.HostConfig?.DeviceRequests?.[0]?.Driver).toBe('nvidia');
    const cdi = cdiDevices({
      DiscoveredDevices: ['GPU-1', 'GPU-2'].map((id) => ({ Source: 'cdi', ID: `nvidia.com/gpu=${id}` })),
    });
    expect(containerOptions({ ...plan, spec: both, gpuFacts: { ...facts(), cdi } }).HostConfig?.DeviceRequests).toEqual(
      [
        {
          Driver: 'cdi',
          Count: 0,
          DeviceIDs: ['nvidia.com/gpu=GPU-1', 'nvidia.com/gpu=GPU-2'],
          Capabilities: [],
          Options: {},
        },
      ],
    );
    expect([cdiDevices({}).size, cdiDevices({ DiscoveredDevices: null }).size]).toEqual([0, 0]);
    const amd = containerOptions({ ...plan, spec: spec({ gpus: [gpu('amd', 'pci-0000:fe:00.0')] }) });
    expect(amd.HostConfig?.Devices?.map((device: { PathOnHost: string }) => device.PathOnHost)).toEqual([
      '/dev/kfd',
      '/dev/dri',
    ]);
  });

  it('has no value of a variable in what the engine shows', () => {
    const options = containerOptions({ ...plan, spec: spec({ variables: [variable('TOKEN', 'geheim')] }) });
    expect(JSON.stringify(options)).not.toContain('geheim');
  });
});

describe('the login for a registry', () => {
  const auth = Buffer.from('me:pass:word').toString('base64');
  const config = (address: string) => [
    variable('DOCKER_AUTH_CONFIG', JSON.stringify({ auths: { [address]: { auth } } })),
  ];
  const gitlab = [
    variable('CI_REGISTRY', 'registry.lab:5050'),
    variable('CI_REGISTRY_USER', 'gitlab-ci-token'),
    variable('CI_REGISTRY_PASSWORD', 'tok'),
  ];

  it('is the job’s own, and only for its registry', () => {
    expect(registryLogin('ghcr.io/a/b:1', config('ghcr.io'))).toMatchObject({ username: 'me', password: 'pass:word' });
    expect(registryLogin('a/b', config('https://index.docker.io/v1/'))).toMatchObject({ username: 'me' });
    expect(registryLogin('a/b', config('ghcr.io'))).toBeNull();
    expect(registryLogin('registry.lab:5050/g/p', gitlab)).toMatchObject({
      username: 'gitlab-ci-token',
      password: 'tok',
    });
    expect(registryLogin('debian', gitlab)).toBeNull();
    expect(registryLogin('debian', [variable('DOCKER_AUTH_CONFIG', '{not json')])).toBeNull();
  });

  it('is the one for the longest part of the image’s path, as with gitlab-runner', () => {
    const login = (name: string) => ({ auth: Buffer.from(`${name}:x`).toString('base64') });
    const auths = {
      'Registry.lab:5050': login('host'),
      'registry.lab:5050/group': login('group'),
      'registry.lab:5050/group/db:1': login('db'),
      'https://old.lab/v1/': login('old'),
      'index.docker.io/v2': login('index'),
      'ghcr.io': { username: 'plain', password: 'word' },
      'token.lab': { identitytoken: 'refresh' },
      'empty.lab': {},
    };
    const variables = [variable('DOCKER_AUTH_CONFIG', JSON.stringify({ auths })), ...gitlab];
    const who = (image: string): string | undefined => registryLogin(image, variables)?.username;
    expect(who('registry.lab:5050/group/db:16')).toBe('db');
    expect(who('registry.lab:5050/group/db@sha256:00')).toBe('db');
    expect(who('registry.lab:5050/group/dbs:16')).toBe('group');
    expect(who('registry.lab:5050/groups/db')).toBe('host');
    expect(who('REGISTRY.lab:5050/x')).toBe('host');
    expect(who('registry.lab/group/db')).toBeUndefined();
    expect(who('old.lab/deep/er')).toBe('old');
    expect(who('debian:12')).toBe('index');
    expect(who('ghcr.io/a/b')).toBe('plain');
    expect(registryLogin('token.lab/a', variables)).toEqual({ identitytoken: 'refresh', serveraddress: 'token.lab' });
    expect(who('empty.lab/a')).toBeUndefined();
  });

  it('says what of it cannot be used', () => {
    const problem = (value: string) => authProblem([variable('DOCKER_AUTH_CONFIG', value)]);
    expect(problem('')).toBeNull();
    expect(problem('{"auths":{},"credsStore":""}')).toBeNull();
    expect(problem('{"auths":[')).toMatch(/is not what docker has/);
    expect(problem('{"credHelpers":{"ghcr.io":"../../bin/sh"}}')).toMatch(
      /no job may begin: put its logins under auths/,
    );
  });
});

describe('the watchdog’s decision', () => {
  const run = (name: string, until: number, held = false) => ({
    run: name,
    until,
    held,
    freeze: { kind: 'pgid' as const, marker: name },
  });

  it('freezes what is over its time, thaws only what it froze and nobody holds', () => {
    const runs = [
      run('over', 99),
      run('due', 100),
      run('frozen', 50),
      run('back', 200),
      run('held', 200, true),
      run('agents', 200),
    ];
    const { freeze, thaw } = watch(runs, new Set(['frozen', 'back', 'held']), 100);
    expect(freeze.map((one) => one.run)).toEqual(['over']);
    expect(thaw.map((one) => one.run)).toEqual(['back']);
  });
});
