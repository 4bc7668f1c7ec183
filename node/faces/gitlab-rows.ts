import type { Attention, StatusSnapshot } from '../../protocol/status.ts';
import { plural, standbyState } from '../../scheduler/phrases.ts';
import { showBytes, showDuration } from '../settings/quantities.ts';

type GitlabView = StatusSnapshot['gitlab'];
type Drill = NonNullable<GitlabView['drills']>[number];
type Fenced = NonNullable<GitlabView['fenced']>[number];
type Row = [string, string];

/** What a person should look at of GitLab: why it is not healthy, where that is known. */
export const gitlabReasons = ({ attention }: StatusSnapshot): Attention[] =>
  attention.filter(({ code }) => /^(gitlab|runner|copy)-/.test(code));

/** All that is known of GitLab, a name and a sentence each, as `autogit-node gitlab` and the page show it; `-` where there is nothing. */
export function gitlabRows(gitlab: GitlabView): Row[] {
  return [
    ['mode', gitlab.mode],
    ['state', stateOf(gitlab)],
    ['url', gitlab.url ?? '-'],
    ['host', gitlab.host ?? '-'],
    ['epoch', String(gitlab.epoch)],
    ['version', gitlab.version ?? '-'],
    ['image', gitlab.hosted ? `${gitlab.hosted.image} (${gitlab.hosted.preset})` : '-'],
    ['data', gitlab.hosted?.folder ?? '-'],
    ...protectedRows(gitlab),
    ...(gitlab.standbys ?? []).map((one): Row => ['copy', copyLine(one)]),
    ...(gitlab.fenced ?? []).map(fencedRow),
    ...(gitlab.sides ?? []).map(sideRow),
    ['backup', gitlab.lastBackup ? `${gitlab.lastBackup.at} on ${gitlab.lastBackup.copies.join(', ')}` : '-'],
    ...vaultRows(gitlab),
    ...(gitlab.drills ?? []).flatMap(drillRows),
    ...upgradeRows(gitlab),
    ...moveRows(gitlab),
    ...webhookRow(gitlab),
    ['forecast', gitlab.forecast?.sentence ?? '-'],
    ['flag', gitlab.flag ?? '-'],
  ];
}

const copyLine = ({ node, ageMs, because, ...row }: NonNullable<GitlabView['standbys']>[number]): string =>
  `${node}: ${standbyState(row)}${ageMs === null ? '' : `, ${showDuration(ageMs)} old`}; ${because}`;

/** Who tried GitLab from what it has of it, when, and what came of it. */
function drillRows({ node, proven, last, doing, ended, waits }: Drill): Row[] {
  const failed = last !== null && !last.isProven ? `; then ${last.round} failed: ${last.because}` : '';
  const tried = proven === null ? 'not yet' : `${proven.at}, ${proven.round}`;
  const unended =
    ended !== null && (last === null || ended.at > last.at) ? `; the last one ended: ${ended.because}` : '';
  const wait = waits === null ? '' : `; the next waits: ${waits}`;
  return [
    ['proven', `${node}: ${tried}${failed}${unended}${wait}`],
    ...(doing ? [['drill', `${node}: ${doing.phase}`] as Row] : []),
  ];
}

/** One that runs without the mesh and is backed up by it. */
function protectedRows({ protected: known }: GitlabView): Row[] {
  if (known === undefined) return [];
  const { node, container, folder, version, way, because, kept } = known;
  const which = version === null ? '' : `, GitLab ${version}`;
  return [
    ['protected', `container ${container} on ${node}${which}, data in ${folder}`],
    ['way', way === null ? because : `${way === 'own' ? "GitLab's own backup" : 'snapshots'}: ${because}`],
    ...(kept === undefined
      ? []
      : [
          [
            'history',
            `${kept.snapshots} snapshots in ${kept.folder}${kept.oldest === null ? '' : `, the oldest of ${kept.oldest}`}${kept.problem === null ? '' : `; none is made now: ${kept.problem}`}`,
          ] as Row,
        ]),
  ];
}

/** Backups: where they go, what is done, what is wrong. */
function vaultRows({ vault }: GitlabView): Row[] {
  if (vault === undefined) return [];
  const { target, checkedAt, doing, kept, restored } = vault;
  const percent = doing?.percent == null ? '' : `, ${Math.floor(doing.percent)} %`;
  return [
    ['backups', target === null ? '-' : `${target}${checkedAt === null ? '' : `, read back ${checkedAt}`}`],
    ...(kept === undefined ? [] : [['', `only added to there; ${kept}`] as Row]),
    ...(doing ? [[doing.what, `${doing.phase}${percent}`] as Row] : []),
    ...(restored ? [['restored', restored.because] as Row] : []),
  ];
}

/** An upgrade or a rehearsal under way, and how the last ones ended. */
function upgradeRows({ upgrade }: GitlabView): Row[] {
  if (upgrade === undefined) return [];
  const { wish, doing, ended, rehearsed } = upgrade;
  const percent = doing?.percent == null ? '' : `, ${Math.floor(doing.percent)} %`;
  const phase = doing ? `${doing.phase}${percent}` : 'its host has not begun yet';
  const rows: Row[] = [];
  if (wish) rows.push(['upgrade', `from ${wish.from} to ${wish.to}: ${phase}`]);
  else if (doing) rows.push(['rehearsal', `of ${doing.to}: ${phase}`]);
  if (ended) rows.push(['upgraded', `${ended.isDone ? '' : 'no: '}${ended.because}`]);
  if (rehearsed) rows.push(['rehearsed', rehearsed.because]);
  return rows;
}

/** A move to another machine, and how the last one ended. */
function moveRows({ move }: GitlabView): Row[] {
  if (move === undefined) return [];
  const { wish, doing, ended } = move;
  const percent = doing?.percent == null ? '' : `, ${Math.floor(doing.percent)} %`;
  if (wish)
    return [['move', `from ${wish.from} to ${wish.to}: ${doing?.phase ?? 'its host has not begun yet'}${percent}`]];
  if (ended === null) return [];
  return [['moved', ended.isDone ? `from ${ended.from} to ${ended.to}, ${ended.at}` : `no: ${ended.because}`]];
}

/** Of one that the mesh runs: also why, and how far a long step is. */
function stateOf({ state, hosted }: GitlabView): string {
  if (hosted === undefined) return state;
  const { because, progress } = hosted;
  const percent = progress?.percent ?? null;
  const step = progress === null ? '' : ` (${progress.phase}${percent === null ? '' : `, ${Math.floor(percent)} %`})`;
  return `${state}: ${because}${step}`;
}

const fencedRow = ({ node, name, bytes }: Fenced): Row => [
  'fenced',
  `${node} keeps ${name}, served there until another machine took over${bytes === null || bytes === 0 ? '' : `; ${showBytes(bytes)} are free without it`}`,
];

/** No push is taken. */
const sideRow = ({ name, because }: NonNullable<GitlabView['sides']>[number]): Row => [
  'pushes',
  `refused until somebody has looked at ${name}: ${because}`,
];

function webhookRow({ webhook }: GitlabView): Row[] {
  if (webhook === undefined) return [];
  const { url, projects, lastAt, refused, lastRefusal, problem } = webhook;
  const last = lastAt === null ? 'nothing came yet' : `the last came ${lastAt}`;
  const no = refused === 0 ? '' : `; ${refused} refused, the last: ${lastRefusal ?? '-'}`;
  const told = problem === null ? `hooks in ${plural(projects, 'project')}` : problem;
  return [['webhook', `${url ?? 'no address'}, ${told}; ${last}${no}`]];
}
