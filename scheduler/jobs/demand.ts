import { GiB } from '../phrases.ts';
import { nearWord } from './near-word.ts';
import type { Isolation } from './runtimes.ts';

/**
 * What a job's tags demand of a machine (DESIGN §8). Demands are monotone: more tags never demand less, because the
 * defaults are floors and every other field only grows or narrows; so what a class's runner is given fits where the
 * class fits. An arch that no tag names is the mesh's default.
 */
export interface Demand {
  tags: readonly string[];
  arch: string;
  /** How many GPUs; each is exclusive to one run. */
  gpus: number;
  vendor: 'nvidia' | 'amd' | 'intel' | null;
  /** Per GPU. */
  vramBytes: number;
  cpuMillis: number;
  memoryBytes: number;
  diskBytes: number;
  /** From `runtime-<name>`, `isolation-…` and `firecracker-…`: all of them are asked of one runtime. */
  isolation: readonly Isolation[];
  /** From `node-<name>`. */
  node: string | null;
  /** Every other tag: a label of the machine, one of its executors, or the slug of a GPU's model. */
  names: readonly string[];
  /** Set when no machine could ever satisfy the tags, whatever it has: the sentence that says why. */
  impossible: string | null;
}

/** Whether a tag says how much memory a job may use; without one it was placed by the floor. */
export const saysMemory = (tags: readonly string[]): boolean => tags.some((tag) => /^mem-/i.test(tag));

const defaultCpuMillis = 1000;
const defaultMemoryBytes = GiB;

/** By what others chose: a tag may be called `constructor`, and is none of an object's own words here. */
const archs: ReadonlyMap<string, string> = new Map([
  ['amd64', 'amd64'],
  ['x64', 'amd64'],
  ['x86_64', 'amd64'],
  ['arm64', 'arm64'],
  ['aarch64', 'arm64'],
  ['riscv64', 'riscv64'],
]);

/** One spelling for an architecture; unknown ones stay as they are. */
export const archName = (arch: string): string => archs.get(arch.toLowerCase()) ?? arch.toLowerCase();

/** Each with its unit, as the regular expression found it: none is 1. */
const units: Record<string, number> = { m: 2 ** 20, g: GiB, t: 1024 * GiB };
const sizes: [RegExp, (demand: Demand, n: number) => Partial<Demand>][] = [
  [/^gpu-([1-9]\d?)$/, (d, n) => ({ gpus: Math.max(d.gpus, n) })],
  [/^vram-([1-9]\d{0,5})([mg])$/, (d, n) => ({ gpus: Math.max(d.gpus, 1), vramBytes: Math.max(d.vramBytes, n) })],
  [/^cpu-([1-9]\d{0,3})$/, (d, n) => ({ cpuMillis: Math.max(d.cpuMillis, n * 1000) })],
  [/^mem-([1-9]\d{0,6})([mgt])$/, (d, n) => ({ memoryBytes: Math.max(d.memoryBytes, n) })],
  [/^disk-([1-9]\d{0,6})([mgt])$/, (d, n) => ({ diskBytes: Math.max(d.diskBytes, n) })],
];
/** Every tag that means something by itself; sizes with the number that was given. */
const known = [
  'gpu',
  'nvidia',
  'cuda',
  'amd',
  'intel',
  'amd64',
  'arm64',
  'riscv64',
  'linux',
  'isolation-gvisor',
  'isolation-kata',
  'isolation-micro-vm',
];

/**
 * What a tag that no machine carries was probably meant as: `vram20g` -> `vram-20g`, `mem-64` -> `mem-64g`; null when
 * it looks like nothing else.
 */
export function meantTag(tag: string, labels: readonly string[]): string | null {
  const size = /^(gpu|vram|cpu|mem|memory|ram|disk)[-_ :=]?(\d+)[-_ ]?(m|g|t)?(?:i?b)?$/i.exec(tag);
  if (size) {
    const name = size[1]!.toLowerCase().replace(/^(memory|ram)$/, 'mem');
    const unit = ['gpu', 'cpu'].includes(name) ? '' : (size[3] ?? 'g').toLowerCase();
    const meant = `${name}-${Number(size[2])}${unit}`;
    if (meant !== tag && sizes.some(([pattern]) => pattern.test(meant))) return meant;
  }
  const vm = /^(?:firecracker|kata)[-_ ]?(\d+)[-_ ]?cpus?[-_ ]?(\d+)[-_ ]?(?:gi?b?)$/i.exec(tag);
  const meantVm = vm && `firecracker-${Number(vm[1])}cpu-${Number(vm[2])}gb`;
  if (meantVm) return meantVm !== tag && microVm.test(meantVm) ? meantVm : null;
  return nearWord(tag, [...known, ...labels]);
}
const vendors: ReadonlyMap<string, 'nvidia' | 'amd' | 'intel'> = new Map([
  ['nvidia', 'nvidia'],
  ['cuda', 'nvidia'],
  ['amd', 'amd'],
  ['intel', 'intel'],
]);
const microVm = /^firecracker-([1-9]\d{0,3})cpu-([1-9]\d{0,4})gb$/;

