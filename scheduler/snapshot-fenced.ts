import type { FencedName, FencedSeen } from '../protocol/fenced.ts';
import type { NodeId } from '../protocol/ids.ts';
import type { Ledger } from '../protocol/ledger.ts';
import type { StatusSnapshot } from '../protocol/status.ts';
import { hostingOf } from './hosting/hosted-edits.ts';
import { rfc3339 } from './jobs/civil-time.ts';
import { isHere, nodeName, type ViewInput } from './snapshot-view.ts';

export interface FencedThere {
  node: NodeId;
  seen: FencedSeen;
}

type Reports = { readonly jobs: Pick<ViewInput['jobs'], 'reports'> };

/** A machine's words on the mesh's GitLab, as its host or as one that holds copies. */
function saidOf({ jobs: { reports } }: Reports, ledger: Ledger, node: NodeId) {
  const data = hostingOf(ledger)?.data;
  const { gitlab, standby } = reports[node]?.report ?? {};
  return [gitlab, standby].flatMap((said) => (said !== undefined && said.data === data ? [said] : []));
}

/** What machines keep of the mesh's GitLab that they served until another one took over, by their own word. */
export const fencedThere = (view: Reports, ledger: Ledger): FencedThere[] =>
  Object.keys(ledger.nodes)
    .sort()
    .flatMap((node) => saidOf(view, ledger, node).flatMap(({ fenced = [] }) => fenced.map((seen) => ({ node, seen }))));

/** What that machine keeps no more of what the ledger calls not looked at. */
export const unkeptThere = (view: Reports, ledger: Ledger, node: NodeId): FencedName[] =>
  saidOf(view, ledger, node).flatMap(({ unkept = [] }) => unkept);

export function fencedView(view: ViewInput, ledger: Ledger): Pick<StatusSnapshot['gitlab'], 'fenced'> {
  const fenced = fencedThere(view, ledger).map(({ node, seen: { name, at, bytes, doing, brought } }) => ({
    ...{ node: nodeName(ledger, node), name, at: at === 0 ? null : rfc3339(at), bytes },
    ...{ doing: (isHere(view, node) ? doing : null) ?? null, brought: brought ?? null },
  }));
  return fenced.length === 0 ? {} : { fenced };
}
