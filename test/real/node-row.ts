import type { NodeRow } from '../../protocol/status.ts';

/** A machine of which nothing but its name and its state is known. */
export const nodeRow = (node: string, state: NodeRow['state']): NodeRow => ({
  node,
  id: node,
  self: false,
  state,
  voter: true,
  version: null,
  address: null,
  lastHeardMs: null,
  arch: null,
  os: null,
  capacity: null,
  room: null,
  runs: [],
  labels: [],
  owner: null,
  because: null,
});
