import type { NodeId } from '../../../protocol/ids.ts';
import type { RoundName } from '../../../protocol/round-name.ts';
import { span } from '../../phrases.ts';
import { copyTimings } from './copy-timings.ts';
import type { AwayState, StandbyRecord } from './standby-record.ts';

/** One standby as its host sees it; times are boot times. */
export interface StandbyView {
  node: NodeId;
  round: RoundName | null;
  takenAt: number | null;
  state: 'in-sync' | 'catching-up' | 'behind' | AwayState;
  because: string;
}

export function standbyView(
  node: NodeId,
  record: StandbyRecord,
  { isMember, isNewcomer }: { isMember: boolean; isNewcomer: boolean },
  at: number,
): StandbyView {
  const { acknowledged, away, inTime, hasLost } = record;
  const view = { node, round: acknowledged?.name ?? null, takenAt: acknowledged?.takenAt ?? null };
  const said = (state: StandbyView['state'], because: string): StandbyView => ({ ...view, state, because });
  const since = away ? `, not reached for ${span(at - away.at)}: ${away.because}` : '';
  if (isMember) return said('in-sync', `every answered push is on its disk${since}`);
  if (away) return said(away.state, away.because);
  if (hasLost) return said('catching-up', 'what it had acknowledged is not there any more');
  const { outsMost, roundsInTime } = copyTimings;
  const behindUntil = record.behindUntil(at);
  if (behindUntil !== null)
    return said(
      'behind',
      `it fell out of sync ${outsMost} times within an hour: pushes wait for it again in ${span(behindUntil - at)} at the earliest`,
    );
  if (acknowledged === null) return said('catching-up', 'it has no round of this epoch yet');
  if (isNewcomer) return said('catching-up', 'pushes wait for it already; it comes in sync next');
  return said('catching-up', `${Math.min(inTime, roundsInTime)} of ${roundsInTime} rounds came in time`);
}
