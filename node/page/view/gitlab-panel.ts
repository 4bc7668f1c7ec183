import type { Attention, StatusSnapshot } from '../../../protocol/status.ts';
import { forecastWords, standbyState } from '../../../scheduler/phrases.ts';
import { gitlabReasons, gitlabRows } from '../../faces/gitlab-rows.ts';
import { showDuration } from '../../settings/quantities.ts';
import type { Tone } from './machine-cards.ts';
import { webAddress } from './web-address.ts';

type GitlabView = StatusSnapshot['gitlab'];
type Standby = NonNullable<GitlabView['standbys']>[number];

interface CopyLine {
  node: string;
  tone: Tone;
  state: string;
  age: string | null;
  percent: number | null;
  because: string;
}

interface Doing {
  what: string;
  phase: string;
  percent: number | null;
}

export interface GitlabPanel {
  tone: Tone;
  /** One or two words. */
  state: string;
  because: string | null;
  url: string | null;
  host: string | null;
  /** What is foretold, without what the loss and the copies say anyway. */
  forecast: string | null;
  flag: string | null;
  /** What the death of its machine would cost now; null where nobody was asked to hold copies. */
  loss: { tone: Tone; when: string; words: string /** 0: nothing, 100: a minute and more. */; percent: number } | null;
  copies: CopyLine[];
  doing: Doing[];
  /** Why it is not well, each with its fix. */
  reasons: Attention[];
  /** All else, a name and a sentence each. */
  rows: [string, string][];
  /** Machines that it could move to. */
  mayMoveTo: string[];
  isMoving: boolean;
  hasBackups: boolean;
  /** There may be something that it can be made of again. */
  hasHistory: boolean;
}

const tones: Record<GitlabView['state'], Tone> = {
  absent: 'rest',
  deploying: 'busy',
  healthy: 'good',
  degraded: 'warn',
  failed: 'fail',
  repairing: 'warn',
};

/** As bad as its state, or the worst that a person is told of it. */
function toneOf({ mode, state }: GitlabView, reasons: readonly Attention[]): Tone {
  if (mode === 'none') return 'rest';
  const worst = ['fail', 'warn'].find((one) => reasons.some(({ severity }) => severity === one)) as Tone | undefined;
  return worst === undefined || tones[state] === 'fail' ? tones[state] : worst;
}

/** What has a place of its own above the rows. */
const shownAbove = new Set([
  ...['mode', 'state', 'url', 'host', 'forecast', 'flag', 'copy', 'epoch', 'image', 'data'],
  // That none are taken is a reason, with its fix.
  'pushes',
]);

export function gitlabPanel(status: StatusSnapshot): GitlabPanel {
  const { gitlab } = status;
  const { hosted, move, vault, upgrade } = gitlab;
  const reasons = gitlabReasons(status).filter(({ severity }) => severity !== 'info');
  return {
    tone: toneOf(gitlab, reasons),
    // It serves, but not all of it: nobody should read "healthy" there.
    state: gitlab.mode === 'none' ? 'none' : gitlab.sides ? `${gitlab.state}, no pushes` : gitlab.state,
    because: gitlab.mode === 'none' ? null : (hosted?.because ?? null),
    url: webAddress(gitlab.url),
    host: gitlab.host,
    forecast: forecastOf(gitlab),
    flag: gitlab.flag,
    loss: lossOf(gitlab),
    copies: (gitlab.standbys ?? []).map(copyLine),
    doing: [
      ...(hosted?.progress ? [{ what: 'GitLab', ...hosted.progress }] : []),
      ...(move?.doing ? [{ what: 'moving', ...move.doing }] : []),
      ...(vault?.doing ? [{ what: vault.doing.what, phase: vault.doing.phase, percent: vault.doing.percent }] : []),
      ...(upgrade?.doing
        ? [{ what: upgrade.doing.what, phase: upgrade.doing.phase, percent: upgrade.doing.percent }]
        : []),
      ...(gitlab.drills ?? []).flatMap(({ node, doing }) =>
        doing ? [{ what: `drill on ${node}`, phase: doing.phase, percent: null }] : [],
      ),
    ],
    reasons,
    rows: gitlabRows(gitlab).filter(([name, value]) => value !== '-' && !shownAbove.has(name)),
    mayMoveTo:
      gitlab.mode === 'hosted'
        ? status.nodes
            .filter(({ node, state }) => node !== gitlab.host && state !== 'gone' && state !== 'waiting')
            .map(({ node }) => node)
        : [],
    isMoving: move?.wish != null,
    hasBackups: vault?.target != null,
    hasHistory: gitlab.mode === 'hosted' || gitlab.protected !== undefined || vault?.target != null,
  };
}

const copyTones: Record<Standby['state'], Tone> = {
  'in-sync': 'good',
  'catching-up': 'busy',
  behind: 'warn',
  away: 'warn',
  full: 'fail',
  refused: 'fail',
};

const copyLine = (copy: Standby): CopyLine => ({
  node: copy.node,
  tone: copyTones[copy.state],
  state: standbyState(copy),
  age: copy.ageMs === null ? null : `${showDuration(Math.round(copy.ageMs / 1000) * 1000)} old`,
  percent: copy.percent,
  because: copy.because,
});

/** Whoever shows loss and copies by themselves has the rest to say. */
const shownApart = new Set(['loss', 'copies']);

function forecastOf({ forecast, standbys = [] }: GitlabView): string | null {
  if (!forecast?.parts) return forecast?.sentence ?? null;
  // With no machine that holds a copy there is no list that says it.
  const isShown = ({ about, when }: { about: string; when?: string | undefined }): boolean =>
    shownApart.has(about) && (about === 'loss' ? when !== undefined : standbys.length > 0);
  return forecastWords(forecast.parts.filter((part) => !isShown(part))) || null;
}

/** In the words of the forecast; how bad that is, by the figures. */
function lossOf({ loss, forecast }: GitlabView): GitlabPanel['loss'] {
  const { when, words } = forecast?.parts?.find(({ about }) => about === 'loss') ?? {};
  if (!loss || when === undefined || words === undefined) return null;
  const { pushes, seconds } = loss;
  const percent = seconds === null ? 100 : Math.min(100, Math.round((100 * seconds) / 60));
  const tone = pushes ? 'fail' : seconds === null || seconds > 60 ? 'warn' : 'good';
  return { when, words, tone, percent: pushes ? Math.max(percent, 50) : percent };
}
