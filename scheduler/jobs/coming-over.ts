import type { NodeId } from '../../protocol/ids.ts';
import { wake } from '../part-turn.ts';
import { cameOver, unseenIn } from '../recovered.ts';
import { jobTimings } from './job-timings.ts';
import { type JobsTurn, setLead } from './jobs-turn.ts';

/**
 * After a recovery by force: which machines of the former era are here (SAFETY J1). A machine that has announced its runs to
 * this leader has come over; what it decided before may be on its way to GitLab for a while.
 */
export function countComingOver(turn: JobsTurn): void {
  const { ledger } = turn.context;
  const { lead, announced } = turn.jobs;
  if (ledger === null || lead === null) return;
  const unseen = unseenIn(ledger);
  if (unseen.length === 0) return;
  const comingOver: Record<NodeId, number> = {};
  const over: NodeId[] = [];
  for (const node of unseen) {
    // What was announced to a former leadership of this node is not kept.
    if (announced[node] === undefined) continue;
    const since = lead.comingOver[node] ?? turn.at;
    comingOver[node] = since;
    if (turn.at - since >= jobTimings.cameOverMs) over.push(node);
    else wake(turn, since + jobTimings.cameOverMs);
  }
  setLead(turn, { comingOver });
  if (over.length > 0) turn.edits.push(cameOver(over));
}
