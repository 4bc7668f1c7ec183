import type { Measured } from '../../protocol/report.ts';
import type { NodeRow } from '../../protocol/status.ts';
import { gpuSlug } from '../../scheduler/jobs/demand.ts';
import { type Family, gauge, label, most, type Sample, type Seen, secondsOf, states, yes } from './family.ts';

type Mesh = NonNullable<Seen['mesh']>;

const machineStates = ['ready', 'leader', 'busy', 'draining', 'paused', 'suspect', 'gone', 'waiting'] as const;
const jobStates = ['waiting', 'granted', 'running', 'canceling', 'done', 'failed', 'canceled', 'lost'] as const;
const away: ReadonlySet<NodeRow['state']> = new Set(['suspect', 'gone', 'waiting']);

/** The mesh as this agent sees it: every agent tells of all machines, so max or min by `node` where more than one is scraped. */
export function meshFamilies(mesh: Mesh): Family[] {
  const { status } = mesh;
  const { leader, quorum, queue } = status;
  const self = status.nodes.find((row) => row.self)?.node;
  return [
    gauge('autogit_has_leader', 'Whether this agent hears a leader.', yes(leader !== null)),
    gauge('autogit_is_leader', 'Whether this agent leads.', yes(leader !== null && leader.node === self)),
    gauge('autogit_term', 'The term of the leader that this agent hears.', leader?.term ?? null),
    gauge('autogit_leader_start_time_seconds', 'Since when it leads, since 1970.', secondsOf(leader?.since)),
    gauge('autogit_view_age_seconds', "How old the leader's last word is here; 0 on the leader.", status.ageMs / 1000),
    gauge('autogit_voters', 'Machines that vote.', quorum.voters.length),
    gauge(
      'autogit_failures_tolerated',
      'How many machines that vote may be lost now without stopping the mesh.',
      quorum.canLose,
    ),
    gauge('autogit_machines_waiting', 'Machines that wait to be let in.', status.waiting.length),
    gauge(
      'autogit_jobs',
      'Jobs that the mesh knows, by state; those that ended only for as long as it remembers them.',
      jobCounts(mesh),
    ),
    gauge(
      'autogit_jobs_oldest_waiting_seconds',
      'How long the job has waited that waits longest; 0 when none does.',
      oldestWait(mesh),
    ),
    gauge('autogit_jobs_today', 'Jobs of this day (UTC) that ended, by how.', [
      { labels: { result: 'done' }, value: queue.doneToday },
      { labels: { result: 'failed' }, value: queue.failedToday },
    ]),
    gauge(
      'autogit_attention',
      'Lines of attention in `autogit-node status`, by their code: each is explained in the runbook.',
      attention(mesh),
    ),
    ...machineFamilies(mesh),
  ];
}

/** Of what waits all know the number, and the leader alone which of it is granted. */
function jobCounts({ jobs, status }: Mesh): Sample[] {
  const of = (state: string): number => jobs.filter((job) => job.state === state).length;
  const more = Math.max(0, status.queue.waiting - of('waiting') - of('granted'));
  return jobStates.map((state) => ({ labels: { state }, value: of(state) + (state === 'waiting' ? more : 0) }));
}

const oldestWait = ({ oldestQueuedAt: since, wallMs }: Mesh): number | null =>
  since === undefined ? null : since === null ? 0 : Math.max(0, (wallMs - since) / 1000);

/** Codes are ours; those of a later version's agent too. */
function attention({ status }: Mesh): Sample[] {
  const found = new Map<string, Sample>();
  for (const { code, severity } of status.attention) {
    const key = `${code} ${severity}`;
    const value = (found.get(key)?.value ?? 0) + 1;
    if (found.has(key) || found.size < most.codes) found.set(key, { labels: { code: label(code), severity }, value });
  }
  return [...found.values()];
}

interface Machine {
  row: NodeRow;
  labels: { node: string };
  hasLeft: boolean;
  /** Null of one that does not answer: what it said last is no figure of now. */
  now: Measured | null;
}

function machineFamilies({ status, measured, left }: Mesh): Family[] {
  const machines = status.nodes.slice(0, most.machines).map(
    (row): Machine => ({
      row,
      labels: { node: label(row.node) },
      hasLeft: left.has(row.id),
      now: away.has(row.state) ? null : (measured.get(row.id) ?? null),
    }),
  );
  const each: Each = (value) =>
    machines.flatMap((machine) => {
      const found = value(machine);
      return found == null ? [] : [{ labels: machine.labels, value: found }];
    });
  return [...machineRows(machines, each), ...machineLoad(each), ...gpuFamilies(machines)];
}

type Each = (value: (machine: Machine) => number | null | undefined) => Sample[];

