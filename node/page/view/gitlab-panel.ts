import type { Attention, StatusSnapshot } from '../../../protocol/status.ts';
import { standbyState } from '../../../scheduler/phrases.ts';
import { gitlabReasons, gitlabRows } from '../../gitlab-rows.ts';
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

/** What has a place of its own above the rows. */
const shownAbove = new Set(['mode', 'state', 'url', 'host', 'forecast', 'flag', 'copy', 'epoch', 'image', 'data']);

export function gitlabPanel(status: StatusSnapshot): GitlabPanel {
  const { gitlab } = status;
  const { hosted, move, vault, upgrade } = gitlab;
  return {
    tone: gitlab.mode === 'none' ? 'rest' : tones[gitlab.state],
    state: gitlab.mode === 'none' ? 'none' : gitlab.state,
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
    reasons: gitlabReasons(status).filter(({ severity }) => severity !== 'info'),
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

const whenLost = /^(if .+ (?:died now|stays away)): /;

function forecastOf({ forecast, loss }: GitlabView): string | null {
  if (!forecast || !loss) return forecast?.sentence ?? null;
  const rest = forecast.sentence.split('; ').filter((part) => !whenLost.test(part) && !part.startsWith('copies on '));
  return rest.length === 0 ? null : rest.join('; ');
}

function lossOf({ loss, forecast, host }: GitlabView): GitlabPanel['loss'] {
  if (loss === undefined || loss === null) return null;
  const { pushes, seconds } = loss;
  const when = whenLost.exec(forecast?.sentence ?? '')?.[1] ?? `if ${host ?? 'its machine'} died now`;
  if (seconds === null)
    return {
      when,
      tone: pushes ? 'fail' : 'warn',
      percent: 100,
      words: pushes ? 'all of it' : 'no push, but not all else is copied yet',
    };
  const percent = Math.min(100, Math.round((100 * seconds) / 60));
  if (pushes)
    return {
      when,
      tone: 'fail',
      percent: Math.max(percent, 50),
      words: `the last ${showDuration(seconds * 1000)}, pushes too`,
    };
  return {
    when,
    tone: seconds > 60 ? 'warn' : 'good',
    percent,
    words: seconds === 0 ? 'nothing' : `no push, ${showDuration(seconds * 1000)} of all else`,
  };
}
