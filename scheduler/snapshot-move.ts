import type { HostedMove } from '../protocol/hosted-move.ts';
import type { Ledger } from '../protocol/ledger.ts';
import type { Attention, StatusSnapshot } from '../protocol/status.ts';
import { hostingOf } from './hosting/hosted-edits.ts';
import { rfc3339 } from './jobs/civil-time.ts';
import { nodeName, type ViewInput } from './snapshot-view.ts';

type GitlabView = StatusSnapshot['gitlab'];

/** So long a move that was given up, or an upgrade, stands among what a person should see. */
export const failedMs = 86_400_000;

/** A move to another machine that is wished, how far it is, and how the last one ended. */
export function moveView(view: ViewInput, ledger: Ledger): Pick<GitlabView, 'move'> {
  const hosting = hostingOf(ledger);
  const { move: wish, moved: ended } = hosting ?? {};
  if (hosting === null || (!wish && !ended)) return {};
  const name = (node: string): string => nodeName(ledger, node);
  const said = view.jobs.reports[hosting.host]?.report.gitlab;
  const own = said?.data === hosting.data && said.epoch === hosting.epoch ? said : undefined;
  return {
    move: {
      wish: wish ? { from: name(wish.from), to: name(wish.to) } : null,
      doing: wish ? doing(wish, name(hosting.host), own, hosting.host) : null,
      ended: ended
        ? {
            ...{ from: name(ended.from), to: name(ended.to), isDone: ended.isDone, because: ended.because },
            at: rfc3339(ended.at),
          }
        : null,
    },
  };
}

type Said = NonNullable<ViewInput['jobs']['reports'][string]>['report']['gitlab'];

/** There it starts as any GitLab does, and nobody is let in yet. */
function doing(
  { to, unplanned }: HostedMove,
  name: string,
  own: Said,
  host: string,
): { phase: string; percent: number | null } | null {
  if (to !== host) return own?.move ? { phase: own.move.phase, percent: own.move.percent } : null;
  const { phase, percent } = own?.move ?? own?.progress ?? { phase: own?.because ?? 'it begins', percent: null };
  if (unplanned?.failed) return { phase: `${name} could not bring it up: ${unplanned.failed}`, percent: null };
  return {
    phase: unplanned ? `${name} starts it: ${phase}` : `all of it is on ${name}, which starts it: ${phase}`,
    percent,
  };
}

export function moveLines(view: ViewInput, ledger: Ledger): Attention[] {
  const { move } = moveView(view, ledger);
  if (hostingOf(ledger)?.move?.unplanned) return [];
  if (move?.wish) {
    const { phase = 'its host has not begun yet', percent = null } = move.doing ?? {};
    const sentence = `GitLab moves from ${move.wish.from} to ${move.wish.to}: ${phase}${percent === null ? '' : ` (${Math.floor(percent)} %)`}`;
    return [{ code: 'gitlab-move', severity: 'info', sentence, fix: null }];
  }
  const ended = hostingOf(ledger)?.moved;
  if (!ended || ended.isDone || view.wallMs - ended.at > failedMs) return [];
  const sentence = `GitLab did not move to ${nodeName(ledger, ended.to)}: ${ended.because}`;
  return [
    {
      ...{ code: 'gitlab-move', severity: 'warn', sentence },
      fix: `when that is mended: autogit-node gitlab move ${nodeName(ledger, ended.to)}`,
    },
  ];
}
