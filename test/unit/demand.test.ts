import { describe, expect, it } from 'vitest';
import { type Demand, demandOf, gpuName, gpuSlug, meantTag, needsSentence } from '../../scheduler/jobs/demand.ts';

const GiB = 2 ** 30;

describe('what tags demand', () => {
  const rows: [string[], Partial<Demand>][] = [
    [[], { cpuMillis: 1000, memoryBytes: GiB, gpus: 0, arch: 'amd64', names: [] }],
    [['linux', 'arm64'], { arch: 'arm64', names: [] }],
    [['gpu'], { gpus: 1, vramBytes: 0 }],
    [['gpu-2', 'gpu'], { gpus: 2 }],
    [['cuda'], { gpus: 1, vendor: 'nvidia' }],
    [['amd'], { gpus: 1, vendor: 'amd' }],
    [['vram-20g', 'vram-8g'], { gpus: 1, vramBytes: 20 * GiB }],
    [['cpu-8', 'mem-16g', 'disk-100g'], { cpuMillis: 8000, memoryBytes: 16 * GiB, diskBytes: 100 * GiB }],
    [['node-kang'], { node: 'kang' }],
    [['rtx-3090-ti', 'inference'], { gpus: 0, names: ['inference', 'rtx-3090-ti'] }],
    [['gpu-0', 'cpu-0', 'mem-g', 'node-'], { gpus: 0, cpuMillis: 1000, names: ['cpu-0', 'gpu-0', 'mem-g', 'node-'] }],
    [['firecracker-2cpu-4gb'], { cpuMillis: 2000, memoryBytes: 4 * GiB }],
  ];
  it.each(rows)('%j', (tags, wanted) => expect(demandOf(tags, 'x86_64')).toMatchObject(wanted));

  it('says what can never be', () => {
    expect(demandOf(['amd64', 'arm64'], 'amd64').impossible).toBe('no machine is both amd64 and arm64');
    expect(demandOf(['nvidia', 'amd'], 'amd64').impossible).toBe('no GPU is both of amd and of nvidia');
    expect(demandOf(['node-a', 'node-b'], 'amd64').impossible).toBe('no machine is both a and b');
    expect(demandOf(['firecracker-2cpu-4gb'], 'amd64')).toMatchObject({ impossible: null, isolation: ['micro-vm'] });
    expect(demandOf(['isolation-gvisor', 'runtime-runsc'], 'amd64').isolation).toEqual(['gvisor', 'runtime runsc']);
    expect(demandOf(['isolation-gvisr'], 'amd64').names).toEqual(['isolation-gvisr']);
  });

  it('is monotone: more tags never demand less', () => {
    const all = ['gpu', 'gpu-2', 'cuda', 'vram-20g', 'cpu-8', 'mem-16g', 'disk-9g', 'node-kang', 'rtx-5080', 'linux'];
    for (let mask = 0; mask < 1 << all.length; mask += 1) {
      const some = demandOf(
        all.filter((_, bit) => mask & (1 << bit)),
        'amd64',
      );
      for (const tag of all) {
        const more = demandOf([...some.tags, tag], 'amd64');
        for (const key of ['gpus', 'vramBytes', 'cpuMillis', 'memoryBytes', 'diskBytes'] as const)
          if (more[key] < some[key]) throw new Error(`${some.tags} + ${tag} demands less ${key}`);
        expect(some.names.every((name) => more.names.includes(name))).toBe(true);
      }
    }
  });

  it('needs, in words', () => {
    expect(needsSentence(demandOf(['vram-20g', 'gpu'], 'amd64'))).toBe('gpu, vram-20g');
    expect(needsSentence(demandOf([], 'amd64'))).toBe('1 CPU, 1 GiB (no tags)');
  });
});

describe('GPU models', () => {
  it.each([
    ['NVIDIA GeForce RTX 3090 Ti', 'rtx-3090-ti', 'RTX 3090 Ti'],
    ['NVIDIA GeForce RTX 5080', 'rtx-5080', 'RTX 5080'],
    ['NVIDIA A100-SXM4-80GB', 'a100-sxm4-80gb', 'A100-SXM4-80GB'],
    ['Tesla T4', 'tesla-t4', 'Tesla T4'],
    ['RTX 3090 Ti (played)', 'rtx-3090-ti', 'RTX 3090 Ti (played)'],
    ['AMD Radeon RX 7900 XTX', 'rx-7900-xtx', 'RX 7900 XTX'],
    ['Intel(R) Arc(TM) A770 Graphics', 'arc-a770', 'Arc A770'],
    ['NVIDIA', 'nvidia', 'NVIDIA'],
  ])('%s', (model, slug, name) => {
    expect(gpuSlug(model)).toBe(slug);
    expect(gpuName(model)).toBe(name);
  });
});

describe('tags that were typed wrong', () => {
  it.each([
    ['vram20g', 'vram-20g'],
    ['vram-20', 'vram-20g'],
    ['vram_20GB', 'vram-20g'],
    ['ram-16g', 'mem-16g'],
    ['cpu4', 'cpu-4'],
    ['nvidai', 'nvidia'],
    ['isolation-microvm', 'isolation-micro-vm'],
    ['isolation_micro_vm', 'isolation-micro-vm'],
    ['firecracker-2-cpu-4g', 'firecracker-2cpu-4gb'],
    // No other spelling of these would mean anything either.
    ['firecracker-0cpu-0gb', null],
    ['firecracker-99999cpu-1gb', null],
    ['vram-0g', null],
    ['vram-999999999999g', null],
    ['fats', null],
    ['fastr', 'faster'],
    ['deploy', null],
  ])('%s -> %s', (tag, meant) => {
    expect(meantTag(tag, ['faster', 'docker'])).toBe(meant);
  });

  it.each(['constructor', 'toString', 'valueOf', '__proto__', 'hasOwnProperty'])(
    '%s is a label as any other',
    (tag) => {
      expect(demandOf([tag], tag)).toEqual({ ...demandOf([], tag), tags: [tag], names: [tag] });
      expect(demandOf([], tag).arch).toBe(tag.toLowerCase());
    },
  );

  it('sizes in m and t mean what they mean elsewhere', () => {
    expect(demandOf(['mem-3000m'], 'amd64')).toMatchObject({ memoryBytes: 3000 * 2 ** 20, names: [] });
    expect(demandOf(['disk-1t'], 'amd64')).toMatchObject({ diskBytes: 2 ** 40, names: [] });
    expect(demandOf(['vram-512m'], 'amd64')).toMatchObject({ gpus: 1, vramBytes: 2 ** 29 });
  });
});
