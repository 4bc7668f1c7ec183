import type { NodeId } from '../protocol/ids.ts';
import type { Ledger } from '../protocol/ledger.ts';
import type { Measured } from '../protocol/report.ts';
import type { NodeRow } from '../protocol/status.ts';
import { type MachineView, playsSentence } from './jobs/machine-fit.ts';
import { awayReason, busyRuns, machinesOf } from './jobs/machines.ts';
import { cores, plural } from './phrases.ts';
import { meshViewOf, shortAddress, type ViewInput } from './snapshot-view.ts';

/** A machine that has not answered for this long is gone; before, it is suspect. */
const goneMs = 60_000;

export function nodeRows(view: ViewInput): NodeRow[] {
  const { ledger } = view;
  if (ledger === null) return [newcomerRow(view)];
  return machinesOf(meshViewOf(view, ledger)).map((machine) => nodeRow(view, ledger, machine));
}

function nodeRow(view: ViewInput, ledger: Ledger, machine: MachineView): NodeRow {
  const { node } = machine;
  const heard = view.jobs.reports[node];
  const configuration = (view.accepted ?? ledger).configuration;
  const address = heard?.report.addresses[0] ?? ledger.nodes[node]?.addresses[0];
  const { state, because, paused } = stateOf(view, ledger, machine);
  return {
    node: machine.name,
    id: node,
    self: node === view.self,
    state,
    voter: configuration.voters[node] !== undefined || configuration.next?.[node] !== undefined,
    version: heard?.report.version ?? null,
    address: address === undefined ? null : shortAddress(address),
    lastHeardMs: node === view.self ? 0 : heard ? Math.max(0, view.at - heard.at) : null,
    arch: machine.measured?.arch ?? null,
    os: machine.measured?.os ?? null,
    capacity: machine.measured?.capacity ?? null,
    room: machine.room
      ? { cpuMillis: machine.room.cpuMillis, memoryBytes: machine.room.memoryBytes, gpus: machine.room.gpus }
      : null,
    ...(machine.measured ? { used: usedOf(machine.measured) } : {}),
    runs: busyRuns(meshViewOf(view, ledger), node).map((run) => run.job),
    labels: machine.measured?.labels ?? [],
    owner: machine.measured?.owner ?? null,
    ...(paused ? { paused } : {}),
    because,
  };
}

const usedOf = (measured: Measured): NonNullable<NodeRow['used']> => ({
  cpuMillis: measured.usedCpuMillis,
  memoryBytes: measured.usedMemoryBytes,
  diskBytes: measured.usedDiskBytes,
});

/** One word, and the sentence behind it when it is not simply well. */
function stateOf(view: ViewInput, ledger: Ledger, machine: MachineView): Pick<NodeRow, 'state' | 'because' | 'paused'> {
  const { node, measured, room } = machine;
  const isSelf = node === view.self;
  const away = awayReason(meshViewOf(view, ledger), node);
  const listed = ledger.nodes[node];
  if (!isSelf) {
    const live = view.liveness(node);
    if (live.state !== 'alive')
      return { state: listed?.left || isGone(view.at - live.since) ? 'gone' : 'suspect', because: away };
    if (listed?.left) return { state: 'gone', because: away };
  }
  const isLeader = view.leader?.node === node;
  if (listed?.drained) return { state: 'draining', because: 'is drained: it takes no new work' };
  if (measured && !measured.healthy) return { state: 'suspect', because: measured.unhealthyBecause };
  if (measured?.paused === 'all')
    return { state: 'paused', paused: 'all', because: measured.pausedBecause ?? 'paused by its owner' };
  if (measured && measured.capacity.gpus.length > 0 && (measured.paused === 'gpu' || measured.owner === 'playing'))
    return {
      state: isLeader ? 'leader' : 'paused',
      paused: 'gpu',
      because: playsSentence(measured),
    };
  const full = measured ? fullBecause(measured, room, machine.runs) : null;
  if (isLeader) return { state: 'leader', because: full };
  if (away !== null)
    return { state: view.jobs.reports[node] && !isStale(view, node) ? 'ready' : 'suspect', because: away };
  return full === null ? { state: 'ready', because: null } : { state: 'busy', because: full };
}

/** Why a machine takes no more; null: it does. */
function fullBecause({ maxRuns, capacity }: Measured, room: MachineView['room'], runs: number): string | null {
  if (maxRuns !== null && runs >= maxRuns) return `has ${plural(runs, 'run')}, its limit`;
  if (room && room.cpuMillis < 1000 && runs > 0)
    return `${cores(room.cpuMillis)} of ${cores(capacity.cpuMillis)} CPU free`;
  return null;
}

/** Infinite: not heard since this agent was started, which may be a moment ago. */
const isGone = (silentMs: number): boolean => Number.isFinite(silentMs) && silentMs >= goneMs;

const isStale = (view: ViewInput, node: NodeId): boolean => view.at - (view.jobs.reports[node]?.at ?? 0) > 10_000;

/** This machine, before anybody let it in. */
function newcomerRow(view: ViewInput): NodeRow {
  const measured = view.jobs.measured;
  return {
    node: view.self,
    id: view.self,
    self: true,
    state: 'waiting',
    voter: false,
    version: measured?.version ?? null,
    address: measured?.addresses[0] ? shortAddress(measured.addresses[0]) : null,
    lastHeardMs: 0,
    arch: measured?.measured.arch ?? null,
    os: measured?.measured.os ?? null,
    capacity: measured?.measured.capacity ?? null,
    room: null,
    runs: [],
    labels: measured?.measured.labels ?? [],
    owner: measured?.measured.owner ?? null,
    because: 'waits to be let in',
  };
}
