import type { NodeId } from '../protocol/ids.ts';
import type { Ledger } from '../protocol/ledger.ts';
import type { CopiesSeen, GitlabSeen } from '../protocol/report.ts';
import { compareRounds, type RoundName } from '../protocol/round-name.ts';
import type { Attention, StatusSnapshot } from '../protocol/status.ts';
import { candidatesOf } from './hosting/choose-standbys.ts';
import { type Hosting, hostingOf } from './hosting/hosted-edits.ts';
import { unheardReason } from './jobs/machines.ts';
import { listed, span, standbyState } from './phrases.ts';
import { failoverForecast } from './snapshot-failover.ts';
import { isHere, meshViewOf, nodeName, type ViewInput } from './snapshot-view.ts';

type GitlabView = StatusSnapshot['gitlab'];
type StandbyRow = NonNullable<GitlabView['standbys']>[number];
export type ForecastPart = NonNullable<NonNullable<GitlabView['forecast']>['parts']>[number];
type Loss = Exclude<GitlabView['loss'], undefined>;

interface CopiesView {
  standbys: StandbyRow[];
  loss: Loss;
  /** What the death of the host would cost, and who has what. */
  forecast: ForecastPart[];
}

/** What a machine sees of them: its own ledger, the host's last word, and what each standby says itself. */
interface Sight {
  view: ViewInput;
  ledger: Ledger;
  hosting: Hosting;
  seen: CopiesSeen | undefined;
  /** What the host says of GitLab itself. */
  said: GitlabSeen | undefined;
  isHostHere: boolean;
  /**
   * By the host's wall clock as its last word had it, and boot time since then: a clock that jumps meanwhile, here or there, is no
   * loss. Of a host that is away, when it was heard last: nothing was copied since.
   */
  hostWallMs: number;
}

function sightOf(view: ViewInput, ledger: Ledger): Sight | null {
  const hosting = hostingOf(ledger);
  if (hosting?.copies === undefined || hosting.copies.agreed.length + hosting.copies.standbys.length === 0) return null;
  const heard = view.jobs.reports[hosting.host];
  const { gitlab } = heard?.report ?? {};
  const said = gitlab?.data === hosting.data && gitlab.epoch === hosting.epoch ? gitlab : undefined;
  const isHostHere = isHere(view, hosting.host);
  const saidWallMs = heard?.report.wallMs ?? view.wallMs;
  return {
    view,
    ledger,
    hosting,
    ...{ said, seen: said?.copies },
    isHostHere,
    hostWallMs: saidWallMs + (isHostHere && heard ? Math.max(0, view.at - heard.at) : 0),
  };
}

/** Null where nobody was asked to hold copies. */
export function copiesView(view: ViewInput, ledger: Ledger): CopiesView | null {
  const sight = sightOf(view, ledger);
  if (sight === null) return null;
  const standbys = rowsOf(sight);
  const loss = lossOf(sight);
  return { standbys, loss, forecast: forecastOf(sight, standbys, loss) };
}

const rowsOf = (sight: Sight): StandbyRow[] =>
  (sight.hosting.copies?.standbys ?? []).map(({ node, because }) => rowOf(sight, node, because));

function rowOf(sight: Sight, node: NodeId, chosen: string): StandbyRow {
  const { ledger, hosting, seen, hostWallMs } = sight;
  const said = seen?.standbys.find((one) => one.node === node);
  const newest = newestOn(sight, node);
  const inSync = hosting.copies?.set.members.includes(node) === true;
  const { state, because } = stateOf(sight, node);
  const { doneBytes = 0, totalBytes = null } = said?.progress ?? {};
  return {
    node: nodeName(ledger, node),
    round: newest && `${newest.round.epoch}.${newest.round.number}`,
    ageMs: newest && Math.max(0, Math.round(hostWallMs - newest.asOf)),
    inSync,
    state: inSync ? 'in-sync' : state,
    because,
    percent: totalBytes === null || totalBytes === 0 ? null : Math.min(100, Math.floor((100 * doneBytes) / totalBytes)),
    chosen,
  };
}

