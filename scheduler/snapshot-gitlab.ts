import type { Ledger } from '../protocol/ledger.ts';
import type { Attention, StatusSnapshot } from '../protocol/status.ts';
import { hostedUrl, hostingOf } from './hosting/hosted-edits.ts';
import { forecastWords, span } from './phrases.ts';
import { copiesView, type ForecastPart, queuedParts } from './snapshot-copies.ts';
import { drillView } from './snapshot-drill.ts';
import { failoverForecast, silenceWords } from './snapshot-failover.ts';
import { fencedView } from './snapshot-fenced.ts';
import { leavingLines } from './snapshot-leaving.ts';
import { moveView } from './snapshot-move.ts';
import { protectedView } from './snapshot-protected.ts';
import { upgradeView } from './snapshot-upgrade.ts';
import { vaultView } from './snapshot-vault.ts';
import { nodeName, type ViewInput } from './snapshot-view.ts';
import { sidesView } from './two-sides.ts';

type GitlabView = StatusSnapshot['gitlab'];

export function gitlabView(view: ViewInput, ledger: Ledger | null): GitlabView {
  const gitlab = ledger?.gitlab;
  const seen = view.leader ? view.jobs.reports[view.leader.node]?.report.queue : undefined;
  const mode = gitlab?.mode ?? 'none';
  const known = {
    mode,
    url: gitlab?.url ?? null,
    host: gitlab?.host ? nodeName(ledger, gitlab.host) : null,
    epoch: gitlab?.epoch ?? 0,
    version: null,
    lastBackup: null,
    forecast: null,
    flag: (ledger && (leavingLines(view, ledger)[0]?.sentence ?? hostingOf(ledger)?.failover?.flag)) ?? null,
  };
  const hosted = ledger && hostedView(view, ledger);
  if (hosted)
    return {
      ...known,
      ...hosted,
      ...vaultView(view, ledger),
      ...drillView(view, ledger),
      ...upgradeView(view, ledger),
      ...moveView(view, ledger),
      ...fencedView(view, ledger),
      ...sidesView(view, ledger),
      ...protectedView(view, ledger),
    };
  const state = mode === 'none' ? 'absent' : (seen?.gitlab ?? 'degraded');
  if (!ledger?.gitlab.protected) return { ...known, state };
  return { ...known, state, ...vaultView(view, ledger), ...protectedView(view, ledger) };
}

type HostedView = Pick<GitlabView, 'state' | 'url' | 'version' | 'forecast' | 'standbys' | 'loss'> &
  Required<Pick<GitlabView, 'hosted'>>;

/** What its host says of the mesh's own GitLab, as long as the host can say anything. */
function hostedView(view: ViewInput, ledger: Ledger): HostedView | null {
  const hosting = hostingOf(ledger);
  if (hosting === null) return null;
  const { host, data, epoch, image, preset, place } = hosting;
  const said = view.jobs.reports[host]?.report.gitlab;
  const now = said !== undefined && said.data === data && said.epoch === epoch ? said : null;
  const away = whyAway(view, ledger);
  const copies = copiesView(view, ledger);
  const name = nodeName(ledger, host);
  const parts: ForecastPart[] = copies?.forecast ?? [
    { about: 'copies', words: `one copy, on ${name} alone: if that machine dies nothing moves` },
    ...queuedParts(now ?? undefined),
  ];
  const silence = { state: ledger.gitlab.url === null ? ('deploying' as const) : ('degraded' as const) };
  return {
    state: away?.state ?? now?.state ?? silence.state,
    // Where it will be, also before it stands.
    url: ledger.gitlab.url ?? hostedUrl(hosting),
    version: now?.version ?? null,
    forecast: {
      sentence: forecastWords(parts),
      to: copies === null || away !== null ? null : (failoverForecast(view, ledger)?.to ?? null),
      rtoSeconds: null,
      rpoSeconds: copies?.loss?.seconds ?? null,
      parts,
    },
    standbys: copies?.standbys ?? [],
    loss: copies?.loss ?? null,
    hosted: {
      data,
      image,
      preset,
      folder: place.path,
      because: away?.because ?? now?.because ?? `${name} has not said anything of it yet`,
      progress: away === null ? (now?.progress ?? null) : null,
    },
  };
}

