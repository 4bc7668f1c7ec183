import type { Ledger } from '../protocol/ledger.ts';
import type { ProtectedSeen } from '../protocol/report.ts';
import type { Attention, StatusSnapshot } from '../protocol/status.ts';
import { rfc3339 } from './jobs/civil-time.ts';
import { nodeName, type ViewInput } from './snapshot-view.ts';

type GitlabView = StatusSnapshot['gitlab'];

/** What its machine says of a GitLab that runs without the mesh; of another one than the ledger's it says nothing. */
export function protectedSeen(view: ViewInput, { gitlab }: Ledger): ProtectedSeen | null {
  const known = gitlab.protected;
  const said = known && view.jobs.reports[known.node]?.report.protected;
  return said?.data === known?.data ? (said ?? null) : null;
}

/** Why its machine makes no backup, seen from here; null where it can say that itself. */
function whyAway(view: ViewInput, { nodes, gitlab }: Ledger): string | null {
  const node = gitlab.protected?.node as string;
  if (nodes[node]?.left) return 'has left politely, and makes none until its agent is back';
  const { state } = node === view.self ? { state: 'alive' as const } : view.liveness(node);
  if (state === 'dead') return 'runs no agent now, and makes none until it does';
  return state === 'silent' ? 'does not answer' : null;
}

export function protectedView(view: ViewInput, ledger: Ledger): Pick<GitlabView, 'protected'> {
  const known = ledger.gitlab.protected;
  if (known === undefined) return {};
  const seen = protectedSeen(view, ledger);
  const node = nodeName(ledger, known.node);
  const away = whyAway(view, ledger);
  const last = seen?.vault.last ?? null;
  return {
    protected: {
      node,
      container: known.container,
      folder: known.folder,
      version: seen?.version ?? null,
      way: seen?.way ?? null,
      because:
        away === null
          ? (seen?.missing ?? seen?.because ?? `${node} has not said anything of it yet`)
          : `${node} ${away}`,
      lastBackup: last === null ? null : rfc3339(last.at),
      ...(seen?.kept && { kept: keptView(seen.kept) }),
    },
  };
}

const keptView = ({ oldest, newest, ...kept }: NonNullable<ProtectedSeen['kept']>) => ({
  ...kept,
  oldest: oldest === null ? null : rfc3339(oldest),
  newest: newest === null ? null : rfc3339(newest),
});

/** What a person should know of it beside how old its newest backup is. */
export function protectedLines(view: ViewInput, ledger: Ledger): Attention[] {
  const known = ledger.gitlab.protected;
  if (known === undefined) return [];
  const node = nodeName(ledger, known.node);
  const line = (severity: 'warn' | 'fail', sentence: string, fix: string | null = null): Attention => ({
    code: 'gitlab-protected',
    severity,
    sentence,
    fix,
  });
  if (ledger.gitlab.vault === undefined)
    return [
      line(
        'fail',
        `GitLab in container ${known.container} on ${node} is to be backed up, and no place for that is named`,
        'autogit-node gitlab backup --to TARGET',
      ),
    ];
  const away = whyAway(view, ledger);
  if (away !== null)
    return [line('warn', `backups of GitLab in container ${known.container}: ${node}, which makes them, ${away}`)];
  const { missing = null, kept } = protectedSeen(view, ledger) ?? {};
  const noneKept =
    kept?.problem == null ? [] : [line('warn', `no snapshot of GitLab on ${node} is kept now: ${kept.problem}`)];
  return missing === null ? noneKept : [line('fail', `GitLab on ${node} is not backed up: ${missing}`), ...noneKept];
}
