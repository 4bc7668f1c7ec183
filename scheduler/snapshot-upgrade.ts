import type { Ledger } from '../protocol/ledger.ts';
import type { Attention, StatusSnapshot } from '../protocol/status.ts';
import { hostingOf } from './hosting/hosted-edits.ts';
import { gitlabImageOf, versionText } from './hosting/upgrade-path.ts';
import { rfc3339 } from './jobs/civil-time.ts';
import { failedMs } from './snapshot-move.ts';
import { isHere, type ViewInput } from './snapshot-view.ts';

type GitlabView = StatusSnapshot['gitlab'];

/** An upgrade that is wished, how the last one ended, and what a rehearsal came to. */
export function upgradeView(view: ViewInput, ledger: Ledger): Pick<GitlabView, 'upgrade'> {
  const hosting = hostingOf(ledger);
  const said = hosting && view.jobs.reports[hosting.host]?.report.gitlab;
  const own = said?.data === hosting?.data ? said : undefined;
  const { upgrade: wish, upgraded: ended } = hosting ?? {};
  const { doing: told = null, rehearsed = null } = own?.upgrade ?? {};
  // Of a host that is silent it is the last that was heard, and nothing goes on by it.
  const doing = told && hosting && isHere(view, hosting.host) ? told : null;
  if (!wish && !ended && doing === null && rehearsed === null) return {};
  // Once the container changes its keeper says how far that is.
  const phase = doing ?? (wish && own?.progress ? { what: 'upgrade', to: toText(wish.image), ...own.progress } : null);
  return {
    upgrade: {
      wish: wish ? { image: wish.image, from: wish.from, to: toText(wish.image) } : null,
      doing: phase && { what: phase.what, to: phase.to, phase: phase.phase, percent: phase.percent },
      ended: ended ? { image: ended.image, isDone: ended.isDone, because: ended.because, at: rfc3339(ended.at) } : null,
      rehearsed: rehearsed && {
        ...{ image: rehearsed.image, isDone: rehearsed.isDone, because: rehearsed.because },
        seconds: rehearsed.tookMs === null ? null : Math.round(rehearsed.tookMs / 1000),
      },
    },
  };
}

function toText(image: string): string {
  const version = gitlabImageOf(image)?.version;
  return version ? versionText(version) : image;
}

export function upgradeLines(view: ViewInput, ledger: Ledger): Attention[] {
  const { upgrade } = upgradeView(view, ledger);
  if (upgrade?.wish) {
    const { from, to } = upgrade.wish;
    const phase = upgrade.doing?.phase ?? 'its host has not begun yet';
    const sentence = `GitLab is upgraded from ${from} to ${to}: ${phase}${percentText(upgrade.doing?.percent ?? null)}`;
    return [{ code: 'gitlab-upgrade', severity: 'info', sentence, fix: null }];
  }
  const ended = hostingOf(ledger)?.upgraded;
  if (!ended || ended.isDone || view.wallMs - ended.at > failedMs) return [];
  const sentence = `GitLab was not upgraded to ${toText(ended.image)}: ${ended.because}`;
  return [{ code: 'gitlab-upgrade', severity: 'warn', sentence, fix: null }];
}

const percentText = (percent: number | null): string => (percent === null ? '' : ` (${Math.floor(percent)} %)`);
