import type { Change } from '../../protocol/changes.ts';
import type { HostedAt, HostedFailover, HostedMove } from '../../protocol/hosted-move.ts';
import type { NodeId } from '../../protocol/ids.ts';
import { asSentence } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import type { RoundName } from '../../protocol/round-name.ts';
import { actsWith, type LedgerEdit, type Refusal } from '../ledger-edit.ts';
import { find, noNode } from '../membership-names.ts';
import { gitlabWithCopies, withoutCopyOn } from './copies-set.ts';
import { mayBegin, successorsOf, whyNoFailover, whyNotSuccessor } from './failover-rules.ts';
import { addressThere, hostingOf, whyNotOf } from './hosted-edits.ts';
import { hereOf, movedTo } from './move-edits.ts';
import { withoutWish } from './upgrade-edits.ts';

/*
 * A move that nobody wished, in the ledger: its host was silent, the leader names another one and the round with which it goes on
 * (SAFETY H7, H10) -> that machine serves, and it stands as a planned one does; or it cannot bring it up, and the leader names the
 * next. What moves too often gets a flag, and stays until a person clears it.
 */

/** What the leader has decided, and by what. */
export interface Takeover {
  readonly data: string;
  readonly epoch: number;
  readonly host: NodeId;
  /** Of the in-sync set: it may have changed since the machines were asked. */
  readonly version: number;
  readonly to: NodeId;
  readonly there: HostedAt;
  readonly base: RoundName;
  readonly because: string;
  /** That host is there, and could not bring GitLab up in its time. */
  readonly isInVain: boolean;
}

export const takenOver = (one: Takeover, wallMs: number): LedgerEdit => ({
  name: 'gitlab-taken-over',
  because: one.because,
  apply(ledger) {
    const hosting = hostingOf(ledger);
    if (hosting?.data !== one.data || hosting.epoch !== one.epoch || hosting.host !== one.host) return ledger;
    if (hosting.copies?.set.version !== one.version || hosting.ending)
      return { refused: 'who is in sync has changed since they were asked' };
    const isSuccessor = successorsOf(hosting).nodes.includes(one.to) && whyNotSuccessor(ledger, one.to) === null;
    if (!isSuccessor || !mayBegin(ledger, hosting, one.base)) return { refused: 'it is not the one any more' };
    const { move: before, failover } = hosting;
    const tried = [
      ...(before?.unplanned?.tried ?? []),
      ...(before?.unplanned?.failed || one.isInVain ? [one.host] : []),
    ];
    const wish = {
      from: one.host,
      to: one.to,
      there: { place: one.there.place, ...addressThere(hosting, one.there) },
      back: hereOf(hosting),
      base: one.base,
      since: wallMs,
      because: asSentence(one.because),
      unplanned: { tried: tried.slice(-limits.standbys * 4) },
    };
    // Only with a person's word there is one: which image these data are of is the epoch's.
    const ended = withoutWish(ledger.gitlab, false, 'its host was silent, and GitLab went on elsewhere', wallMs);
    const gitlab = movedTo({ ...ledger, gitlab: ended }, wish, true, wish);
    const counted: HostedFailover = { count: (failover?.count ?? 0) + 1 };
    return {
      ...ledger,
      acts: actsWith(ledger, 'gitlab-taken-over', one.because, wallMs),
      gitlab: { ...gitlab, hosted: { ...gitlab.hosted!, failover: counted } },
    };
  },
});

/** `gitlab` with other words of its moves; the same object where they are the same. */
function withFailover(ledger: Ledger, failover: HostedFailover | undefined): Ledger {
  const { hosted } = ledger.gitlab;
  if (hosted === undefined) return ledger;
  const { failover: _before, ...rest } = hosted;
  return { ...ledger, gitlab: { ...ledger.gitlab, hosted: failover ? { ...rest, failover } : rest } };
}

interface Of {
  readonly data: string;
  readonly epoch: number;
}

const ofEpoch = (name: string, because: string, { data, epoch }: Of, then: (ledger: Ledger) => Ledger): LedgerEdit => ({
  name,
  because,
  apply: (ledger) => (ledger.gitlab.hosted?.data === data && ledger.gitlab.epoch === epoch ? then(ledger) : ledger),
});

/** It served for long: what was counted before means nothing any more. */
export const failoverSettled = (of: Of): LedgerEdit =>
  ofEpoch('gitlab-settled', 'GitLab has served for long where it is', of, (ledger) =>
    ledger.gitlab.hosted?.failover ? withFailover(ledger, undefined) : ledger,
  );

export const failoverFlagged = (of: Of, flag: string): LedgerEdit =>
  ofEpoch('gitlab-flagged', flag, of, (ledger) => {
    const known = ledger.gitlab.hosted?.failover;
    return known === undefined || known.flag ? ledger : withFailover(ledger, { ...known, flag: asSentence(flag) });
  });

