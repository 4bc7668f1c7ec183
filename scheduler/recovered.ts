import type { NodeId } from '../protocol/ids.ts';
import type { Ledger, Run } from '../protocol/ledger.ts';
import type { LedgerEdit } from './ledger-edit.ts';

/*
 * What a recovery by force leaves behind (SAFETY J1, L15): until every machine of the former era has come over, or was
 * forgotten, one of them may lead there without knowing, and give jobs of ours up at GitLab as lost. So a run here goes on
 * by GitLab's own word, begins when a former try of its job surely stands still, and nothing is given up that may live there.
 */

/** Machines of the former era that may not know of the recovery; none in a mesh that was never recovered. */
export const unseenIn = ({ recovery, nodes }: Ledger): NodeId[] =>
  (recovery?.unseen ?? []).filter((node) => Object.hasOwn(nodes, node));

export const hasUnseen = (ledger: Ledger): boolean => unseenIn(ledger).length > 0;

/** Nobody has seen its machine switched off, and it has not come over: it may go on there under a leader of its own. */
export const mayLiveUnseen = (ledger: Ledger, { node }: Pick<Run, 'node'>): boolean =>
  unseenIn(ledger).includes(node) && ledger.recovery?.off.includes(node) !== true;

export const cameOver = (nodes: readonly NodeId[]): LedgerEdit => ({
  name: 'came-over',
  because: 'machines of the former era follow this one',
  apply: (ledger) => {
    const { recovery } = ledger;
    if (!recovery?.unseen?.some((node) => nodes.includes(node))) return ledger;
    return { ...ledger, recovery: { ...recovery, unseen: recovery.unseen.filter((node) => !nodes.includes(node)) } };
  },
});
