import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  nvidiaSamples,
  parseComputeApps,
  parseGpuQuery,
  parseMigList,
  parsePmon,
  shortModel,
} from '../../node/machine/gpu-nvidia.ts';
import { Gpu } from '../../protocol/report.ts';

const fixture = (name: string): string =>
  readFileSync(new URL(`../fixtures/gpu/nvidia/${name}`, import.meta.url), 'utf8');
const mib = 1 << 20;
const gib = 1 << 30;
const nothing = { apps: null, pmon: null, list: '', systemMemoryBytes: 128 * gib };

describe('nvidia-smi --query-gpu', () => {
  it('reads a desktop card', () => {
    expect(parseGpuQuery(fixture('query-3090ti.csv'))).toEqual({
      rows: [
        {
          index: 0,
          uuid: 'GPU-5c1e5d5e-8f33-4d0b-a6a5-0a1b2c3d4e5f',
          model: 'RTX 3090 Ti',
          memoryBytes: 24564 * mib,
          memoryFault: null,
          usedBytes: 1187 * mib,
          busyPercent: 97,
          isMig: false,
        },
      ],
      problems: [],
    });
  });

  it('reads several, in order', () => {
    expect(parseGpuQuery(fixture('query-two.csv')).rows.map(({ model }) => model)).toEqual(['RTX 5080', 'GT 1030']);
  });

  it('gives a GPU without memory of its own the memory of the machine', () => {
    const { rows } = parseGpuQuery(fixture('query-spark.csv'));
    expect(rows[0]?.memoryBytes).toBeNull();
    const [sample] = nvidiaSamples(rows, nothing);
    expect(sample?.gpu).toMatchObject({ model: 'GB10', memoryBytes: 128 * gib });
    expect(sample?.usedBytes).toBeNull();
  });

  it.each(['[Unknown Error]', '[GPU is lost]', 'ERR!', ''])('takes %s for a fault, not for shared memory', (cell) => {
    const { rows } = parseGpuQuery(fixture('query-3090ti.csv').replace('24564', cell));
    const [sample] = nvidiaSamples(rows, nothing);
    expect(sample?.gpu.memoryBytes).toBe(0);
    expect(sample?.problem).toMatch(/does not tell its memory/);
  });

  it('reads WSL2: no share of time, carriage returns', () => {
    const { rows, problems } = parseGpuQuery(fixture('query-wsl2.csv'));
    expect(problems).toEqual([]);
    expect(rows[0]).toMatchObject({ model: 'RTX 3080', busyPercent: null, usedBytes: 1893 * mib });
  });

  it.each(['no-driver.txt', 'mismatch.txt', 'no-devices.txt', 'no-mig-field.txt'])('takes %s for a problem', (name) => {
    const { rows, problems } = parseGpuQuery(fixture(name));
    expect(rows).toEqual([]);
    expect(problems[0]).toBe(fixture(name).split('\n')[0]);
  });

  it('keeps the cards that work beside a lost one', () => {
    const { rows, problems } = parseGpuQuery(fixture('query-lost.csv'));
    expect(rows.map(({ model, busyPercent }) => [model, busyPercent])).toEqual([['GT 1030', null]]);
    expect(problems).toHaveLength(1);
  });

  it('offers MIG devices instead of the GPU that they cut up', () => {
    const { rows } = parseGpuQuery(fixture('query-mig.csv'));
    const samples = nvidiaSamples(rows, { ...nothing, list: fixture('list-mig.txt') });
    expect(samples.map(({ gpu }) => [gpu.uuid.slice(0, 12), gpu.model, gpu.memoryBytes / gib])).toEqual([
      ['MIG-d771d938', 'A100 80GB PCIe MIG 3g.40gb', 40],
      ['MIG-08bce7f3', 'A100 80GB PCIe MIG 2g.20gb', 20],
      ['MIG-761ea9d1', 'A100 80GB PCIe MIG 1g.10gb', 10],
      ['GPU-4101de38', 'A100 80GB PCIe', 80],
    ]);
    expect(parseMigList('').size).toBe(0);
  });

  it('never throws on noise', () => {
    for (const text of ['', '\n\n', ',,,,,,', '0,', 'a, b, c, d, e, f, g', '\u0000', '0, GPU-x'.repeat(500)])
      expect(parseGpuQuery(text).rows).toEqual([]);
  });
});