/** The newest round that it is known to hold, by the host's word or its own, and until when nothing is missing in it. */
function newestOn({ view, hosting, seen, hostWallMs }: Sight, node: NodeId): { round: RoundName; asOf: number } | null {
  const said = seen?.standbys.find((one) => one.node === node);
  const standby = view.jobs.reports[node]?.report.standby;
  const own = standby?.data === hosting.data ? standby.newest : null;
  const byHost = said?.round && said.takenAt !== null ? { round: said.round, takenAt: said.takenAt } : null;
  const isNewer = own !== null && own !== undefined && (byHost === null || compareRounds(own.round, byHost.round) > 0);
  // Dated by the host's clock of then, which may have jumped since: it is between what the host knows of and now.
  const dated = isNewer && { ...own, takenAt: Math.min(Math.max(own.takenAt, byHost?.takenAt ?? 0), hostWallMs) };
  const newest = dated || byHost;
  if (newest === null) return null;
  // Where nothing was written since, no round is taken: who has the newest one has all there is.
  const isAll = seen?.newest != null && compareRounds(newest.round, seen.newest) >= 0;
  return { round: newest.round, asOf: Math.max(newest.takenAt, isAll ? (seen.safeUntil ?? 0) : 0) };
}

/** By the host's word; where it has none, by what is seen from here. */
function stateOf(sight: Sight, node: NodeId): Pick<StandbyRow, 'state' | 'because'> {
  const { view, ledger, hosting, seen, isHostHere } = sight;
  const said = seen?.standbys.find((one) => one.node === node);
  if (said && isHostHere)
    return { state: said.state === 'in-sync' ? 'catching-up' : said.state, because: said.because };
  const unheard = unheardReason(meshViewOf(view, ledger), node);
  if (unheard !== null) return { state: 'away', because: unheard };
  const problem = view.jobs.reports[node]?.report.standby?.problem ?? null;
  if (problem !== null) return { state: 'refused', because: problem };
  const name = nodeName(ledger, hosting.host);
  const because = isHostHere ? `${name} has not said anything of it yet` : `${name} is away, and sends nothing`;
  return { state: 'catching-up', because };
}

/** By the worst machine that may be started, as the host counts it; null while it has not said anything. */
function lossOf({ seen, said, hostWallMs }: Sight): Loss {
  if (seen === undefined) return null;
  const seconds = seen.safeUntil === null ? null : Math.max(0, Math.ceil((hostWallMs - seen.safeUntil) / 1000));
  return { pushes: !seen.arePushesSafe || said?.unheld !== undefined, seconds };
}

function forecastOf(sight: Sight, standbys: readonly StandbyRow[], loss: Loss): ForecastPart[] {
  const { ledger, hosting, isHostHere } = sight;
  const host = nodeName(ledger, hosting.host);
  const when = isHostHere ? `if ${host} died now` : `if ${host} stays away`;
  const copies = standbys.length === 0 ? 'no machine holds a copy' : `copies on ${listed(standbys.map(standbyWords))}`;
  // What comes of a silence is said with it.
  const next = isHostHere ? failoverForecast(sight.view, ledger) : null;
  return [
    loss === null
      ? { about: 'loss', words: `${host} has not said how far its copies are` }
      : { about: 'loss', when, words: lossWords(loss, standbys) },
    ...queuedParts(sight.said),
    { about: 'copies', words: copies },
    ...(next ? [{ about: 'next', words: next.sentence }] : []),
  ];
}

/** What Redis keeps is on its disk later than it said, and in a copy after that. */
export const queuedParts = (said: GitlabSeen | undefined): ForecastPart[] => {
  if (said?.queued === undefined) return [];
  const { each, because } = said.queued;
  const why = each === 'second' ? '' : ` (${because})`;
  return [{ about: 'queued', words: `queued work is on its disk each ${each}${why}` }];
};

