import type { Ledger } from '../../protocol/ledger.ts';
import type { Attention, StatusSnapshot } from '../../protocol/status.ts';
import { listed } from '../phrases.ts';

/*
 * What happened, a person must know of, and needs attention no more the moment after. Each is told once, and is no longer a matter
 * than what is known of it lasts: quiet hours and a leader that dies in between do not take it away.
 */

/** `at`: when it happened last, wall ms; 0: nobody knows. `key`: the same matter under the same words. */
export interface HappenedLine extends Attention {
  key: string;
  at: number;
}

/** So long a lost job is told of, if nobody was told before: longer than a night. */
const lostMs = 43_200_000;
const namedMost = 5;

/** Jobs that were given up, by machine. */
function lostRuns({ runs, nodes }: Pick<Ledger, 'runs' | 'nodes'>, wallMs: number): HappenedLine[] {
  const by = new Map<string, { jobs: number[]; at: number; because: string }>();
  for (const { node, job, state, finishedAt, because } of Object.values(runs)) {
    const at = finishedAt ?? 0;
    if (state !== 'lost' || wallMs - at > lostMs) continue;
    const { jobs, ...last } = by.get(node) ?? { jobs: [], at: -1, because };
    by.set(node, { jobs: [...jobs, job], ...(at > last.at ? { at, because } : last) });
  }
  return [...by].map(([node, { jobs, at, because }]) => {
    const name = nodes[node]?.name ?? node;
    const numbers = jobs.sort((a, b) => a - b).map(String);
    const more = numbers.length - namedMost;
    const named = listed(more > 0 ? [...numbers.slice(0, namedMost), `${more} more`] : numbers);
    return {
      ...{ key: `lost-runs ${name}`, at, code: 'lost-runs', severity: 'warn' as const },
      sentence: `${name} lost ${jobs.length === 1 ? 'job' : 'jobs'} ${named}: ${because}`,
      fix: jobs.length === 1 ? `autogit-node why ${numbers[0]}` : 'autogit-node jobs --all',
    };
  });
}

/** GitLab's data are as before then. */
function failedRestore({ gitlab: { vault } }: StatusSnapshot): HappenedLine[] {
  const { backup, isDone, because } = vault?.restored ?? { backup: '', isDone: true, because: '' };
  if (isDone) return [];
  return [
    {
      ...{ key: `gitlab-restore ${backup}`, at: 0, code: 'gitlab-restore', severity: 'fail' },
      sentence: `GitLab was not restored from ${backup}: ${because}`,
      fix: 'autogit-node gitlab history',
    },
  ];
}

export const happenedIn = (
  ledger: Pick<Ledger, 'runs' | 'nodes'>,
  status: StatusSnapshot,
  wallMs: number,
): HappenedLine[] => [...lostRuns(ledger, wallMs), ...failedRestore(status)];

/** Of what `status` shows for a day after it has ended, when that was: that it goes from there mends nothing. Null: it lasts. */
export function endedAt({ code }: Attention, { gitlab: { move, upgrade } }: StatusSnapshot): string | null {
  if (code === 'gitlab-upgrade') return upgrade?.wish ? null : (upgrade?.ended?.at ?? null);
  if (code !== 'gitlab-move' && code !== 'gitlab-taken-over') return null;
  return move?.wish ? null : (move?.ended?.at ?? null);
}
