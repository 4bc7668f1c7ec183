import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createMachine, type MachineOptions } from '../../node/machine/machine.ts';
import { NvidiaSmi } from '../../node/machine/nvidia-smi.ts';
import { Measured } from '../../protocol/report.ts';

const fixtures = fileURLToPath(new URL('../fixtures/gpu', import.meta.url));
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'autogit-machine-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

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
  });

  it('lists MIG devices only where there are some', async () => {
    const one = new NvidiaSmi(0, smi({ query: 'query-mig.csv', apps: 'no-devices.txt', list: 'list-mig.txt' }));
    expect((await one.sample()).samples).toHaveLength(4);
  });
});

describe('the machine', () => {
  it('measures this computer in the form that the mesh speaks', async () => {
    const measured = await createMachine(options()).measure(new Set());
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
    const measured = await machine.measure(new Set());
    expect(measured.capacity.gpus.map(({ model }) => model)).toEqual([
      'RTX 3090 Ti',
      'RX 7900 XTX',
      '1002:7551',
      'Arc B580 (played)',
    ]);
    expect(measured.gpus.map(({ foreign }) => foreign)).toEqual([true, true, false, false]);
    expect(measured.owner).toBe('playing');
    expect(machine.gpuProblems()).toEqual([]);
  });

  it('asks the driver no oftener than every 10 s, and answers in between', async () => {
    const machine = createMachine(options({ nvidiaSmi: smi({ query: 'query-3090ti.csv', apps: 'no-devices.txt' }) }));
    for (let i = 0; i < 20; i++) expect((await machine.measure(new Set())).capacity.gpus).toHaveLength(1);
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
    expect(await machine.measure(new Set())).toMatchObject({
      owner: 'present',
      paused: 'gpu',
      pausedBecause: 'by its owner',
      healthy: false,
      unhealthyBecause: 'the store cannot be written',
    });
  });
});
