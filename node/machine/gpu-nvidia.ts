import type { Gpu } from '../../protocol/report.ts';

/** What one look at a GPU says. Null where the driver does not tell. */
export interface GpuSample {
  gpu: Gpu;
  usedBytes: number | null;
  busyPercent: number | null;
  /** Processes on it; null when the driver does not name them (WSL2, AMD, Intel). */
  processes: GpuProcess[] | null;
  /** False when only compute programs are named this time: a game may be there unseen. */
  namesGames?: boolean;
  /** Why the card cannot be used now, a sentence; absent when it works. */
  problem?: string;
}

export interface GpuProcess {
  pid: number;
  name: string;
  usedBytes: number | null;
  busyPercent: number | null;
  /** C = compute, G = graphics, C+G = both. */
  type: 'C' | 'G' | 'C+G';
}

export interface NvidiaRow {
  index: number;
  uuid: string;
  model: string;
  /** Null when the driver does not tell. */
  memoryBytes: number | null;
  /** The driver's words where it should have told the memory and failed, `[Unknown Error]`; null when that is as it should be. */
  memoryFault: string | null;
  usedBytes: number | null;
  busyPercent: number | null;
  isMig: boolean;
}

const mib = 1 << 20;
const gib = 1 << 30;

/** Fields of `nvidia-smi --query-gpu`, in the order that `parseGpuQuery` expects. */
export const gpuQuery = 'index,uuid,name,memory.total,memory.used,utilization.gpu,mig.mode.current';
export const appsQuery = 'gpu_uuid,pid,process_name,used_memory';

/** `[N/A]`, `[Not Supported]`, `[Unknown Error]`, `ERR!` and the like are null; a unit after the number is let pass. */
const number = (cell: string): number | null => {
  const match = /^(\d{1,12}(?:\.\d{1,6})?)(?:\s*(?:MiB|%))?$/.exec(cell);
  return match ? Number(match[1]) : null;
};
const bytes = (cell: string): number | null => {
  const value = number(cell);
  return value === null ? null : value * mib;
};

/** What the driver says of a GPU that shares the machine's memory (DGX Spark); all else is a fault. */
const hasNoMemory = /^\[?(?:N\/A|Not Supported|Not Available)\]?$/i;

/** `NVIDIA GeForce RTX 3090 Ti` -> `RTX 3090 Ti`: the name that people, and tags, use. */
export const shortModel = (name: string): string =>
  name
    .replace(/^(NVIDIA|AMD|Intel\(R\)|Intel)\s+/i, '')
    .replace(/^(GeForce|Radeon(?!\s+(?:VII|Pro|PRO|AI|Instinct))|Radeon\(TM\))\s+(?=\S)/i, '')
    .trim()
    .slice(0, 128);

/**
 * Reads `--format=csv,noheader,nounits` of `gpuQuery`. Lines that are no row (driver messages) come back as problems,
 * in the driver's words.
 */
export function parseGpuQuery(text: string): { rows: NvidiaRow[]; problems: string[] } {
  const rows: NvidiaRow[] = [];
  const problems: string[] = [];
  for (const line of text.split(/\r?\n/)) {
    if (line.trim() === '') continue;
    const cells = line.split(',').map((cell) => cell.trim());
    const index = number(cells[0] ?? '');
    const uuid = cells[1] ?? '';
    if (index === null || !/^(GPU|MIG)-[\w/-]{1,100}$/.test(uuid) || cells.length < 7 || cells.length > 9) {
      problems.push(line.trim());
      continue;
    }
    const [total, used, busy, mig] = cells.slice(-4) as [string, string, string, string];
    rows.push({
      index,
      uuid,
      model: shortModel(cells.slice(2, -4).join(', ')),
      memoryBytes: bytes(total),
      memoryFault: bytes(total) === null && !hasNoMemory.test(total) ? total : null,
      usedBytes: bytes(used),
      busyPercent: clampPercent(number(busy)),
      isMig: mig === 'Enabled',
    });
  }
  return { rows, problems };
}

const clampPercent = (value: number | null): number | null => (value === null ? null : Math.min(100, value));

