import type { Ledger } from '../protocol/ledger.ts';
import type { StatusSnapshot } from '../protocol/status.ts';
import { rfc3339, utcDay } from './jobs/civil-time.ts';
import { isOpen } from './jobs/jobs-state.ts';
import { waitingJobs } from './jobs/queue.ts';
import { attentionOf } from './snapshot-attention.ts';
import { gitlabView } from './snapshot-gitlab.ts';
import { nodeRows } from './snapshot-nodes.ts';
import { quorumOf } from './snapshot-quorum.ts';
import { nodeName, shortAddress, type ViewInput } from './snapshot-view.ts';

export { jobRows, why } from './snapshot-jobs.ts';
export type { ViewInput };

/**
 * The mesh as this node sees it now (INTERFACE, StatusSnapshot version 1): one value for the table, `--json` and the
 * dashboard. `ageMs` is how old its view of the leader is. Queue and GitLab's health come from the leader's report.
 */
export function snapshot(view: ViewInput): StatusSnapshot {
  const { ledger, leader } = view;
  const nodes = nodeRows(view);
  const { holds: _holds, ...quorum } = quorumOf(view);
  return {
    version: 1,
    at: rfc3339(view.wallMs),
    seenFrom: nodeName(ledger, view.self),
    ageMs: ageMs(view),
    mesh: { id: ledger?.mesh.id ?? '', name: ledger?.mesh.name ?? '' },
    leader: leader && {
      node: nodeName(ledger, leader.node),
      term: leader.term,
      since: rfc3339(leader.sinceWallMs),
    },
    quorum,
    nodes,
    waiting: Object.entries(ledger?.approvals ?? {})
      .filter(([, approval]) => !approval.ignored)
      .map(([node, approval]) => ({
        node: approval.name,
        id: node,
        address: shortAddress(approval.address),
        words: approval.words,
        since: rfc3339(approval.since),
      })),
    gitlab: gitlabView(view, ledger),
    queue: queueView(view, ledger),
    attention: attentionOf(view, nodes, quorumOf(view)),
  };
}

/** What is shown of others is as old as the last word of the leader's node; 0 on the leader itself. */
function ageMs(view: ViewInput): number {
  if (view.leader === null || view.leader.node === view.self) return 0;
  const heard = view.jobs.reports[view.leader.node];
  return heard ? Math.max(0, Math.round(view.at - heard.at)) : 0;
}

function queueView(view: ViewInput, ledger: Ledger | null): StatusSnapshot['queue'] {
  if (ledger === null) return { waiting: 0, running: 0, doneToday: 0, failedToday: 0 };
  const seen = view.leader ? view.jobs.reports[view.leader.node]?.report.queue : undefined;
  const waiting = view.jobs.lead ? waitingJobs(view.jobs, ledger, view).length : (seen?.waiting ?? 0);
  const isToday = ledger.tally.day === utcDay(view.wallMs);
  return {
    waiting,
    running: Object.values(ledger.runs).filter((run) => isOpen(run) && run.result === null).length,
    doneToday: isToday ? ledger.tally.done : 0,
    failedToday: isToday ? ledger.tally.failed : 0,
  };
}