function machineRows(machines: readonly Machine[], each: Each): Family[] {
  const info = machines.map(({ row, labels }) => ({
    labels: { ...labels, version: label(row.version), arch: label(row.arch), os: label(row.os) },
    value: 1,
  }));
  const state = machines.flatMap(({ row, labels }) => states('state', machineStates, row.state, labels));
  return [
    gauge('autogit_machine_info', 'Version of the agent, architecture and system of a machine; always 1.', info),
    gauge('autogit_machine_state', 'The state of a machine: 1 for the one that it is in.', state),
    gauge(
      'autogit_machine_up',
      'Whether a machine answers.',
      each(({ row }) => yes(!away.has(row.state))),
    ),
    gauge(
      'autogit_machine_left',
      'Whether a machine has left politely: nobody expects it.',
      each(({ hasLeft }) => yes(hasLeft)),
    ),
    gauge(
      'autogit_machine_votes',
      'Whether a machine votes.',
      each(({ row }) => yes(row.voter)),
    ),
    gauge(
      'autogit_machine_heard_seconds',
      'How long ago a machine was heard.',
      each(({ row }) => (row.lastHeardMs === null ? null : row.lastHeardMs / 1000)),
    ),
    gauge(
      'autogit_machine_runs',
      'Runs on a machine.',
      each(({ row }) => row.runs.length),
    ),
  ];
}

function machineLoad(each: Each): Family[] {
  return [
    gauge(
      'autogit_machine_paused',
      'Whether its owner has paused a machine.',
      each(({ now }) => now && yes(now.paused === 'all')),
    ),
    gauge(
      'autogit_machine_owner_playing',
      'Whether the owner of a machine plays on it.',
      each(({ now }) => now && yes(now.owner === 'playing')),
    ),
    gauge(
      'autogit_machine_cpu_cores',
      'Cores of a machine.',
      each(({ now }) => now && now.capacity.cpuMillis / 1000),
    ),
    gauge(
      'autogit_machine_cpu_used_cores',
      'Cores of a machine that anything uses.',
      each(({ now }) => now && now.usedCpuMillis / 1000),
    ),
    gauge(
      'autogit_machine_memory_bytes',
      'Memory of a machine.',
      each(({ now }) => now?.capacity.memoryBytes),
    ),
    gauge(
      'autogit_machine_memory_used_bytes',
      'Memory of a machine that anything uses.',
      each(({ now }) => now?.usedMemoryBytes),
    ),
    gauge(
      'autogit_machine_disk_bytes',
      'The disk on which a machine has its jobs.',
      each(({ now }) => now?.capacity.diskBytes),
    ),
    gauge(
      'autogit_machine_disk_used_bytes',
      'What of that disk anything uses.',
      each(({ now }) => now?.usedDiskBytes),
    ),
  ];
}

function gpuFamilies(machines: readonly Machine[]): Family[] {
  const gpus = machines
    .flatMap(({ row, labels, now }) =>
      (now?.capacity.gpus ?? []).map((gpu, index) => ({
        gpu,
        labels: { ...labels, gpu: `${index}` },
        use: now?.gpus.find(({ uuid }) => uuid === gpu.uuid) ?? null,
        room: row.room?.gpus.find(({ uuid }) => uuid === gpu.uuid) ?? null,
      })),
    )
    .slice(0, most.gpus);
  const each = (value: (gpu: (typeof gpus)[number]) => number | null | undefined): Sample[] =>
    gpus.flatMap((gpu) => {
      const found = value(gpu);
      return found == null ? [] : [{ labels: gpu.labels, value: found }];
    });
  const info = gpus.map(({ gpu, labels }) => ({
    labels: { ...labels, vendor: gpu.vendor, model: label(gpuSlug(gpu.model)) },
    value: 1,
  }));
  return [
    gauge('autogit_gpu_info', "Vendor and model of a machine's GPU, as a job's tag has it; always 1.", info),
    gauge(
      'autogit_gpu_memory_bytes',
      'Memory of a GPU.',
      each(({ gpu }) => gpu.memoryBytes),
    ),
    gauge(
      'autogit_gpu_memory_used_bytes',
      'Memory of a GPU that anything uses.',
      each(({ use }) => use?.usedBytes),
    ),
    gauge(
      'autogit_gpu_busy_ratio',
      'How busy a GPU is, 0 to 1.',
      each(({ use }) => use && use.busyPercent / 100),
    ),
    gauge(
      'autogit_gpu_held',
      'Whether a run has a GPU.',
      each(({ room }) => room && yes(room.held !== undefined || room.shared !== undefined)),
    ),
    gauge(
      'autogit_gpu_foreign',
      'Whether a program that is no job uses a GPU: its owner comes first.',
      each(({ use }) => use && yes(use.foreign && use.problem === undefined)),
    ),
    gauge(
      'autogit_gpu_problem',
      'Whether a GPU cannot be used now.',
      each(({ use }) => use && yes(use.problem !== undefined)),
    ),
  ];
}
