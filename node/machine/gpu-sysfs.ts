import { readdir, readFile, readlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Gpu } from '../../protocol/report.ts';
import { type GpuSample, shortModel } from './gpu-nvidia.ts';

/** Own memory below this is a processor's built-in graphics at any rate: no GPU that a job means by `gpu`. */
const leastMemoryBytes = 1 << 30;
const gib = 1 << 30;

export interface SysfsPaths {
  /** /sys */
  sys: string;
  /** Files that name PCI devices, of libdrm and of pciutils; the first that knows the card counts. */
  amdgpuIds: string;
  pciIds: readonly string[];
}
export const sysfsPaths: SysfsPaths = {
  sys: '/sys',
  amdgpuIds: '/usr/share/libdrm/amdgpu.ids',
  pciIds: ['/usr/share/misc/pci.ids', '/usr/share/hwdata/pci.ids'],
};

/** Cards whose names or memory the kernel does not tell: device (and revision) -> model, bytes. */
const amdModels: Record<string, string> = {
  '744c:c8': 'RX 7900 XTX',
  '744c:cc': 'RX 7900 XT',
  '744c:ce': 'RX 7900 GRE',
  '747e:c8': 'RX 7800 XT',
  '747e:ff': 'RX 7700 XT',
  '7480:cf': 'RX 7600',
  '7480:c0': 'RX 7600 XT',
  '7550:c0': 'RX 9070 XT',
  '7550:c3': 'RX 9070',
  '7590:c0': 'RX 9060 XT',
  '73bf:c0': 'RX 6900 XT',
  '73bf:c1': 'RX 6800 XT',
  '73bf:c3': 'RX 6800',
  '73df:c1': 'RX 6700 XT',
  '73ff:c1': 'RX 6600 XT',
  '73ff:c7': 'RX 6600',
  '731f:c1': 'RX 5700 XT',
  '687f:c1': 'RX Vega 64',
  '66af:c1': 'Radeon VII',
};
/**
 * Graphics built into AMD's processors, whatever share of memory the firmware set aside for them (2 GiB is usual on
 * Ryzen 7000 and 9000). Strix Halo is left out: with its shared 32 GiB and more it is what people mean by a GPU.
 */
const builtIn = new Set(
  '1309 130f 1313 1506 150e 15bf 15c8 15d8 15dd 15e7 1636 1638 163f 164c 164d 164e 1681 1114 13c0 1900 1901 9874 98e4'.split(
    ' ',
  ),
);
const strixHalo = '1586';

const intelModels: Record<string, { model: string; memoryBytes: number }> = {
  '56a0': { model: 'Arc A770', memoryBytes: 16 * gib },
  '56a1': { model: 'Arc A750', memoryBytes: 8 * gib },
  '56a2': { model: 'Arc A580', memoryBytes: 8 * gib },
  '56a5': { model: 'Arc A380', memoryBytes: 6 * gib },
  '56a6': { model: 'Arc A310', memoryBytes: 4 * gib },
  e20b: { model: 'Arc B580', memoryBytes: 12 * gib },
  e20c: { model: 'Arc B570', memoryBytes: 10 * gib },
};

async function text(...path: string[]): Promise<string | null> {
  try {
    return (await readFile(join(...path), 'utf8')).trim();
  } catch {
    return null;
  }
}
const number = (value: string | null): number | null => (value !== null && /^\d+$/.test(value) ? Number(value) : null);

/** PCI vendors of the machine's cards, so that doctor can tell "no driver" from "no GPU". */
export async function pciVendors(paths: SysfsPaths = sysfsPaths): Promise<string[]> {
  const cards = await cardFolders(paths);
  const vendors = await Promise.all(cards.map((card) => text(card, 'vendor')));
  return vendors.filter((vendor): vendor is string => vendor !== null);
}

async function cardFolders({ sys }: SysfsPaths): Promise<string[]> {
  const folder = join(sys, 'class/drm');
  const names = await readdir(folder).catch(() => [] as string[]);
  return names.filter((name) => /^card\d+$/.test(name)).map((name) => join(folder, name, 'device'));
}

/**
 * AMD and Intel cards as the kernel shows them, without any tool. A GPU's uuid is `pci-<slot>`, which also names its
 * device nodes (/dev/dri/by-path). The built-in graphics of a processor are left out.
 */
export async function sysfsGpus(paths: SysfsPaths = sysfsPaths): Promise<GpuSample[]> {
  const found: GpuSample[] = [];
  for (const device of await cardFolders(paths)) {
    const vendor = await text(device, 'vendor');
    const sample =
      vendor === '0x1002' ? await amd(device, paths) : vendor === '0x8086' ? await intel(device, paths) : null;
    if (sample && sample.gpu.memoryBytes >= leastMemoryBytes) found.push(sample);
  }
  return found.sort((a, b) => a.gpu.uuid.localeCompare(b.gpu.uuid));
}

async function slotOf(device: string): Promise<string> {
  const event = await text(device, 'uevent');
  const named = /^PCI_SLOT_NAME=(\S+)$/m.exec(event ?? '');
  return named?.[1] ?? basename(await readlink(device).catch(() => device));
}

