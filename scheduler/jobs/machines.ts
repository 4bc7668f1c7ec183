import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger, Run } from '../../protocol/ledger.ts';
import type { PartContext } from '../part.ts';
import { span } from '../phrases.ts';
import { awayWords } from './away.ts';
import { jobTimings } from './job-timings.ts';
import { isBusy, type JobsState, type OutGrant } from './jobs-state.ts';
import type { JobsTurn } from './jobs-turn.ts';
import type { MachineView } from './machine-fit.ts';
import { type Claim, claimOf, lessClaims } from './room.ts';

/** The mesh as one node sees it now: what placement and comparing read. A step and the views of `status` both have it. */
export interface MeshView {
  at: number;
  wallMs: number;
  self: NodeId;
  ledger: Ledger;
  jobs: JobsState;
  liveness: PartContext['liveness'];
}

/** What a turn sees now: what the turn changes later does not change the view. */
export const viewOf = (turn: JobsTurn, ledger: Ledger): MeshView => ({
  at: turn.at,
  wallMs: turn.wallMs,
  self: turn.context.self,
  ledger,
  jobs: { ...turn.jobs },
  liveness: turn.context.liveness,
});

/** Runs of a node that take room, by the newest word: the node's own, else the ledger's. */
export function busyRuns(view: MeshView, node: NodeId): Run[] {
  const announced = view.jobs.announced[node];
  const own = node === view.self ? Object.values(view.jobs.own.runs) : [...(announced?.runs ?? [])];
  const known = new Map(own.map((run) => [run.run, run]));
  for (const run of Object.values(view.ledger.runs))
    if (run.node === node && !known.has(run.run) && !(announced && announced.boot !== run.boot))
      known.set(run.run, run);
  return [...known.values()].filter((run) => isBusy(run) && view.ledger.runs[run.run]?.state !== 'lost');
}

/** Everything booked on a node that its report does not count yet. */
function unreported(view: MeshView, node: NodeId, runs: readonly Run[], grants: readonly OutGrant[]): Claim[] {
  const report = view.jobs.reports[node]?.report;
  const inReport = new Set([
    ...(report?.runs.map((run) => run.run) ?? []),
    ...(report?.reserved.map((one) => one.grant) ?? []),
  ]);
  const seen = new Set(runs.map((run) => run.grant));
  return [
    ...grants.filter((grant) => !inReport.has(grant.grant) && !seen.has(grant.grant)).map((grant) => grant.claim),
    ...runs
      .filter((run) => !inReport.has(run.run) && !inReport.has(run.grant))
      .map((run) =>
        claimOf(
          { by: `run ${run.job}`, id: run.run, tags: run.tags, gpus: run.gpus },
          view.ledger.settings.defaultArch,
        ),
      ),
  ];
}

/** Who has each GPU, in words. */
function holders(view: MeshView, runs: readonly Run[], grants: readonly OutGrant[]): Record<string, string> {
  const words: Record<string, string> = {};
  for (const { claim } of grants) for (const uuid of claim.gpus) words[uuid] = 'a grant has it';
  for (const run of runs)
    for (const uuid of run.gpus)
      words[uuid] =
        `run ${run.job} has had it for ${span(view.wallMs - (run.startedAt ?? run.takenAt))}${run.held === undefined ? '' : ', and stands still for the owner'}`;
  return words;
}

/** Why a node cannot be asked for a job now, whatever room it has; null when it can. */
export function awayReason(view: MeshView, node: NodeId): string | null {
  const refused = view.jobs.lead?.refused[node];
  const isRefused = node !== view.self && refused !== undefined && refused.until > view.at;
  return unheardReason(view, node) ?? (isRefused ? `refused the last grant: ${refused.because}` : null);
}

/** Why nothing can be asked of a node now; null when it answers and says how it is. */
export function unheardReason(view: MeshView, node: NodeId): string | null {
  const listed = view.ledger.nodes[node];
  if (listed === undefined) return 'is not in this mesh';
  const heard = view.jobs.reports[node];
  if (node === view.self) return listed.left ? 'leaves' : heard ? null : 'has not measured itself yet';
  const { state, since } = view.liveness(node);
  // A node that left politely is not missing: it said that it would answer no more.
  if (listed.left && state !== 'alive' && since !== Number.NEGATIVE_INFINITY)
    return `left ${span(view.at - since)} ago: its agent was ended, or the machine sleeps`;
  if (listed.left) return 'left: its agent was ended, or the machine sleeps';
  if (state !== 'alive' && since === Number.NEGATIVE_INFINITY) return 'has not been heard since this agent was started';
  if (state === 'dead') return `its agent ${awayWords(view.jobs, node, { state, since }, view.at)}`;
  if (state === 'silent') return awayWords(view.jobs, node, { state, since }, view.at);
  if (heard === undefined) return 'has not reported yet';
  const age = view.at - heard.at;
  return age > jobTimings.reportStaleMs ? `has not reported for ${span(age)}` : null;
}

/** All approved machines, by name, with what is left of each. */
export function machinesOf(view: MeshView): MachineView[] {
  const grantsOf = new Map<NodeId, OutGrant[]>();
  for (const grant of Object.values(view.jobs.lead?.grants ?? {})) {
    const there = grantsOf.get(grant.node);
    if (there === undefined) grantsOf.set(grant.node, [grant]);
    else there.push(grant);
  }
  return Object.entries(view.ledger.nodes)
    .sort(([, a], [, b]) => (a.name < b.name ? -1 : 1))
    .map(([node, listed]) => {
      const report = view.jobs.reports[node]?.report;
      const runs = busyRuns(view, node);
      const grants = grantsOf.get(node) ?? [];
      const claims = unreported(view, node, runs, grants);
      const unused = grants.filter(({ grant }) => !runs.some((run) => run.grant === grant));
      return {
        node,
        name: listed.name,
        measured: report?.measured ?? null,
        room: report ? lessClaims(report.room, claims) : null,
        holders: holders(view, runs, grants),
        runs: runs.length + unused.length,
        witness: listed.witness,
        drained: listed.drained,
        away: awayReason(view, node),
        isHost: view.ledger.gitlab.host === node,
      };
    });
}

/** A machine after one more grant: so that a pass need not look at everything again. */
export function booked(machine: MachineView, claim: Claim): MachineView {
  if (machine.room === null) return machine;
  const taken = { ...machine, room: lessClaims(machine.room, [claim]), runs: machine.runs + 1 };
  if (claim.gpus.length === 0) return taken;
  return {
    ...taken,
    holders: { ...machine.holders, ...Object.fromEntries(claim.gpus.map((uuid) => [uuid, 'a grant has it'])) },
  };
}
