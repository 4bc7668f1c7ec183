import type { Ledger } from '../protocol/ledger.ts';
import type { DrillSeen } from '../protocol/report.ts';
import type { RoundName } from '../protocol/round-name.ts';
import type { Attention, StatusSnapshot } from '../protocol/status.ts';
import { drillOf, drillTimings } from './hosting/drill-rules.ts';
import { hostingOf } from './hosting/hosted-edits.ts';
import { rfc3339 } from './jobs/civil-time.ts';
import { span } from './phrases.ts';
import { isHere, nodeName, type ViewInput } from './snapshot-view.ts';

type Drills = NonNullable<StatusSnapshot['gitlab']['drills']>;

/** So long without proof, and a person should know why. */
const lateMs = 7 * drillTimings.everyMs;

const roundWords = (round: RoundName | null): string =>
  round === null ? 'living data' : `${round.epoch}.${round.number}`;

/** What each machine of the mesh says of its drills, the one that proved GitLab last first. */
function saidOf(view: ViewInput, ledger: Ledger): { node: string; name: string; drill: DrillSeen }[] {
  const data = hostingOf(ledger)?.data;
  if (data === undefined) return [];
  return Object.keys(ledger.nodes)
    .flatMap((node) => {
      const drill = drillOf(view.jobs.reports[node]?.report, data);
      return drill === null ? [] : [{ node, name: nodeName(ledger, node), drill }];
    })
    .sort((a, b) => (b.drill.proven?.at ?? 0) - (a.drill.proven?.at ?? 0));
}

export function drillView(view: ViewInput, ledger: Ledger): { drills?: Drills } {
  const drills = saidOf(view, ledger).map(({ node, name, drill: { last, proven, doing, ended, waits } }) => ({
    node: name,
    proven: proven && { at: rfc3339(proven.at), round: roundWords(proven.round) },
    last: last && { ...last, at: rfc3339(last.at), round: roundWords(last.round) },
    // Of one that is silent it is the last that was heard, and nothing goes on by it.
    doing: isHere(view, node) ? doing : null,
    ended: ended && { at: rfc3339(ended.at), because: ended.because },
    waits,
  }));
  return drills.length === 0 ? {} : { drills };
}

/** One that failed, until the next is clean; and copies that nobody could prove for long. */
export function drillLines(view: ViewInput, ledger: Ledger): Attention[] {
  return saidOf(view, ledger).flatMap(({ name, drill: { last, proven, waits, ended } }): Attention[] => {
    if (last !== null && !last.isProven)
      return [
        {
          code: 'gitlab-drill',
          severity: 'warn',
          sentence: `GitLab did not come out whole of ${roundWords(last.round)} on ${name}: ${last.because}`,
          fix: `when that is mended: autogit-node gitlab drill --on ${name}`,
        },
      ];
    const ageMs = proven === null ? null : view.wallMs - proven.at;
    const why = waits ?? ended?.because ?? null;
    if (why === null || (ageMs !== null && ageMs < lateMs)) return [];
    const since = ageMs === null ? 'was never tried yet' : `was tried ${span(ageMs)} ago`;
    return [
      { code: 'gitlab-drill', severity: 'info', sentence: `GitLab's copy on ${name} ${since}: ${why}`, fix: null },
    ];
  });
}
