import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { spawnClean } from '../../node/clean-spawn.ts';
import { systemClock } from '../../node/clock.ts';
import { checkGpus } from '../../node/doctor/machine-checks.ts';
import { frozenBy } from '../../node/executors/run-members.ts';
import { areAsleep } from '../../node/machine/gpu-sysfs.ts';
import { createMachine, type MachineOptions } from '../../node/machine/machine.ts';
import { NvidiaSmi } from '../../node/machine/nvidia-smi.ts';
import { Measured } from '../../protocol/report.ts';

const fixtures = fileURLToPath(new URL('../fixtures/gpu', import.meta.url));
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'autogit-machine-'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(dir, { recursive: true, force: true });
});

/** A program that answers as nvidia-smi does, from files; what it was asked is written beside it. */
function smi(answers: {
  query: string;
  old?: string;
  apps?: string;
  pmon?: string;
  list?: string;
  code?: number;
}): string {
  const file = join(dir, 'nvidia-smi');
  const show = (name?: string) =>
    name ? `cat ${fixtures}/nvidia/${name}; exit ${answers.code ?? 0}` : 'echo "not supported"; exit 3';
  writeFileSync(
    file,
    `#!/bin/sh
echo "$@" >> ${dir}/asked
case "$1" in
  --query-gpu=*mig*) ${show(answers.query)} ;;
  --query-gpu=*) ${show(answers.old)} ;;
  --query-compute-apps=*) ${show(answers.apps)} ;;
  pmon) ${show(answers.pmon)} ;;
  -L) ${show(answers.list)} ;;
esac
`,
    { mode: 0o755 },
  );
  return file;
}
const asked = (): string[] => readFileSync(join(dir, 'asked'), 'utf8').trim().split('\n');
const options = (more: Partial<MachineOptions> = {}): MachineOptions => ({
  folder: dir,
  labels: ['render'],
  executors: ['process'],
  maxRuns: 2,
  reserveMemoryBytes: 1 << 30,
  playGpus: [],
  nvidiaSmi: join(dir, 'nvidia-smi'),
  sysfs: { sys: join(fixtures, 'sysfs-none'), amdgpuIds: '', pciIds: [] },
  sessions: join(dir, 'sessions'),
  ...more,
});

