import { classKey } from '../../protocol/ids.ts';
import type { Ledger, LedgerNode, Run } from '../../protocol/ledger.ts';
import type { Gpu, Measured } from '../../protocol/report.ts';
import type { MachineView } from '../../scheduler/jobs/machine-fit.ts';
import { roomOf } from '../../scheduler/jobs/room.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';

/** The example lab of DESIGN §1: kang (server, no GPU), desktop-1 (RTX 3090 Ti), desktop-2 (RTX 5080). */
export const GiB = 2 ** 30;
export const MiB = 2 ** 20;

export const gpu3090: Gpu = {
  uuid: 'GPU-3090',
  vendor: 'nvidia',
  model: 'NVIDIA GeForce RTX 3090 Ti',
  memoryBytes: 24_564 * MiB,
};
export const gpu5080: Gpu = {
  uuid: 'GPU-5080',
  vendor: 'nvidia',
  model: 'NVIDIA GeForce RTX 5080',
  memoryBytes: 16_303 * MiB,
};

export function measured(
  over: Partial<Measured> & { cores?: number; memoryGiB?: number; gpus_?: Gpu[] } = {},
): Measured {
  const { cores = 16, memoryGiB = 64, gpus_ = [], ...rest } = over;
  return {
    arch: 'amd64',
    os: 'linux',
    capacity: { cpuMillis: cores * 1000, memoryBytes: memoryGiB * GiB, diskBytes: 500 * GiB, gpus: gpus_ },
    usedCpuMillis: 500,
    usedMemoryBytes: 2 * GiB,
    usedDiskBytes: 100 * GiB,
    gpus: gpus_.map((gpu) => ({ uuid: gpu.uuid, usedBytes: 0, busyPercent: 0, foreign: false })),
    labels: [],
    executors: ['docker'],
    maxRuns: null,
    reserveMemoryBytes: 2 * GiB,
    owner: 'away',
    paused: 'no',
    pausedBecause: null,
    healthy: true,
    unhealthyBecause: null,
    ...rest,
  };
}

export const labMeasured: Record<string, Measured> = {
  kang: measured({ memoryGiB: 126 }),
  'desktop-1': measured({ gpus_: [gpu3090] }),
  'desktop-2': measured({ memoryGiB: 32, gpus_: [gpu5080] }),
};

/** An idle machine as placement sees it. */
export function machine(name: string, over: Partial<MachineView> = {}, words: Partial<Measured> = {}): MachineView {
  const base = labMeasured[name] ?? measured();
  const said = { ...base, ...words };
  return {
    node: `id-${name}`,
    name,
    measured: said,
    room: {
      cpuMillis: said.capacity.cpuMillis,
      memoryBytes: said.capacity.memoryBytes - said.reserveMemoryBytes - said.usedMemoryBytes,
      diskBytes: said.capacity.diskBytes - said.usedDiskBytes,
      gpus: roomOf(said, [], null).gpus,
    },
    holders: {},
    runs: 0,
    witness: false,
    drained: false,
    away: null,
    isHost: false,
    ...over,
  };
}

const listed = (name: string): LedgerNode => ({
  name,
  approvedAt: 0,
  because: 'test',
  addresses: ['/ip4/10.0.0.1/tcp/7117'],
  store: `store-${name}`,
  witness: false,
  drained: false,
  left: false,
});

/** A mesh of these machines with a connected GitLab; the first votes alone unless the test says otherwise. */
export function labLedger(names: readonly string[], wallMs: number): Ledger {
  const first = names[0] ?? 'kang';
  const founded = foundedMesh({
    meshId: 'mesh1',
    era: 'era1',
    node: first,
    name: first,
    store: `store-${first}`,
    wallMs,
  });
  return {
    ...founded,
    nodes: Object.fromEntries(names.map((name) => [name, listed(name)])),
    configuration: {
      voters: Object.fromEntries(names.map((name) => [name, { store: `store-${name}`, weight: 2 }])),
      next: null,
    },
    gitlab: { mode: 'connected', url: 'http://gitlab', token: 'sealed', host: null, epoch: 1, instance: 'i' },
  };
}

export function labRun(over: Partial<Run> & { run: string; node: string }): Run {
  const tags = over.tags ?? [];
  return {
    job: 1,
    projectId: 7,
    project: 'lab/vision',
    name: 'eval',
    ref: 'main',
    tags,
    class: classKey(tags),
    grant: `grant-${over.run}`,
    token: 'sealed-job',
    executor: 'docker',
    state: 'running',
    frozen: false,
    takenAt: 0,
    startedAt: null,
    finishedAt: null,
    result: null,
    gpus: [],
    because: 'placed',
    ...over,
  };
}