/** Reads `--query-compute-apps`; the GPU's uuid is beside each process. Lines that are no process are left out. */
export function parseComputeApps(text: string): { uuid: string; process: GpuProcess }[] {
  const found: { uuid: string; process: GpuProcess }[] = [];
  for (const line of text.split(/\r?\n/)) {
    const cells = line.split(',').map((cell) => cell.trim());
    const pid = number(cells[1] ?? '');
    if (cells.length < 4 || pid === null || !/^(GPU|MIG)-/.test(cells[0] ?? '')) continue;
    const name = cells.slice(2, -1).join(', ');
    const usedBytes = bytes(cells.at(-1) ?? '');
    found.push({ uuid: cells[0] as string, process: { pid, name, usedBytes, busyPercent: null, type: 'C' } });
  }
  return found;
}

/**
 * Reads `nvidia-smi pmon -c 1 -s um`, which names graphics processes too: games are no compute apps. Columns differ
 * between drivers, so they are found by the head line.
 */
export function parsePmon(text: string): { index: number; process: GpuProcess }[] {
  const found: { index: number; process: GpuProcess }[] = [];
  let head: string[] = [];
  for (const line of text.split(/\r?\n/)) {
    const cells = line.replace(/^#/, ' ').trim().split(/\s+/);
    if (line.startsWith('#')) {
      if (cells.includes('pid')) head = cells;
      continue;
    }
    const cell = (name: string): string => cells[head.indexOf(name)] ?? '-';
    const index = number(cell('gpu'));
    const pid = number(cell('pid'));
    const type = cell('type');
    if (index === null || pid === null || !['C', 'G', 'C+G'].includes(type)) continue;
    const command = head.indexOf('command');
    const name = command < 0 ? '' : cells.slice(command).join(' ');
    const process = { pid, name, usedBytes: bytes(cell('fb')), busyPercent: number(cell('sm')) };
    found.push({ index, process: { ...process, type: type as GpuProcess['type'] } });
  }
  return found;
}

/** MIG devices of `nvidia-smi -L` by their GPU's uuid; the profile's name tells the memory: `3g.20gb`. */
export function parseMigList(text: string): Map<string, Gpu[]> {
  const found = new Map<string, Gpu[]>();
  let parent = { uuid: '', model: '' };
  for (const line of text.split(/\r?\n/)) {
    const gpu = /^GPU \d+: (.+) \(UUID: (GPU-[\w-]{1,100})\)/.exec(line);
    if (gpu) parent = { model: shortModel(gpu[1] as string), uuid: gpu[2] as string };
    const mig = /^\s+MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-[\w/-]{1,100})\)/.exec(line);
    if (!mig) continue;
    const profile = mig[1] as string;
    const memory = /\.(\d{1,6})gb/.exec(profile);
    const device: Gpu = {
      uuid: mig[2] as string,
      vendor: 'nvidia',
      model: `${parent.model} MIG ${profile}`.slice(0, 128),
      memoryBytes: memory ? Number(memory[1]) * gib : 0,
    };
    found.set(parent.uuid, [...(found.get(parent.uuid) ?? []), device]);
  }
  return found;
}

/** Puts the answers together. `systemMemoryBytes` stands in where a GPU has none of its own. */
export function nvidiaSamples(
  rows: readonly NvidiaRow[],
  answers: { apps: string | null; pmon: string | null; list: string; systemMemoryBytes: number },
): GpuSample[] {
  const migs = parseMigList(answers.list);
  const apps = answers.apps === null ? null : parseComputeApps(answers.apps);
  const pmon = answers.pmon === null ? null : parsePmon(answers.pmon);
  const samples = rows.flatMap((row): GpuSample[] => {
    if (row.isMig)
      return (migs.get(row.uuid) ?? []).map((gpu) => ({ gpu, usedBytes: null, busyPercent: null, processes: null }));
    const memoryBytes = row.memoryBytes ?? (row.memoryFault === null ? answers.systemMemoryBytes : 0);
    const gpu: Gpu = { uuid: row.uuid, vendor: 'nvidia', model: row.model, memoryBytes };
    const named = new Map<number, GpuProcess>();
    for (const { uuid, process } of apps ?? []) if (uuid === row.uuid) named.set(process.pid, process);
    for (const { index, process } of pmon ?? []) if (index === row.index) named.set(process.pid, process);
    const processes = apps === null && pmon === null ? null : [...named.values()];
    const { usedBytes, busyPercent, memoryFault } = row;
    const fault = memoryFault === null ? {} : { problem: `${row.model} does not tell its memory: ${memoryFault}` };
    return [{ gpu, usedBytes, busyPercent, processes, namesGames: pmon !== null, ...fault }];
  });
  // A card that the driver lists twice is one card: two would be given to two jobs (found by fuzz).
  return [...new Map(samples.reverse().map((sample) => [sample.gpu.uuid, sample])).values()].reverse();
}
