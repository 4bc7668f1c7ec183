import type { Leaving } from '../protocol/gitlab-leaving.ts';
import type { NodeId } from '../protocol/ids.ts';
import type { abilities, Ledger } from '../protocol/ledger.ts';
import { actsWith, type LedgerEdit, type Refusal } from './ledger-edit.ts';
import { listed } from './phrases.ts';
import { rankedVoters } from './raft/quorum.ts';

/*
 * GitLab is disconnected by an intent in the ledger, so that the next leader goes on where this one stopped (SAFETY J6):
 * it is `leaving` until jobs and runners are settled (jobs/gitlab-disconnect.ts), then it is gone, token and all.
 */

export const markOf = (token: string | null): string => token?.slice(-16) ?? '';

/** Null where it was said of a connection that is no more: a leader of an earlier version keeps what it does not know. */
export const leavingOf = (ledger: Ledger | null): Leaving | null => {
  const { leaving, token, mode, hosted } = ledger?.gitlab ?? {};
  if (mode === 'hosted' && hosted?.ending) {
    // The mesh's own one is uninstalled: what concerns jobs and runners is the same.
    const { since } = hosted.ending;
    // Where its host was removed, nothing answers for it any more.
    const isLost = ledger?.nodes[ledger.gitlab.host ?? ''] === undefined;
    const [now, force] = [hosted.ending.now || isLost, hosted.ending.force || isLost];
    return { since, now, force, of: markOf(token ?? null) };
  }
  return leaving !== undefined && mode === 'connected' && leaving.of === markOf(token ?? null) ? leaving : null;
};

export function whyNotDisconnect(ledger: Ledger): string | null {
  if (ledger.gitlab.mode === 'hosted') return 'this mesh hosts its own GitLab: autogit-node gitlab uninstall';
  return whichVoterIsOlder(ledger, [], 'disconnect', 'cannot go on with this as leader');
}

/** Of these, the members whose version does not say that it can do it, in a sentence; null when there is none. */
export function whoIsOlder(
  nodes: Ledger['nodes'],
  asked: readonly NodeId[],
  ability: (typeof abilities)[number],
  what: string,
): string | null {
  const older = asked.filter((node) => nodes[node] && !nodes[node].can?.includes(ability));
  if (older.length === 0) return null;
  const names = listed(older.map((node) => nodes[node]?.name ?? node));
  const [runs, it] = older.length === 1 ? ['runs', 'it'] : ['run', 'them'];
  return `${names} ${runs} an earlier version, which ${what}: upgrade ${it} first`;
}

/** The same of all that vote, and of `besides`: any voter may have to go on with it; the leader of now may be one that does not know it. */
export const whichVoterIsOlder = (
  { configuration, nodes }: Pick<Ledger, 'configuration' | 'nodes'>,
  besides: readonly NodeId[],
  ability: (typeof abilities)[number],
  what: string,
): string | null => whoIsOlder(nodes, [...new Set([...rankedVoters(configuration), ...besides])], ability, what);

/** Asked again, it may become more urgent, never less. */
export function disconnect(
  ledger: Ledger,
  { now, force }: { now: boolean; force: boolean },
  wallMs: number,
): Ledger | Refusal {
  const refused = whyNotDisconnect(ledger);
  if (refused !== null) return { refused };
  if (ledger.gitlab.mode === 'none') return ledger;
  const known = leavingOf(ledger);
  if (known && (known.now || !now) && (known.force || !force)) return ledger;
  const leaving: Leaving = {
    since: known?.since ?? wallMs,
    now: now || known?.now === true,
    force: force || known?.force === true,
    of: markOf(ledger.gitlab.token),
  };
  return { ...ledger, gitlab: { ...ledger.gitlab, leaving } };
}

/** Nothing of it is left: no token, no runner token, no address. What ran stays as it ended. */
export const gitlabGone = (of: string, because: string, wallMs: number): LedgerEdit => ({
  name: 'gitlab-gone',
  because,
  apply(ledger) {
    if (leavingOf(ledger)?.of !== of) return ledger;
    return ledger.gitlab.mode === 'connected' ? withoutGitlab(ledger, because, wallMs) : ledger;
  },
});

export function withoutGitlab(ledger: Ledger, because: string, wallMs: number): Ledger {
  const { leaving: _over, ...rest } = ledger.gitlab;
  const runs = Object.entries(ledger.runs).map(([id, run]) => [
    id,
    run.state === 'lost' ? { ...run, failedAtGitlab: true } : run,
  ]);
  const { rescues: _rescues, ...kept } = ledger;
  return {
    ...kept,
    gitlab: { ...rest, mode: 'none', url: null, token: null, instance: null },
    classes: {},
    runs: Object.fromEntries(runs),
    acts: actsWith(ledger, 'gitlab-gone', because, wallMs),
  };
}
