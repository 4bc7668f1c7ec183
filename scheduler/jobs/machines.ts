import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger, Run } from '../../protocol/ledger.ts';
import type { PartContext } from '../part.ts';
import { span } from '../phrases.ts';
import { awayWords } from './away.ts';
import { jobTimings } from './job-timings.ts';
import { isBusy, type JobsState } from './jobs-state.ts';
import type { JobsTurn } from './jobs-turn.ts';
import type { Machine } from './machine-fit.ts';
import { type Claim, claimOf, lessClaims } from './room.ts';

/** What a look at the machines needs; a leader's step and the views both have it. */
export interface Look {
  at: number;
  wallMs: number;
  self: NodeId;
  ledger: Ledger;
  jobs: JobsState;
  liveness: PartContext['liveness'];
}

/** As of now: what the turn changes after it does not change the look. */
export const lookOf = (turn: JobsTurn, ledger: Ledger): Look => ({
  at: turn.at,
  wallMs: turn.wallMs,
  self: turn.context.self,
  ledger,
  jobs: { ...turn.jobs },
  liveness: turn.context.liveness,
});

/** Runs of a node that take room, by the newest word: the node's own, else the ledger's. */
export function busyRuns(look: Look, node: NodeId): Run[] {
  const told = look.jobs.told[node];
  const own = node === look.self ? Object.values(look.jobs.own.runs) : [...(told?.runs ?? [])];
  const known = new Map(own.map((run) => [run.run, run]));
  for (const run of Object.values(look.ledger.runs))
    if (run.node === node && !known.has(run.run) && !(told && told.boot !== run.boot)) known.set(run.run, run);
  return [...known.values()].filter((run) => isBusy(run) && look.ledger.runs[run.run]?.state !== 'lost');
}

/** Everything booked on a node that its report does not count yet. */
function unreported(look: Look, node: NodeId, runs: readonly Run[]): Claim[] {
  const report = look.jobs.reports[node]?.report;
  const inReport = new Set([
    ...(report?.runs.map((run) => run.run) ?? []),
    ...(report?.reserved.map((one) => one.grant) ?? []),
  ]);
  const grants = Object.values(look.jobs.lead?.grants ?? {}).filter((grant) => grant.node === node);
  const seen = new Set(runs.map((run) => run.grant));
  return [
    ...grants.filter((grant) => !inReport.has(grant.grant) && !seen.has(grant.grant)).map((grant) => grant.claim),
    ...runs
      .filter((run) => !inReport.has(run.run) && !inReport.has(run.grant))
      .map((run) =>
        claimOf(
          { by: `run ${run.job}`, id: run.run, tags: run.tags, gpus: run.gpus },
          look.ledger.settings.defaultArch,
        ),
      ),
  ];
}

/** Who has each GPU, in words. */
function holders(look: Look, node: NodeId, runs: readonly Run[]): Record<string, string> {
  const words: Record<string, string> = {};
  for (const grant of Object.values(look.jobs.lead?.grants ?? {}))
    if (grant.node === node) for (const uuid of grant.claim.gpus) words[uuid] = 'a grant has it';
  for (const run of runs)
    for (const uuid of run.gpus)
      words[uuid] = `run ${run.job} has had it for ${span(look.wallMs - (run.startedAt ?? run.takenAt))}`;
  return words;
}

/** Why a node cannot be asked now, whatever room it has; null when it can. */
export function awayReason(look: Look, node: NodeId): string | null {
  const listed = look.ledger.nodes[node];
  if (listed === undefined) return 'is not in this mesh';
  const heard = look.jobs.reports[node];
  if (node === look.self) return listed.left ? 'leaves' : heard ? null : 'has not measured itself yet';
  const { state, since } = look.liveness(node);
  // Who said goodbye is not missing: that it answers no more is what it announced.
  if (listed.left && state !== 'alive' && since !== Number.NEGATIVE_INFINITY)
    return `left ${span(look.at - since)} ago: its agent was ended, or the machine sleeps`;
  if (listed.left) return 'left: its agent was ended, or the machine sleeps';
  if (state !== 'alive' && since === Number.NEGATIVE_INFINITY) return 'has not been heard since this agent was started';
  if (state === 'dead') return `its agent ${awayWords(look.jobs, node, { state, since }, look.at)}`;
  if (state === 'silent') return awayWords(look.jobs, node, { state, since }, look.at);
  if (heard === undefined) return 'has not reported yet';
  const age = look.at - heard.at;
  if (age > jobTimings.reportStaleMs) return `has not reported for ${span(age)}`;
  const refused = look.jobs.lead?.refused[node];
  if (refused && refused.until > look.at) return `refused the last grant: ${refused.because}`;
  return null;
}

/** All approved machines, by name, with what is left of each. */
export function machinesOf(look: Look): Machine[] {
  return Object.entries(look.ledger.nodes)
    .sort(([, a], [, b]) => (a.name < b.name ? -1 : 1))
    .map(([node, listed]) => {
      const report = look.jobs.reports[node]?.report;
      const runs = busyRuns(look, node);
      const claims = unreported(look, node, runs);
      const grants = Object.values(look.jobs.lead?.grants ?? {}).filter(
        (grant) => grant.node === node && !runs.some((run) => run.grant === grant.grant),
      );
      return {
        node,
        name: listed.name,
        measured: report?.measured ?? null,
        room: report ? lessClaims(report.room, claims) : null,
        holders: holders(look, node, runs),
        runs: runs.length + grants.length,
        witness: listed.witness,
        drained: listed.drained,
        away: awayReason(look, node),
        isHost: look.ledger.gitlab.host === node,
      };
    });
}

/** A machine after one more grant: so that a pass need not look at everything again. */
export function booked(machine: Machine, claim: Claim): Machine {
  if (machine.room === null) return machine;
  const holders = { ...machine.holders };
  for (const uuid of claim.gpus) holders[uuid] = 'a grant has it';
  return { ...machine, room: lessClaims(machine.room, [claim]), runs: machine.runs + 1, holders };
}
