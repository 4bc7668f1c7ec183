import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { pciVendors, sysfsGpus } from '../../node/machine/gpu-sysfs.ts';

const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/gpu/${name}`, import.meta.url));
const paths = (sys: string, ids = true) => ({
  sys: fixture(sys),
  amdgpuIds: fixture(ids ? 'amdgpu.ids' : 'nothing'),
  pciIds: [fixture('nothing'), ...(ids ? [fixture('pci.ids')] : [])],
});
const gib = 1 << 30;

describe('GPUs in sysfs', () => {
  it('reads AMD cards, and leaves the graphics of the processor out', async () => {
    const found = await sysfsGpus(paths('sysfs-amd'));
    expect(found.map(({ gpu }) => [gpu.uuid, gpu.vendor, gpu.model, Math.round(gpu.memoryBytes / gib)])).toEqual([
      ['pci-0000:03:00.0', 'amd', 'RX 7900 XTX', 24],
      ['pci-0000:43:00.0', 'amd', 'Radeon AI PRO R9700', 32],
    ]);
    expect(found[0]).toMatchObject({ usedBytes: 1610612736, busyPercent: 37, processes: null });
    expect(found[1]).toMatchObject({ usedBytes: null, busyPercent: null });
  });

  it('knows common cards without any list, and shows the number of the others', async () => {
    const found = await sysfsGpus(paths('sysfs-amd', false));
    expect(found.map(({ gpu }) => gpu.model)).toEqual(['RX 7900 XTX', '1002:7551']);
  });

  it('reads Intel cards: memory by model, else by the largest region', async () => {
    const found = await sysfsGpus(paths('sysfs-intel'));
    expect(found.map(({ gpu }) => [gpu.uuid, gpu.model, gpu.memoryBytes / gib])).toEqual([
      ['pci-0000:03:00.0', 'Arc A770', 16],
      ['pci-0000:04:00.0', 'Arc Pro B50', 16],
    ]);
  });

  it('finds nothing where there is nothing', async () => {
    expect(await sysfsGpus(paths('sysfs-none'))).toEqual([]);
    expect(await sysfsGpus(paths('no-such-folder'))).toEqual([]);
    expect(await pciVendors(paths('sysfs-intel'))).toEqual(['0x8086', '0x8086', '0x8086']);
  });
});
