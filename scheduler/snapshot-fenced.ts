import type { FencedSeen } from '../protocol/fenced.ts';
import type { NodeId } from '../protocol/ids.ts';
import type { Ledger } from '../protocol/ledger.ts';
import type { StatusSnapshot } from '../protocol/status.ts';
import { hostingOf } from './hosting/hosted-edits.ts';
import { rfc3339 } from './jobs/civil-time.ts';
import { nodeName, type ViewInput } from './snapshot-view.ts';

export interface FencedThere {
  node: NodeId;
  seen: FencedSeen;
}

/** What machines keep of the mesh's GitLab that they served until another one took over, by their own word. */
export function fencedThere({ jobs: { reports } }: Pick<ViewInput, 'jobs'>, ledger: Ledger): FencedThere[] {
  const data = hostingOf(ledger)?.data;
  return Object.keys(ledger.nodes)
    .sort()
    .flatMap((node) => {
      const { gitlab, standby } = reports[node]?.report ?? {};
      const all = [gitlab, standby].flatMap((said) =>
        said !== undefined && said.data === data ? (said.fenced ?? []) : [],
      );
      return all.map((seen) => ({ node, seen }));
    });
}

export function fencedView(view: ViewInput, ledger: Ledger): Pick<StatusSnapshot['gitlab'], 'fenced'> {
  const fenced = fencedThere(view, ledger).map(({ node, seen: { name, at, bytes, doing, brought } }) => ({
    ...{ node: nodeName(ledger, node), name, at: at === 0 ? null : rfc3339(at), bytes },
    ...{ doing: doing ?? null, brought: brought ?? null },
  }));
  return fenced.length === 0 ? {} : { fenced };
}
