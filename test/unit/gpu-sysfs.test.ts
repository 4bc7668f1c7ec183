import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

  it('knows a processor’s graphics by what they are, not by the memory that the firmware set aside', async () => {
    const sys = mkdtempSync(join(tmpdir(), 'autogit-sysfs-'));
    const card = (name: string, slot: string, device: string, classes: string[], state = 'active') => {
      const folder = join(sys, 'class/drm', name, 'device');
      mkdirSync(join(folder, 'power'), { recursive: true });
      const files = { vendor: '0x1002', device, uevent: `PCI_SLOT_NAME=${slot}`, mem_info_vram_total: 8 * gib };
      const load = { mem_info_vram_used: gib, gpu_busy_percent: 99, 'power/runtime_status': state };
      for (const [file, value] of Object.entries({ ...files, ...load }))
        writeFileSync(join(folder, file), `${value}\n`);
      for (const [index, kind] of classes.entries()) {
        const beside = join(sys, 'bus/pci/devices', slot.replace(/\d$/, String(index)));
        mkdirSync(beside, { recursive: true });
        writeFileSync(join(beside, 'class'), `${kind}\n`);
      }
    };
    const discrete = ['0x030000', '0x040300', '0x0c0330'];
    const processor = ['0x030000', '0x040300', '0x108000', '0x0c0330'];
    card('card0', '0000:03:00.0', '0x744c', discrete, 'suspended');
    card('card1', '0000:0d:00.0', '0x13c0', []);
    card('card2', '0000:0e:00.0', '0xffff', processor);
    card('card3', '0000:c5:00.0', '0x1586', processor);
    const found = await sysfsGpus({ sys, amdgpuIds: 'nothing', pciIds: [] });
    expect(found.map(({ gpu, busyPercent }) => [gpu.uuid, busyPercent])).toEqual([
      ['pci-0000:03:00.0', 0],
      ['pci-0000:c5:00.0', 99],
    ]);
    rmSync(sys, { recursive: true });
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

  it('leaves the graphics of an Intel processor out, whatever memory it names (public-reports 19)', async () => {
    const sys = mkdtempSync(join(tmpdir(), 'autogit-sysfs-'));
    for (const [name, slot] of [
      ['card0', '0000:00:02.0'],
      ['card1', '0000:03:00.0'],
    ] as const) {
      const folder = join(sys, 'class/drm', name, 'device');
      mkdirSync(folder, { recursive: true });
      const files = { vendor: '0x8086', device: '0x7d55', uevent: `PCI_SLOT_NAME=${slot}`, lmem_total_bytes: 16 * gib };
      for (const [file, value] of Object.entries(files)) writeFileSync(join(folder, file), `${value}\n`);
    }
    const found = await sysfsGpus({ sys, amdgpuIds: 'nothing', pciIds: [] });
    expect(found.map(({ gpu }) => gpu.uuid)).toEqual(['pci-0000:03:00.0']);
    rmSync(sys, { recursive: true });
  });

  it('finds nothing where there is nothing', async () => {
    expect(await sysfsGpus(paths('sysfs-none'))).toEqual([]);
    expect(await sysfsGpus(paths('no-such-folder'))).toEqual([]);
    expect(await pciVendors(paths('sysfs-intel'))).toEqual(['0x8086', '0x8086', '0x8086']);
  });
});
