import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { GpuProcess, GpuSample } from '../../node/machine/gpu-nvidia.ts';
import { isOurs, type OwnRuns, ownersUse } from '../../node/machine/gpu-owner.ts';
import { playedGpus } from '../../node/machine/gpu-played.ts';
import { isLocalScreen, parentInStat, parentOf } from '../../node/machine/processes.ts';

const process = (more: Partial<GpuProcess>): GpuProcess => ({
  pid: 41007,
  name: 'python3',
  usedBytes: 1 << 30,
  busyPercent: 50,
  type: 'C',
  ...more,
});
const sample = (processes: GpuProcess[] | null, busyPercent = 50): GpuSample => ({
  gpu: { uuid: 'GPU-1', vendor: 'nvidia', model: 'RTX 5080', memoryBytes: 16 * 2 ** 30 },
  usedBytes: 0,
  busyPercent,
  processes,
});
const isForeign = (one: GpuSample, runs: OwnRuns): boolean => ownersUse(one, runs) !== null;
/** 41007 <- 41000 <- 900 (a run's root) <- 1 */
const tree: Record<number, number> = { 41007: 41000, 41000: 900, 900: 1 };
const ours = (...pids: number[]) => ({ pids: new Set(pids), parentOf: (pid: number) => tree[pid] ?? null });

describe('the owner of a GPU', () => {
  it('a process under one of our runs is ours', () => {
    expect(isOurs(41007, ours(900))).toBe(true);
    expect(isOurs(41007, ours(901))).toBe(false);
    expect(isForeign(sample([process({})]), ours(900))).toBe(false);
  });

  it('does not hang on a loop of parents', () => {
    expect(isOurs(5, { pids: new Set([9]), parentOf: (pid) => (pid === 5 ? 6 : 5) })).toBe(false);
  });

  it.each([
    ['a foreign compute process', process({}), true],
    ['a game', process({ type: 'G', name: 'Baldurs Gate 3', busyPercent: 74 }), true],
    ['a browser at rest', process({ type: 'G', name: 'firefox', busyPercent: 3 }), false],
    ['the desktop', process({ type: 'G', name: '/usr/lib/xorg/Xorg', busyPercent: 40 }), false],
    [
      'the desktop, as the driver cuts it',
      process({ type: 'C+G', name: '/usr/bin/gnome-shell', busyPercent: 40 }),
      false,
    ],
    ['a remote desktop at rest', process({ type: 'C+G', name: '/usr/libexec/gnome-remote-desktop-daemon' }), false],
    ['a browser that computes a little', process({ type: 'C+G', name: 'chrome', busyPercent: 4 }), false],
    ['a 3D program', process({ type: 'C+G', name: 'blender', busyPercent: 60 }), true],
    ['a daemon that waits', process({ name: 'ollama', busyPercent: null, usedBytes: 300 << 20 }), false],
    ['a daemon with a model loaded', process({ name: 'ollama', busyPercent: null, usedBytes: 6 * 2 ** 30 }), true],
    ['a program whose memory is not told', process({ usedBytes: null, busyPercent: null }), true],
    ['a program with a like name', process({ type: 'G', name: 'XorgGame', busyPercent: 40 }), true],
  ])('%s', (_name, one, expected) => {
    expect(isForeign(sample([one]), ours())).toBe(expected);
  });

  it('names who has it, and tells play from work', () => {
    const game = process({ pid: 2, type: 'G', name: 'C:\\Games\\Elden\u001b[31mRing.exe', busyPercent: 90 });
    const work = process({ pid: 3, name: '/opt/ollama/bin/ollama', usedBytes: 6 * 2 ** 30 });
    expect(ownersUse(sample([work]), ours())).toEqual({ name: 'ollama', plays: false });
    expect(ownersUse(sample([work, game]), ours())).toEqual({ name: 'Elden?[31mRing.exe', plays: true });
  });

  it('goes by load for the look at which pmon gave no answer', () => {
    const blind = { ...sample([], 92), namesGames: false };
    expect(ownersUse(blind, ours())).toEqual({ name: 'a program', plays: true });
    expect(ownersUse(blind, ours(900))).toBeNull();
    expect(ownersUse({ ...blind, namesGames: true }, ours())).toBeNull();
  });

  it('goes by load where processes have no names, but not while a run of ours makes the load', () => {
    expect(isForeign(sample(null, 60), ours())).toBe(true);
    expect(isForeign(sample(null, 10), ours())).toBe(false);
    expect(isForeign(sample(null, 60), ours(900))).toBe(false);
  });

  it('a played GPU says that it plays, and is nobody else’s', () => {
    const [played] = playedGpus([{ model: 'RTX 3090 Ti', memoryBytes: 24 * 2 ** 30 }]) as [GpuSample];
    expect(played.gpu).toMatchObject({ uuid: 'played-0', vendor: 'nvidia', model: 'RTX 3090 Ti (played)' });
    expect(isForeign(played, ours())).toBe(false);
    const vendors = playedGpus([
      { model: 'RX 7900 XTX', memoryBytes: 1 },
      { model: 'Arc B580', memoryBytes: 1 },
    ]);
    expect(vendors.map(({ gpu }) => gpu.vendor)).toEqual(['amd', 'intel']);
  });
});

describe('processes', () => {
  it('reads parents, whatever the name holds', () => {
    expect(parentInStat('4242 (a) b) (c) S 17 4242 4242 0')).toBe(17);
    expect(parentInStat('1 (init) S 0 1 1')).toBeNull();
    expect(parentOf(globalThis.process.pid)).toBe(globalThis.process.ppid);
    expect(parentOf(2 ** 30)).toBeNull();
  });

  it('tells somebody at the screen from somebody by ssh', () => {
    const session = (name: string) => readFileSync(new URL(`../fixtures/gpu/${name}`, import.meta.url), 'utf8');
    expect(isLocalScreen(session('session-screen'))).toBe(true);
    expect(isLocalScreen(session('session-ssh'))).toBe(false);
    expect(isLocalScreen('')).toBe(false);
  });
});