function lossWords({ pushes, seconds }: NonNullable<Loss>, standbys: readonly StandbyRow[]): string {
  // Whoever reads of copies that are seconds old would not believe that all is lost; but none was in time long enough to be counted on.
  const isSomewhere = standbys.some(({ round }) => round !== null);
  if (seconds === null && pushes)
    return isSomewhere ? 'all of it may be lost, as no copy can be counted on yet' : 'all of it would be lost';
  if (seconds === null) return 'no push lost, but not all else is copied yet';
  return pushes
    ? `the last ${span(seconds * 1000)} would be lost, pushes too`
    : `no push lost, ${seconds} s of all else`;
}

function standbyWords({ node, ageMs, ...row }: StandbyRow): string {
  return `${node} (${standbyState(row)}${ageMs === null ? '' : `, ${span(ageMs)}`})`;
}

/** What a person should know of the copies. While GitLab is deployed, or goes, nobody counts on them. */
export function copyLines(view: ViewInput, ledger: Ledger): Attention[] {
  const sight = sightOf(view, ledger);
  if (sight === null || ledger.gitlab.url === null || sight.hosting.ending) return [];
  const { seen, hosting } = sight;
  const host = nodeName(ledger, hosting.host);
  if (seen !== undefined && seen.problem !== null)
    return [warning('gitlab-unprotected', `GitLab on ${host} is not protected: ${seen.problem}`)];
  const rows = rowsOf(sight);
  if (rows.length === 0) return [warning('gitlab-unprotected', nobodyCan(sight))];
  if (seen === undefined) return [];
  const unheld = sight.said?.unheld;
  if (unheld !== undefined)
    return [warning('gitlab-pushes-not-held', `pushes to GitLab on ${host} are not protected: ${unheld}`)];
  const lines = rows.some(({ inSync }) => inSync) ? rows.flatMap(rowLines) : [noneInSync(host, rows)];
  return [...lines, ...problemLines(sight, rows)];
}

const warning = (code: string, sentence: string, severity: Attention['severity'] = 'warn'): Attention => ({
  code,
  severity,
  sentence,
  fix: null,
});

function nobodyCan({ view, ledger, hosting }: Sight): string {
  const candidates = candidatesOf(meshViewOf(view, ledger), hosting, () => view.at);
  const reasons = candidates.flatMap(({ name, barred, unfit }) => {
    const because = barred ?? unfit;
    return because === null ? [] : [`${name} ${because}`];
  });
  const why = reasons.length === 0 ? 'none of those that were named was chosen yet' : listed(reasons);
  return `GitLab is on ${nodeName(ledger, hosting.host)} alone, and no machine holds a copy: ${why}`;
}

/** The first copy of all takes its time: that is no reason to worry yet. */
function noneInSync(host: string, rows: readonly StandbyRow[]): Attention {
  const isComing = rows.some(({ state }) => state === 'catching-up');
  const reasons = rows.map(({ node, because, percent }) =>
    percent === null ? `${node}: ${because}` : `${node} has ${percent} %`,
  );
  const sentence = `no copy of GitLab is in sync, so a push is on ${host} alone: ${reasons.join('; ')}`;
  return warning('gitlab-no-copy', sentence, isComing ? 'info' : 'warn');
}

/** One that is away is no reason to worry while another one is in sync: desktops sleep. */
function rowLines({ node, state, ageMs, because }: StandbyRow): Attention[] {
  if (state === 'in-sync' || state === 'catching-up') return [];
  const copy = ageMs === null ? 'holds no copy of GitLab' : `holds GitLab as it was ${span(ageMs)} ago`;
  return [warning(`copy-${state}`, `${node}  ${copy}: ${because}`, state === 'away' ? 'info' : 'warn')];
}

/** What a machine says of the copies on it, where its host does not say the same. */
const problemLines = ({ view, hosting }: Sight, rows: readonly StandbyRow[]): Attention[] =>
  (hosting.copies?.standbys ?? []).flatMap(({ node }, index): Attention[] => {
    const row = rows[index];
    const standby = view.jobs.reports[node]?.report.standby;
    const problem = standby?.data === hosting.data ? standby.problem : null;
    if (row === undefined || problem === null || row.because.includes(problem)) return [];
    const sentence = `${row.node}  cannot keep its copy of GitLab up to date: ${problem}`;
    return [{ ...warning('copy-problem', sentence), fix: `on ${row.node}: autogit-node doctor` }];
  });
