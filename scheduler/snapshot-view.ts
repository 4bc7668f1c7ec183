import type { NodeId, StoreId } from '../protocol/ids.ts';
import type { Ledger } from '../protocol/ledger.ts';
import type { JobsState } from './jobs/jobs-state.ts';
import type { MeshView } from './jobs/machines.ts';
import type { PartContext } from './part.ts';

/** What the views need of the core. `ledger` is the committed one, `accepted` the one whose voters are in force. */
export interface ViewInput {
  at: number;
  wallMs: number;
  self: NodeId;
  jobs: JobsState;
  ledger: Ledger | null;
  accepted: Ledger | null;
  leader: { node: NodeId; term: number; sinceWallMs: number } | null;
  /** How often that has changed within the last hour. */
  leaderChanges: number;
  liveness: PartContext['liveness'];
  /** The store that a node last said it has; null when that is not known. A vote is one of a store (SAFETY L8). */
  storeOf(node: NodeId): StoreId | null;
}

export const meshViewOf = (view: ViewInput, ledger: Ledger): MeshView => ({
  at: view.at,
  wallMs: view.wallMs,
  self: view.self,
  ledger,
  jobs: view.jobs,
  liveness: view.liveness,
});

/** Also of one's own machine, which nobody hears. */
export const isHere = (view: ViewInput, node: NodeId): boolean =>
  node === view.self || view.liveness(node).state === 'alive';

export const nodeName = (ledger: Ledger | null, node: NodeId): string => ledger?.nodes[node]?.name ?? node;

/** "/ip4/192.168.1.4/tcp/7117" -> "192.168.1.4:7117"; what is no such address stays as it is. */
export function shortAddress(address: string): string {
  const parts = /^\/(ip4|ip6|dns[46]?)\/([^/]+)\/tcp\/(\d+)/.exec(address);
  if (!parts) return address;
  return parts[1] === 'ip6' ? `[${parts[2]}]:${parts[3]}` : `${parts[2]}:${parts[3]}`;
}