describe('nvidia-smi', () => {
  it('is not there: no GPU, no problem', async () => {
    expect(await new NvidiaSmi(0, join(dir, 'nvidia-smi')).sample()).toEqual({
      samples: [],
      problems: [],
      isInstalled: false,
    });
  });

  it('works: the card, and who uses it, games included', async () => {
    const one = new NvidiaSmi(0, smi({ query: 'query-3090ti.csv', apps: 'apps-3090ti.csv', pmon: 'pmon-535.txt' }));
    const { samples, problems } = await one.sample();
    expect(problems).toEqual([]);
    expect(samples[0]?.gpu.model).toBe('RTX 3090 Ti');
    expect(samples[0]?.processes).toHaveLength(3);
    expect(asked().some((line) => line.startsWith('-L'))).toBe(false);
  });

  it('is broken: the driver’s own words, and no more questions', async () => {
    const one = new NvidiaSmi(0, smi({ query: 'no-driver.txt', code: 9 }));
    const { samples, problems, isInstalled } = await one.sample();
    expect([samples, isInstalled]).toEqual([[], true]);
    expect(problems[0]).toMatch(/couldn't communicate with the NVIDIA driver/);
    expect(asked()).toHaveLength(1);
  });

  it('is old: asks without what it does not know, and remembers that', async () => {
    const one = new NvidiaSmi(0, smi({ query: 'no-mig-field.txt', old: 'query-old.csv', apps: 'no-devices.txt' }));
    for (let i = 0; i < 2; i++) expect((await one.sample()).samples[0]?.gpu.model).toBe('GTX 1080 Ti');
    expect(asked().filter((line) => line.includes('mig'))).toHaveLength(1);
    expect(asked().filter((line) => line.startsWith('pmon'))).toHaveLength(1);
    for (let i = 0; i < 8; i++) await one.sample();
    expect(asked().filter((line) => line.includes('mig')).length, 'asked again, ever rarer').toBe(3);
  });

  it('lists MIG devices only where there are some', async () => {
    const one = new NvidiaSmi(0, smi({ query: 'query-mig.csv', apps: 'no-devices.txt', list: 'list-mig.txt' }));
    expect((await one.sample()).samples).toHaveLength(4);
  });
});

describe('a GPU that fails', () => {
  const card = { query: 'query-3090ti.csv', apps: 'apps-3090ti.csv', pmon: 'pmon-535.txt' };
  const use = (answers: Parameters<typeof smi>[0]) => smi(answers);

  it('is looked at again after one bad answer of pmon: a game is still found', async () => {
    const one = new NvidiaSmi(0, use({ query: 'query-3090ti.csv', apps: 'apps-3090ti.csv' }));
    expect((await one.sample()).samples[0]).toMatchObject({ namesGames: false });
    use(card);
    await one.sample();
    const { samples } = await one.sample();
    expect(samples[0]?.processes?.map(({ name }) => name)).toContain('Baldurs Gate 3');
  });

  it('stays, with the driver’s words, and works again', async () => {
    const one = new NvidiaSmi(0, use(card));
    await one.sample();
    use({ query: 'mismatch.txt', code: 18 });
    const broken = await one.sample();
    expect(broken.samples.map(({ gpu, problem }) => [gpu.model, gpu.memoryBytes, problem])).toEqual([
      ['RTX 3090 Ti', 24564 * 2 ** 20, 'Failed to initialize NVML: Driver/library version mismatch'],
    ]);
    expect(broken.problems[0]).toMatch(/version mismatch/);
    rmSync(join(dir, 'nvidia-smi'));
    expect((await one.sample()).samples[0]?.problem).toMatch(/driver removed/);
    use(card);
    expect(await one.sample()).toMatchObject({ problems: [], samples: [{ gpu: { model: 'RTX 3090 Ti' } }] });
  });

  it('is said by doctor in the driver’s words, with what to type (public-reports 12)', async () => {
    vi.stubEnv('PATH', `${dir}:${process.env.PATH}`);
    use({ query: 'mismatch.txt', code: 18 });
    expect(await checkGpus()).toMatchObject({
      state: 'fail',
      sentence: 'the NVIDIA driver says: Failed to initialize NVML: Driver/library version mismatch',
      fix: expect.stringContaining('sudo reboot'),
    });
    use(card);
    expect(await checkGpus()).toMatchObject({ state: 'ok', sentence: expect.stringMatching(/^RTX 3090 Ti \(/) });
  });

  it('that falls off the bus is not silently gone', async () => {
    const one = new NvidiaSmi(0, use({ ...card, query: 'query-two.csv' }));
    await one.sample();
    use({ ...card, query: 'query-lost.csv' });
    const { samples, problems } = await one.sample();
    expect(samples.map(({ gpu, problem }) => [gpu.model, problem === undefined])).toEqual([
      ['GT 1030', true],
      ['RTX 5080', false],
    ]);
    expect(problems[0]).toMatch(/GPU is lost/);
  });

  it('tells no memory: it is not the machine’s, and the card gets no work', async () => {
    const text = readFileSync(join(fixtures, 'nvidia/query-3090ti.csv'), 'utf8').replace('24564', '[Unknown Error]');
    writeFileSync(join(dir, 'unknown.csv'), text);
    const file = use({ ...card, query: '../../../unused' });
    writeFileSync(
      file,
      readFileSync(file, 'utf8').replaceAll(`${fixtures}/nvidia/../../../unused`, join(dir, 'unknown.csv')),
    );
    const measured = await createMachine(options({ nvidiaSmi: file })).measure();
    expect(measured.capacity.gpus[0]?.memoryBytes).toBe(0);
    expect(measured.gpuProblems).toEqual(['RTX 3090 Ti does not tell its memory: [Unknown Error]']);
    expect(measured.gpus[0]).toMatchObject({ foreign: true, problem: expect.stringContaining('Unknown Error') });
    expect(Measured.parse(measured)).toEqual(measured);
  });

  /** Of the kernel: one card of NVIDIA's, suspended. Answers /sys, and the file that says so. */
  function suspended(): { sys: string; status: string } {
    const sys = join(dir, 'sys');
    const pci = join(sys, 'bus/pci/devices/0000:01:00.0');
    mkdirSync(join(pci, 'power'), { recursive: true });
    for (const [name, value] of Object.entries({
      vendor: '0x10de',
      class: '0x030000',
      'power/runtime_status': 'suspended',
    }))
      writeFileSync(join(pci, name), `${value}\n`);
    return { sys, status: join(pci, 'power/runtime_status') };
  }

  it('is not woken by the machine that looks at it every 10 s', async () => {
    const { sys, status } = suspended();
    let bootMs = 0;
    const clock = { ...systemClock(), bootMs: () => bootMs };
    const machine = createMachine(options({ nvidiaSmi: use(card), sysfs: { sys, amdgpuIds: '', pciIds: [] }, clock }));
    await machine.measure();
    const before = asked().length;
    const minute = async (): Promise<void> => {
      for (let look = 0; look < 6; look++) {
        bootMs += 10_000;
        await machine.measure();
        await pause(20);
      }
    };
    await minute();
    expect(asked()).toHaveLength(before);
    writeFileSync(status, 'active\n');
    await minute();
    await vi.waitFor(() => expect(asked().length).toBeGreaterThan(before), 10_000);
  });

  it('is not woken while all cards of its driver are suspended', async () => {
    const { sys, status } = suspended();
    const one = new NvidiaSmi(0, use(card), () => areAsleep('0x10de', { sys, amdgpuIds: '', pciIds: [] }));
    await one.sample();
    const before = asked().length;
    expect(await one.sample()).toMatchObject({ problems: [], samples: [{ busyPercent: 0, processes: [] }] });
    expect(asked()).toHaveLength(before);
    writeFileSync(status, 'active\n');
    await one.sample();
    expect(asked().length).toBeGreaterThan(before);
  });
});

describe('the machine', () => {
  it('measures this computer in the form that the mesh speaks', async () => {
    const measured = await createMachine(options()).measure();
    expect(Measured.parse(measured)).toEqual(measured);
    expect(measured).toMatchObject({
      labels: ['render'],
      executors: ['process'],
      maxRuns: 2,
      owner: 'away',
      paused: 'no',
      healthy: true,
    });
    expect(measured.capacity.cpuMillis % 1000).toBe(0);
    expect(measured.usedMemoryBytes).toBeGreaterThan(0);
    expect(measured.usedMemoryBytes).toBeLessThan(measured.capacity.memoryBytes);
    expect(measured.capacity.diskBytes).toBeGreaterThan(measured.usedDiskBytes);
  });

  it('sees cards of all vendors, and an owner who plays', async () => {
    const machine = createMachine(
      options({
        nvidiaSmi: smi({ query: 'query-3090ti.csv', apps: 'apps-3090ti.csv', pmon: 'pmon-535.txt' }),
        sysfs: { sys: join(fixtures, 'sysfs-amd'), amdgpuIds: join(fixtures, 'amdgpu.ids'), pciIds: [] },
        playGpus: [{ model: 'Arc B580', memoryBytes: 12 * 2 ** 30 }],
      }),
    );
    const measured = await machine.measure();
    expect(measured.capacity.gpus.map(({ model }) => model)).toEqual([
      'RTX 3090 Ti',
      'RX 7900 XTX',
      '1002:7551',
      'Arc B580 (played)',
    ]);
    expect(measured.gpus.map(({ foreign }) => foreign)).toEqual([true, true, false, false]);
    expect(measured.owner).toBe('playing');
    expect(measured.gpuProblems).toBeUndefined();
    expect(measured.gpus.map(({ usedBy }) => usedBy)).toEqual(['Baldurs Gate 3', 'a program', undefined, undefined]);
  });

  it('takes a run of ours for no program of the owner, neither while it computes nor after', async () => {
    const nvidiaSmi = smi({ query: 'query-3090ti.csv', apps: 'apps-3090ti.csv' });
    const seen = async (pids: number[]) =>
      (await createMachine(options({ nvidiaSmi, gpuProcesses: async () => new Set(pids) })).measure()).gpus[0];
    expect(await seen([30412])).toMatchObject({ foreign: false });
    expect(await seen([])).toMatchObject({ foreign: true, usedBy: 'python3' });
  });

  it('finds what a run has started by its marks', async () => {
    const marker = `h5-${process.pid}`;
    const child = spawnClean('/bin/sleep', ['60'], { stdio: 'ignore', detached: true, env: { AUTOGIT_RUN: marker } });
    try {
      await vi.waitFor(() => expect(frozenBy({ kind: 'pgid', marker }).map(({ pid }) => pid)).toEqual([child.pid]));
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('asks the driver no oftener than every 10 s, and answers in between', async () => {
    const machine = createMachine(options({ nvidiaSmi: smi({ query: 'query-3090ti.csv', apps: 'no-devices.txt' }) }));
    for (let i = 0; i < 20; i++) expect((await machine.measure()).capacity.gpus).toHaveLength(1);
    expect(asked().filter((line) => line.startsWith('--query-gpu'))).toHaveLength(1);
  });

  it('says who is at the screen, what is paused and why it is unhealthy', async () => {
    mkdirSync(join(dir, 'sessions'));
    writeFileSync(join(dir, 'sessions', '2'), readFileSync(join(fixtures, 'session-screen')));
    const machine = createMachine(
      options({
        pause: () => ({ paused: 'gpu', because: 'by its owner' }),
        storeProblem: () => 'the store cannot be written',
      }),
    );
    expect(await machine.measure()).toMatchObject({
      owner: 'present',
      paused: 'gpu',
      pausedBecause: 'by its owner',
      healthy: false,
      unhealthyBecause: 'the store cannot be written',
    });
  });
});
