import type { NodeId } from '../../protocol/ids.ts';
import { span } from '../phrases.ts';
import { jobTimings } from './job-timings.ts';
import type { Away, JobsState } from './jobs-state.ts';

/**
 * `at` of the newest report of a node that has not answered this leader since `since`, if the report came clearly later:
 * that node lives and does not hear the leader. null when there is no such report, and when this node does not lead.
 */
export function deafReportAt({ lead, reports }: JobsState, node: NodeId, since: number): number | null {
  const heard = reports[node];
  return lead !== null && heard !== undefined && heard.at - since > jobTimings.deafAfterMs ? heard.at : null;
}

/** Why a node counts as away, to be put behind the node's name or "its agent". */
export function awayWords(jobs: JobsState, node: NodeId, { state, since }: Away, at: number): string {
  const deafAt = state === 'silent' ? deafReportAt(jobs, node, since) : null;
  if (deafAt === null || at - deafAt >= jobTimings.reportStaleMs) return `has not answered for ${span(at - since)}`;
  return `does not hear the leader: it sends reports, but has answered nothing for ${span(at - since)}`;
}

/** A whole sentence: the node's name, or its agent's, and why it counts as away. */
export const awaySentence = (jobs: JobsState, node: NodeId, name: string, away: Away, at: number): string =>
  `${away.state === 'dead' ? `the agent of ${name}` : name} ${awayWords(jobs, node, away, at)}`;
