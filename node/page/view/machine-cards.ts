import type { JobRow } from '../../../protocol/job-rows.ts';
import type { NodeRow, StatusSnapshot } from '../../../protocol/status.ts';
import { diskUse, machineUse } from '../../faces/mesh-words.ts';
import { showBytes, showDuration, showShare } from '../../settings/quantities.ts';

export type Tone = 'good' | 'busy' | 'rest' | 'warn' | 'fail';

interface Meter {
  /** 0 to 100. */
  percent: number;
  words: string;
}

export interface GpuLine {
  uuid: string;
  model: string;
  tone: Tone;
  /** Who has it. */
  holder: string;
  busy: Meter | null;
  memory: Meter | null;
}

export interface MachineCard {
  id: string;
  node: string;
  self: boolean;
  tone: Tone;
  state: string;
  badges: string[];
  because: string | null;
  cpu: Meter | null;
  memory: Meter | null;
  /** On which it has its jobs. */
  disk: Meter | null;
  gpus: GpuLine[];
  runs: { job: number; name: string | null }[];
  /** When it was last heard, where that is not now. */
  seen: string | null;
  facts: string;
  paused: 'gpu' | 'all' | null;
  drained: boolean;
}

const tones: Record<NodeRow['state'], Tone> = {
  ready: 'good',
  leader: 'good',
  busy: 'busy',
  draining: 'rest',
  paused: 'rest',
  waiting: 'rest',
  suspect: 'warn',
  gone: 'fail',
};

const owners = { present: 'its owner is here', playing: 'its owner plays' } as const;

/** The house at a glance: who serves the page first, then the others as the mesh lists them. */
export function machineCards(status: StatusSnapshot, jobs: readonly JobRow[]): MachineCard[] {
  const names = new Map(jobs.map(({ job, name }) => [job, name]));
  return status.nodes.map((node) => cardOf(status, node, names));
}

function cardOf(status: StatusSnapshot, node: NodeRow, names: ReadonlyMap<number, string>): MachineCard {
  const { gitlab } = status;
  const use = machineUse(node);
  const isGone = node.state === 'gone' || node.state === 'suspect';
  const disk = isGone ? null : diskUse(node);
  const copy = gitlab.standbys?.find((one) => one.node === node.node);
  return {
    id: node.id,
    node: node.node,
    self: node.self,
    ...stateOf(node),
    badges: [
      ...(status.leader?.node === node.node ? ['leads'] : []),
      ...(gitlab.host === node.node ? ['runs GitLab'] : []),
      ...(copy ? ["holds GitLab's copy"] : []),
      ...(node.voter ? [] : ['no vote']),
      ...(node.owner === null || node.owner === 'away' ? [] : [owners[node.owner]]),
      ...(node.self ? ['this page'] : []),
    ],
    because: node.because,
    cpu: use && !isGone ? { percent: use.cpuPercent, words: `${use.cpuPercent} %` } : null,
    memory:
      use && !isGone
        ? { percent: shareOf(use.memoryBytes, use.ofBytes), words: showShare(use.memoryBytes, use.ofBytes) }
        : null,
    disk: disk && { percent: shareOf(disk.diskBytes, disk.ofBytes), words: showShare(disk.diskBytes, disk.ofBytes) },
    gpus: (node.capacity?.gpus ?? []).map((gpu) => gpuLine(node, gpu, names)),
    runs: node.runs.map((job) => ({ job, name: names.get(job) ?? null })),
    seen:
      node.self || node.lastHeardMs === null || (node.lastHeardMs < 5_000 && !isGone)
        ? null
        : `heard ${showDuration(node.lastHeardMs)} ago`,
    facts: [
      node.arch,
      node.os,
      node.capacity && `${Math.round(node.capacity.cpuMillis / 1000)} CPU`,
      // Its meter says it.
      disk === null && node.capacity && `${showBytes(node.capacity.diskBytes)} disk`,
      node.version && `v${node.version}`,
      node.labels.length > 0 ? `labels ${node.labels.join(', ')}` : null,
    ]
      .filter((one) => one !== null && one !== '' && one !== false)
      .join(' · '),
    paused: node.paused ?? null,
    drained: node.state === 'draining',
  };
}

/** That it leads is said beside it: here stands whether it takes jobs, as of any other. */
function stateOf({ state, paused, because }: NodeRow): Pick<MachineCard, 'state' | 'tone'> {
  // Jobs without a GPU still come.
  if (paused === 'gpu' && (state === 'paused' || state === 'leader')) return { state: 'gpu paused', tone: 'rest' };
  if (state !== 'leader') return { state, tone: tones[state] };
  // One that leads says why alone where it is full.
  return because === null ? { state: 'ready', tone: 'good' } : { state: 'busy', tone: 'busy' };
}

function gpuLine(
  node: NodeRow,
  gpu: NonNullable<NodeRow['capacity']>['gpus'][number],
  names: ReadonlyMap<number, string>,
): GpuLine {
  const room = node.room?.gpus.find(({ uuid }) => uuid === gpu.uuid);
  const line = { uuid: gpu.uuid, model: gpu.model };
  if (!room || node.state === 'gone' || node.state === 'suspect')
    return { ...line, tone: 'rest', holder: 'nothing is heard of it', busy: null, memory: null };
  const usedBytes = Math.max(0, gpu.memoryBytes - room.memoryBytes);
  const measures = {
    busy: { percent: Math.round(room.busyPercent), words: `${Math.round(room.busyPercent)} %` },
    memory: { percent: shareOf(usedBytes, gpu.memoryBytes), words: showShare(usedBytes, gpu.memoryBytes) },
  };
  // A card that fails is `foreign` as well, for nodes that know nothing else; its owner has nothing to do with it.
  if (room.problem !== undefined) return { ...line, ...measures, tone: 'fail', holder: `fails: ${room.problem}` };
  if (room.foreign)
    return { ...line, ...measures, tone: 'rest', holder: `its owner has it${room.usedBy ? `: ${room.usedBy}` : ''}` };
  if (room.shared !== undefined)
    return {
      ...line,
      ...measures,
      tone: 'busy',
      holder: `${room.shared.runs === 1 ? 'a job has a share' : `${room.shared.runs} jobs share it`}, ${showBytes(room.shared.bytes)} of it`,
    };
  if (room.held !== undefined) return { ...line, ...measures, tone: 'busy', holder: heldBy(node, names) };
  return { ...line, ...measures, tone: 'good', holder: node.paused === 'gpu' ? 'kept for its owner' : 'free' };
}

/** By a job where only one can be meant: a report names the run, and of runs a page knows jobs. */
function heldBy({ runs, capacity }: NodeRow, names: ReadonlyMap<number, string>): string {
  const [job] = runs;
  if (job === undefined || runs.length > 1 || (capacity?.gpus.length ?? 0) > 1) return 'a job has it';
  const name = names.get(job);
  return name === undefined ? `job ${job} has it` : `job ${job} has it: ${name}`;
}

const shareOf = (part: number, whole: number): number =>
  whole <= 0 ? 0 : Math.min(100, Math.max(0, Math.round((100 * part) / whole)));