/** The demand of a tag set. Never throws: what it does not understand is a name that some machine must carry. */
export function demandOf(tags: readonly string[], defaultArch: string): Demand {
  let demand: Demand = {
    tags: [...new Set(tags)].sort(),
    arch: archName(defaultArch),
    gpus: 0,
    vendor: null,
    vramBytes: 0,
    cpuMillis: defaultCpuMillis,
    memoryBytes: defaultMemoryBytes,
    diskBytes: 0,
    isolation: [],
    node: null,
    names: [],
    impossible: null,
  };
  let archTag: string | null = null;
  for (const tag of demand.tags) {
    if (tag === 'linux') continue;
    if (tag === 'amd64' || tag === 'arm64' || tag === 'riscv64') {
      if (archTag !== null) demand = impossible(demand, `no machine is both ${archTag} and ${tag}`);
      archTag = tag;
      demand = { ...demand, arch: tag };
    } else demand = add(demand, tag);
  }
  return demand;
}

function add(demand: Demand, tag: string): Demand {
  if (tag === 'gpu') return { ...demand, gpus: Math.max(demand.gpus, 1) };
  const vendor = vendors.get(tag);
  if (vendor !== undefined) {
    const wanted = { ...demand, gpus: Math.max(demand.gpus, 1), vendor };
    return demand.vendor === null || demand.vendor === vendor
      ? wanted
      : impossible(wanted, `no GPU is both of ${demand.vendor} and of ${vendor}`);
  }
  for (const [pattern, change] of sizes) {
    const match = pattern.exec(tag);
    if (match) return { ...demand, ...change(demand, Number(match[1]) * (units[match[2] ?? ''] ?? 1)) };
  }
  const vm = microVm.exec(tag);
  if (vm)
    return isolated(
      {
        ...demand,
        cpuMillis: Math.max(demand.cpuMillis, Number(vm[1]) * 1000),
        memoryBytes: Math.max(demand.memoryBytes, Number(vm[2]) * GiB),
      },
      'micro-vm',
    );
  const isolation = /^isolation-(gvisor|kata|micro-vm)$/.exec(tag)?.[1];
  if (isolation !== undefined) return isolated(demand, isolation as Isolation);
  const runtime = /^runtime-([\w.-]{1,64})$/.exec(tag)?.[1];
  if (runtime !== undefined) return isolated(demand, `runtime ${runtime}`);
  if (tag.startsWith('node-') && tag.length > 5) {
    const node = tag.slice(5);
    const named = { ...demand, node };
    return demand.node === null ? named : impossible(named, `no machine is both ${demand.node} and ${node}`);
  }
  return { ...demand, names: [...demand.names, tag] };
}

const isolated = (demand: Demand, by: Isolation): Demand => ({ ...demand, isolation: [...demand.isolation, by] });

const impossible = (demand: Demand, because: string): Demand => ({
  ...demand,
  impossible: demand.impossible ?? because,
});

/** For `why`: "gpu, vram-20g"; an untagged job needs the defaults. */
export const needsSentence = (demand: Demand): string =>
  demand.tags.length === 0 ? '1 CPU, 1 GiB (no tags)' : demand.tags.join(', ');

/** "NVIDIA GeForce RTX 3090 Ti" -> "rtx-3090-ti"; "AMD Radeon RX 7900 XTX" -> "rx-7900-xtx". A played GPU plays its model. */
export function gpuSlug(model: string): string {
  return gpuName(model.replace(/\s*\(played\)$/, ''))
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '');
}

/** "NVIDIA GeForce RTX 3090 Ti" -> "RTX 3090 Ti", as people call it. */
export function gpuName(model: string): string {
  const short = model
    .replace(/\((?:R|TM|C)\)/gi, ' ')
    .replace(/\b(?:NVIDIA|GeForce|AMD|ATI|Intel|Radeon|Corporation|Graphics|Advanced Micro Devices,? Inc\.?)\b/gi, ' ')
    .replace(/\s+/g, ' ')
    .trim();
  return short === '' ? model.trim() : short;
}

/** Cards of "24 GB" say 23.99 GiB of themselves: sizes of GPUs compare in whole GiB, rounded. */
export const vramFits = (memoryBytes: number, vramBytes: number): boolean =>
  Math.round(memoryBytes / GiB) >= Math.round(vramBytes / GiB);
