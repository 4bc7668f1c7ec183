import type { ViewInput } from '../../scheduler/snapshot.ts';
import type { Lab } from './jobs-lab.ts';

/** What one machine of the lab would show a person now. */
export const viewOf = (lab: Lab, name: string, over: Partial<ViewInput> = {}): ViewInput => ({
  at: lab.at,
  wallMs: lab.wallMs,
  self: name,
  jobs: lab.node(name).jobs,
  ledger: lab.committed,
  accepted: lab.accepted,
  leader: lab.leader === null ? null : { node: lab.leader, term: 12, sinceWallMs: lab.wallMs - 10_800_000 },
  leaderChanges: 0,
  liveness: (node) => lab.nodes.get(node)?.liveness ?? { state: 'silent', since: 0 },
  storeOf: () => null,
  ...over,
});
