import type { NodeId, NodeName, StoreId } from './ids.ts';
import { abilities, defaultSettings, type Ledger, ledgerSchema } from './ledger.ts';

/** The ledger that a founder starts with: one voter, itself. */
export function foundingLedger(from: {
  meshId: string;
  meshName: string;
  era: string;
  node: NodeId;
  name: NodeName;
  store: StoreId;
  addresses: string[];
  witness: boolean;
  wallMs: number;
  pairUntil: number;
  defaultArch: string;
}): Ledger {
  return {
    schema: ledgerSchema,
    era: { id: from.era, counter: 0 },
    stamp: { term: 0, version: 1 },
    mesh: { id: from.meshId, name: from.meshName },
    configuration: { voters: { [from.node]: { store: from.store, weight: 2 } }, next: null },
    nodes: {
      [from.node]: {
        name: from.name,
        approvedAt: from.wallMs,
        because: 'founded the mesh',
        addresses: from.addresses,
        store: from.store,
        witness: from.witness,
        drained: false,
        left: false,
        can: [...abilities],
      },
    },
    forgotten: {},
    approvals: {},
    invites: {},
    pairUntil: from.pairUntil,
    settings: { ...defaultSettings, defaultArch: from.defaultArch },
    gitlab: { mode: 'none', url: null, token: null, host: null, epoch: 0, instance: null },
    classes: {},
    runs: {},
    tally: { day: '', done: 0, failed: 0 },
    requests: [],
  };
}