/** Why its host cannot serve, seen from here: nobody else can. */
function whyAway(view: ViewInput, ledger: Ledger): { state: 'degraded' | 'failed'; because: string } | null {
  const host = ledger.gitlab.host as string;
  const name = nodeName(ledger, host);
  const copies = hostingOf(ledger)?.copies;
  const isAlone = copies === undefined || copies.agreed.length === 0;
  if (!ledger.nodes[host] && isAlone)
    return { state: 'failed', because: 'its host was removed from the mesh: autogit-node gitlab uninstall' };
  const { state, since } = host === view.self ? { state: 'alive', since: view.at } : view.liveness(host);
  const next = (alone: string): string => (isAlone ? alone : `; ${silenceWords(view, ledger, since)}`);
  const returns = ': it goes on there when its agent is back';
  if (!ledger.nodes[host]) return { state: 'failed', because: `its host was removed from the mesh${next('')}` };
  if (ledger.nodes[host].left) return { state: 'degraded', because: `${name} has left politely${next(returns)}` };
  if (state === 'dead') return { state: 'degraded', because: `the agent of ${name} does not run${next(returns)}` };
  const silent = isAlone ? 'does not answer' : `is silent${silentFor(view, since)}`;
  if (state === 'silent')
    return { state: 'failed', because: `${name} ${silent}${next(', and GitLab is on no other machine')}` };
  return whyNoLease(view, ledger);
}

const silentFor = ({ at }: ViewInput, since: number): string =>
  Number.isFinite(since) ? ` for ${span(at - since)}` : '';

/** Only a leader lets it go on, and only one whose version knows how (SAFETY H6). */
function whyNoLease({ self, leader }: ViewInput, { nodes, gitlab }: Ledger): ReturnType<typeof whyAway> {
  const name = nodes[leader?.node ?? '']?.name;
  if (leader && name !== undefined && !nodes[leader.node]?.can?.includes('hosting'))
    return { state: 'failed', because: `${name} leads, and its version cannot let GitLab go on: upgrade it` };
  if (gitlab.host === self && leader === null)
    return { state: 'degraded', because: 'its host hears no leader: after 4 s GitLab stands still until it does' };
  return null;
}

/** That the certificate of its address has to be renewed: nobody else is told. */
export function certificateLines(view: ViewInput, ledger: Ledger): Attention[] {
  const hosting = hostingOf(ledger);
  if (hosting === null || hosting.ending) return [];
  const said = view.jobs.reports[hosting.host]?.report.gitlab;
  if (said?.certificate === undefined || said.data !== hosting.data || said.epoch !== hosting.epoch) return [];
  const sentence = `GitLab on ${nodeName(ledger, hosting.host)}: ${said.certificate}`;
  const fix = 'there, with its successor: autogit-node gitlab certificate --tls-cert FILE --tls-key FILE';
  return [{ code: 'gitlab-certificate', severity: 'warn', sentence, fix }];
}

/** What of the list of users and groups GitLab has not, or has in another way. */
export function peopleLines(view: ViewInput, ledger: Ledger): Attention[] {
  const hosting = hostingOf(ledger);
  if (hosting === null || hosting.ending) return [];
  const said = view.jobs.reports[hosting.host]?.report.gitlab;
  if (said?.people === undefined || said.data !== hosting.data || said.epoch !== hosting.epoch) return [];
  const host = nodeName(ledger, hosting.host);
  const line = (severity: 'warn' | 'info', what: string) => (sentence: string) => ({
    ...{ code: 'gitlab-people', severity, sentence: `GitLab ${what} autogit.yml of ${host}: ${sentence}` },
    fix: severity === 'warn' ? 'it is tried again by itself; now: autogit-node reconcile' : null,
  });
  const { problems, differences } = said.people;
  return [...problems.map(line('warn', 'lacks what stands in')), ...differences.map(line('info', 'differs from'))];
}

/** What a person should know of the mesh's own GitLab: nothing while it serves, or boots as it should. */
export function hostedLines(view: ViewInput, ledger: Ledger): Attention[] {
  const now = hostedView(view, ledger);
  if (now === null || now.state === 'healthy' || now.state === 'deploying' || hostingOf(ledger)?.ending) return [];
  const isLost = now.state === 'failed';
  return [
    {
      code: `gitlab-${now.state}`,
      severity: isLost ? 'fail' : 'warn',
      sentence: `GitLab on ${nodeName(ledger, ledger.gitlab.host as string)} is ${now.state}: ${now.hosted.because}`,
      fix: isLost ? 'when that is mended: autogit-node reconcile' : null,
    },
  ];
}