const hex = (value: string | null): string => (value ?? '').replace(/^0x/, '').toLowerCase();

async function amd(device: string, paths: SysfsPaths): Promise<GpuSample | null> {
  const memoryBytes = number(await text(device, 'mem_info_vram_total'));
  if (memoryBytes === null) return null;
  const id = hex(await text(device, 'device'));
  const slot = await slotOf(device);
  if (id !== strixHalo && (builtIn.has(id) || (await besideProcessor(paths.sys, slot)))) return null;
  const revision = hex(await text(device, 'revision'));
  const model =
    (await nameByAmdgpuIds(paths.amdgpuIds, id, revision)) ??
    amdModels[`${id}:${revision}`] ??
    (await text(device, 'product_name')) ??
    (await nameByPciIds(paths.pciIds, '1002', id)) ??
    `AMD 1002:${id}`;
  const gpu: Gpu = { uuid: `pci-${slot}`, vendor: 'amd', model: shortModel(model), memoryBytes };
  // Reading its load would wake a suspended card, every 10 s; it has none.
  if ((await text(device, 'power/runtime_status')) === 'suspended')
    return { gpu, usedBytes: 0, busyPercent: 0, processes: null };
  return {
    gpu,
    usedBytes: number(await text(device, 'mem_info_vram_used')),
    busyPercent: number(await text(device, 'gpu_busy_percent')),
    processes: null,
  };
}

/** The security processor (class 1080) is a function of the same device only inside of a processor. */
async function besideProcessor(sys: string, slot: string): Promise<boolean> {
  const folder = join(sys, 'bus/pci/devices');
  const device = slot.replace(/\.\d+$/, '.');
  const names = (await readdir(folder).catch(() => [] as string[])).filter((name) => name.startsWith(device));
  const classes = await Promise.all(names.map((name) => text(folder, name, 'class')));
  return classes.some((name) => name?.startsWith('0x1080'));
}

/** Are all display controllers of this PCI vendor suspended? False where there is none, or the kernel does not tell. */
export async function areAsleep(vendor: string, { sys }: SysfsPaths): Promise<boolean> {
  const folder = join(sys, 'bus/pci/devices');
  const names = await readdir(folder).catch(() => [] as string[]);
  const states = await Promise.all(
    names.map(async (name) => {
      if ((await text(folder, name, 'vendor')) !== vendor) return null;
      if (!(await text(folder, name, 'class'))?.startsWith('0x03')) return null;
      return (await text(folder, name, 'power/runtime_status')) ?? 'unknown';
    }),
  );
  const cards = states.filter((state) => state !== null);
  return cards.length > 0 && cards.every((state) => state === 'suspended');
}

/** Intel's kernel drivers do not tell how much memory a card has, nor how busy it is without root. */
async function intel(device: string, paths: SysfsPaths): Promise<GpuSample | null> {
  const slot = await slotOf(device);
  if (/^[\da-f]{4}:00:/.test(slot)) return null;
  const id = hex(await text(device, 'device'));
  const known = intelModels[id];
  const memoryBytes =
    number(await text(device, 'lmem_total_bytes')) ?? known?.memoryBytes ?? (await largestBar(device));
  const model = known?.model ?? (await nameByPciIds(paths.pciIds, '8086', id)) ?? `Intel 8086:${id}`;
  const gpu: Gpu = { uuid: `pci-${slot}`, vendor: 'intel', model: shortModel(model), memoryBytes };
  return { gpu, usedBytes: null, busyPercent: null, processes: null };
}

/** With resizable BAR the largest region of the card is its memory. */
async function largestBar(device: string): Promise<number> {
  const lines = (await text(device, 'resource'))?.split('\n') ?? [];
  const sizes = lines.map((line) => {
    const [start = 0, end = 0] = line.trim().split(/\s+/).map(Number);
    return end > start ? end - start + 1 : 0;
  });
  return Math.max(0, ...sizes);
}

/** libdrm's list: `744C,	C8,	AMD Radeon RX 7900 XTX`. */
async function nameByAmdgpuIds(file: string, id: string, revision: string): Promise<string | null> {
  for (const line of (await text(file))?.split('\n') ?? []) {
    const [device, rev, ...name] = line.split(',').map((cell) => cell.trim());
    if (device?.toLowerCase() === id && rev?.toLowerCase() === revision) return name.join(', ');
  }
  return null;
}

/** pciutils' list; the name in brackets is the one on the box. */
async function nameByPciIds(files: readonly string[], vendor: string, id: string): Promise<string | null> {
  for (const file of files) {
    let isVendor = false;
    for (const line of (await text(file))?.split('\n') ?? []) {
      if (/^[\da-f]{4} /.test(line)) isVendor = line.startsWith(vendor);
      else if (isVendor && line.startsWith(`\t${id} `)) {
        const name = line.slice(6).trim();
        return /\[([^\]]+)\]/.exec(name)?.[1] ?? name;
      }
    }
  }
  return null;
}
