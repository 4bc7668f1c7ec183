import type { NodeId } from '../../protocol/ids.ts';
import { listed } from '../phrases.ts';
import { nodeName, type ViewInput } from '../snapshot-view.ts';
import { hostingOf } from './hosted-edits.ts';
import { whyNoMove } from './move-edits.ts';

/**
 * To whom GitLab may go before its host sleeps or shuts down, as the leader ranked them: who is in sync and answers, as there is no
 * time to catch up. `unfit`: why no other.
 */
export function handsOverTo(view: ViewInput): { to: NodeId[]; unfit: string } {
  const { ledger, self } = view;
  const hosting = hostingOf(ledger);
  if (ledger === null || hosting === null || hosting.host !== self) return { to: [], unfit: 'it does not run here' };
  const { standbys = [], set } = hosting.copies ?? {};
  const why = standbys.map(({ node }): { node: NodeId; because: string | null } => {
    const refused = whyNoMove(ledger, node);
    const name = nodeName(ledger, node);
    if (refused !== null) return { node, because: refused };
    if (!set?.members.includes(node)) return { node, because: `${name} is not in sync` };
    return { node, because: view.liveness(node).state === 'alive' ? null : `${name} does not answer` };
  });
  const to = why.flatMap(({ node, because }) => (because === null ? [node] : []));
  const because = [...new Set(why.flatMap((one) => (one.because === null ? [] : [one.because])))];
  return { to, unfit: because.length === 0 ? 'no machine holds a copy of it' : listed(because) };
}