/** The same object where a person wanted none. */
export function withoutWanted(ledger: Ledger): Ledger {
  const { wanted, ...rest } = ledger.gitlab.hosted?.failover ?? { count: 0 };
  if (wanted === undefined) return ledger;
  return withFailover(ledger, rest.count > 0 || rest.flag ? rest : undefined);
}

/** Its host is there: what a person wanted in its place is void. */
export const wantedDropped = (of: Of, because: string): LedgerEdit =>
  ofEpoch('gitlab-start-dropped', because, of, withoutWanted);

/** So long that machine's power was away and back, seen from here. */
export const bootLearned = (node: NodeId, bootMs: number): LedgerEdit => ({
  name: 'boot-learned',
  because: 'that machine was away for so long, and is back with another boot',
  apply(ledger) {
    const known = ledger.nodes[node];
    if (known === undefined || (known.bootMs ?? Number.POSITIVE_INFINITY) <= bootMs) return ledger;
    return { ...ledger, nodes: { ...ledger.nodes, [node]: { ...known, bootMs } } };
  },
});

function clearFlag(ledger: Ledger, { data }: Change & { kind: 'clear-gitlab-flag' }): Ledger | Refusal {
  const hosting = hostingOf(ledger);
  if (hosting === null) return { refused: 'this mesh hosts no GitLab' };
  if (hosting.data !== data) return { refused: 'the mesh hosts another GitLab by now: look at that one first' };
  const { flag, count = 0, wanted } = hosting.failover ?? {};
  // Who has looked before it came so far need not wait for the flag.
  if (!flag && count === 0) return ledger;
  // What a person has said besides, and what waits for its host's leases, is another thing.
  return withFailover(ledger, wanted && { count: 0, wanted });
}

/** It could not be brought up there, and a person has mended why: its gate is closed for that epoch, so the next one begins with the same round. */
function triedAgain(ledger: Ledger, before: HostedMove, because: string, wallMs: number): Ledger {
  const wish = { ...before, since: wallMs, because, unplanned: { tried: [] } };
  const gitlab = movedTo(ledger, wish, true, wish);
  const { copies: known } = ledger.gitlab.hosted!;
  const { copies: next } = gitlab.hosted!;
  // Its host of before may have been taken out of those that hold copies meanwhile: what lay there is deleted.
  if (!known || !next || known.agreed.includes(before.from)) return { ...ledger, gitlab };
  return { ...ledger, gitlab: gitlabWithCopies(gitlab, withoutCopyOn(next, before.from)) };
}

/** What the mesh would not do by itself, a person may, who was told what is missing there. */
function startAt(
  ledger: Ledger,
  { data, epoch, to: wanted, because }: Change & { kind: 'start-gitlab-at' },
  wallMs: number,
): Ledger | Refusal {
  const refused = whyNotOf(ledger, { data, epoch });
  if (refused !== null) return { refused };
  const hosting = hostingOf(ledger)!;
  const known = hosting.failover ?? { count: 0 };
  if (wanted === null) return wantedDropped({ data, epoch }, because).apply(ledger);
  const to = find(ledger.nodes, wanted);
  if (to === null) return { refused: noNode(ledger, wanted) };
  const name = ledger.nodes[to]?.name ?? to;
  if (to === hosting.host && hosting.ending) return { refused: 'GitLab is being uninstalled' };
  if (to === hosting.host && hosting.move?.unplanned?.failed) return triedAgain(ledger, hosting.move, because, wallMs);
  if (to === hosting.host) return { refused: `GitLab is ${name}'s already: it goes on there when it is back` };
  // By the ledger as it would be: what the leader would not act on is no word that was taken.
  const never = whyNoFailover(ledger, { ...hosting, failover: { ...known, wanted: { to, since: wallMs, because } } });
  if (never !== null) return { refused: `GitLab cannot go on at ${name}: ${never}` };
  if (!hosting.copies?.standbys.some(({ node }) => node === to)) return { refused: `${name} holds no copy of it` };
  const why = whyNotSuccessor(ledger, to);
  if (why !== null) return { refused: `${name} ${why}` };
  if (known.wanted?.to === to) return ledger;
  return withFailover(ledger, { ...known, wanted: { to, since: wallMs, because } });
}

export const changeFailover = (
  ledger: Ledger,
  change: Change & { kind: 'start-gitlab-at' | 'clear-gitlab-flag' },
  wallMs: number,
): Ledger | Refusal =>
  change.kind === 'clear-gitlab-flag' ? clearFlag(ledger, change) : startAt(ledger, change, wallMs);