describe('tables of nvidia-smi that somebody damaged', () => {
  it('never throw, and never give what a report cannot carry', () => {
    const names = [
      'query-two.csv',
      'query-lost.csv',
      'query-mig.csv',
      'apps-3090ti.csv',
      'pmon-535.txt',
      'list-mig.txt',
    ];
    const texts = names.map(fixture);
    const { next } = chance(7117);
    for (let round = 0; round < 3_000; round++) {
      const [query, apps, pmon, list] = [0, 1, 2, 3].map(() => damaged(texts[next(texts.length)] as string, next));
      const { rows, problems } = parseGpuQuery(query as string);
      const answers = { apps: apps as string, pmon: pmon as string, list: list as string, systemMemoryBytes: gib };
      for (const { gpu, usedBytes, busyPercent } of nvidiaSamples(rows, answers)) {
        expect(Gpu.safeParse(gpu).success, JSON.stringify({ round, gpu })).toBe(true);
        expect(usedBytes === null || usedBytes >= 0).toBe(true);
        expect(busyPercent === null || (busyPercent >= 0 && busyPercent <= 100)).toBe(true);
      }
      expect(problems.every((problem) => problem.length > 0)).toBe(true);
    }
  });

  it('and a number that no card has is no number', () => {
    const { rows } = parseGpuQuery(fixture('query-3090ti.csv').replace('24564', '9'.repeat(400)));
    expect(rows[0]?.memoryBytes).toBeNull();
  });
});

const chance = (seed: number) => {
  let state = seed;
  return {
    next: (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    },
  };
};

/** One to four bites: a piece cut out, doubled, exchanged for noise, or lines swapped. */
function damaged(text: string, next: (below: number) => number): string {
  const noise = [
    '\u0000',
    '[N/A]',
    '-1',
    '9'.repeat(40),
    ',',
    ', , ,',
    '\n',
    '\r',
    '#',
    ' ',
    'ERR!',
    'GPU-',
    '\u001b[2J',
    'x'.repeat(300),
  ];
  let out = text;
  for (let bites = 1 + next(4); bites > 0; bites--) {
    const at = next(out.length + 1);
    const end = Math.min(out.length, at + next(12));
    const piece = [noise[next(noise.length)] as string, '', out.slice(at, end).repeat(2)][next(3)] as string;
    out = out.slice(0, at) + piece + out.slice(end);
  }
  return out;
}

describe('processes on the GPU', () => {
  it('reads compute apps', () => {
    expect(parseComputeApps(fixture('apps-3090ti.csv')).map(({ process }) => [process.pid, process.name])).toEqual([
      [30412, '/usr/bin/python3'],
      [1840, '/usr/lib/xorg/Xorg'],
    ]);
  });

  it('reads what WSL2 and other users hide', () => {
    expect(parseComputeApps(fixture('apps-wsl2.csv'))[0]?.process).toMatchObject({ pid: 524, usedBytes: null });
    expect(parseComputeApps(fixture('no-devices.txt'))).toEqual([]);
  });

  it('reads pmon by its head line: games are no compute apps', () => {
    const found = parsePmon(fixture('pmon-535.txt'));
    expect(
      found.map(({ index, process }) => [index, process.pid, process.type, process.busyPercent, process.name]),
    ).toEqual([
      [0, 1840, 'G', 2, 'Xorg'],
      [0, 30412, 'C', 91, 'python3'],
      [0, 41007, 'G', 74, 'Baldurs Gate 3'],
    ]);
    expect(parsePmon(fixture('pmon-390.txt'))[0]?.process).toMatchObject({ name: 'Xorg', usedBytes: 105 * mib });
    expect(parsePmon('GPU 0 is not supported')).toEqual([]);
  });

  it('joins both lists by pid', () => {
    const { rows } = parseGpuQuery(fixture('query-3090ti.csv'));
    const answers = { ...nothing, apps: fixture('apps-3090ti.csv'), pmon: fixture('pmon-535.txt') };
    const [sample] = nvidiaSamples(rows, answers);
    expect(sample?.processes?.map(({ pid }) => pid)).toEqual([30412, 1840, 41007]);
  });
});

describe('shortModel', () => {
  it.each([
    ['NVIDIA GeForce RTX 3090 Ti', 'RTX 3090 Ti'],
    ['GeForce GTX 1080 Ti', 'GTX 1080 Ti'],
    ['NVIDIA H100 80GB HBM3', 'H100 80GB HBM3'],
    ['AMD Radeon RX 7900 XTX', 'RX 7900 XTX'],
    ['AMD Radeon VII', 'Radeon VII'],
    ['Radeon AI PRO R9700', 'Radeon AI PRO R9700'],
    ['Tesla T4', 'Tesla T4'],
  ])('%s -> %s', (long, short) => {
    expect(shortModel(long)).toBe(short);
  });
});
