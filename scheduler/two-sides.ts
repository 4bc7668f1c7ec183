import type { OpenSide } from '../protocol/fenced.ts';
import type { NodeId } from '../protocol/ids.ts';
import type { Ledger } from '../protocol/ledger.ts';
import type { Attention, StatusSnapshot } from '../protocol/status.ts';
import { hostingOf } from './hosting/hosted-edits.ts';
import { openSides } from './hosting/sides-met.ts';
import { nodeName, type ViewInput } from './snapshot-view.ts';

/*
 * What people hear of two sides of a recovery by force that have met (hosting/sides.ts): whoever pushes, and whoever looks at the mesh.
 */

const words = ({ because, name }: OpenSide): string =>
  `${because}: no push is taken before somebody has looked at what is in ${name} alone`;
const diffOf = ({ name }: OpenSide): string => `autogit-node gitlab diff ${name}`;

/** Why the GitLab that this machine hosts takes no push, for the pusher's terminal; null while it does. */
export function whyNoPush(view: Pick<ViewInput, 'jobs'>, ledger: Ledger | null, self: NodeId): string | null {
  if (ledger === null || hostingOf(ledger)?.host !== self) return null;
  const [first] = openSides(view, ledger);
  return first === undefined ? null : `${words(first)}: ${diffOf(first)}`;
}

export function sidesView(view: Pick<ViewInput, 'jobs'>, ledger: Ledger): Pick<StatusSnapshot['gitlab'], 'sides'> {
  const sides = openSides(view, ledger);
  if (sides.length === 0) return {};
  return { sides: sides.map(({ node, name, because }) => ({ node: nodeName(ledger, node), name, because })) };
}

export const twoSidesLines = (view: Pick<ViewInput, 'jobs' | 'liveness' | 'self'>, ledger: Ledger): Attention[] =>
  openSides(view, ledger).map((one) => {
    const name = nodeName(ledger, one.node);
    const isHere = one.node === view.self || view.liveness(one.node).state === 'alive';
    const gone = `start ${name}, and look at it then; where it never comes back: autogit-node forget ${name}`;
    return {
      ...{ code: 'gitlab-two-sides', severity: 'fail' },
      sentence: `${words(one)}; issues, merge requests and jobs go on`,
      fix: isHere ? diffOf(one) : gone,
    };
  });
