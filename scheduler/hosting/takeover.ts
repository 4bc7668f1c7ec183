import type { NodeId } from '../../protocol/ids.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { compareRounds, roundText } from '../../protocol/round-name.ts';
import { note } from '../note.ts';
import { tell, wake } from '../part-turn.ts';
import { listed, span } from '../phrases.ts';
import { failoverFlagged, type Takeover, takenOver, wantedDropped } from './failover-edits.ts';
import {
  failoversMost,
  fitAmong,
  graceOf,
  mayBegin,
  type Successors,
  successorsOf,
  whyNoFailover,
} from './failover-rules.ts';
import { silentSince, watchHost } from './host-watch.ts';
import { type Hosting, hostingOf } from './hosted-edits.ts';
import type { OpenQuestion, ToldOfRounds } from './hosting-state.ts';
import { hostingTimings } from './hosting-timings.ts';
import type { HostingTurn } from './hosting-turn.ts';
import { isTrialOver, tryOn } from './trial.ts';

/*
 * A move that nobody wished, as the leader decides it (SAFETY H7, H10). GitLab's host says nothing -> its grace is over, and every
 * lease that anybody gave it is surely out -> who may go on is asked for its newest whole round -> the best of them is proposed, with
 * that round, if no lease was given since they were asked. Whatever the host says before that ends it.
 */

export function tendTakeover(turn: HostingTurn): void {
  const { context, hosting } = turn;
  const [now, newest] = [hostingOf(context.committed), hostingOf(context.ledger)];
  if (hosting.lead === null || !context.mayAct || now === null || newest === null) return;
  // What is proposed already is waited for.
  if (now.epoch !== newest.epoch || now.host !== newest.host || now.data !== newest.data) return forget(turn);
  watchHost(turn, newest);
  const since = silentSince(turn, newest);
  if (since === null) {
    const wanted = newest.failover?.wanted;
    if (wanted) turn.edits.push(wantedDropped(newest, `${nameOf(turn, newest.host)}, its host, is there`));
    return forget(turn);
  }
  if (whyNoFailover(context.ledger!, newest) !== null) return forget(turn);
  goOn(turn, newest, since);
}

/** Nobody is asked any more. */
function forget({ hosting }: HostingTurn): void {
  if (hosting.lead?.question) hosting.lead = { ...hosting.lead, question: null };
}

const nameOf = ({ context }: HostingTurn, node: NodeId): string => context.ledger?.nodes[node]?.name ?? node;

function goOn(turn: HostingTurn, now: Hosting, since: number): void {
  const { context, hosting, at } = turn;
  const ledger = context.ledger!;
  const successors = successorsOf(now);
  const isInVain = isTrialOver(turn, now);
  const hasFailed = now.move?.unplanned?.failed !== undefined || isInVain;
  const wasHeard = hosting.heardHost === now.host;
  // A machine that has answered something of late is there, whatever grace a person sets.
  const { waitMs } = hostingTimings;
  const graceMs = hasFailed ? 0 : Math.max(waitMs, graceOf(ledger, now, successors, wasHeard));
  const lead = hosting.lead!;
  const dueAt = Math.max(since + graceMs, lead.since + waitMs, lead.givenAt + waitMs);
  // Heard, or given another lease, since they were asked: what they told may be older than what that let in.
  if (at < dueAt) {
    forget(turn);
    return wake(turn, dueAt);
  }
  if ((now.failover?.count ?? 0) >= failoversMost && !now.failover?.wanted)
    return void turn.edits.push(failoverFlagged(now, flagOf(turn, now)));
  const { question } = lead;
  const isOpen = question?.epoch === now.epoch && question.version === now.copies!.set.version;
  if (isOpen && mayPropose(turn, now, successors)) return propose(turn, now, since);
  const againAt = isOpen ? question.at + hostingTimings.roundAskMs : at;
  if (at < againAt) return wake(turn, againAt);
  if (isOpen && isInVain && at >= lead.givenAt + waitMs + 5 * hostingTimings.roundAskMs) return tryOn(turn);
  ask(turn, now, successors, isOpen ? question : null);
}

function flagOf(turn: HostingTurn, { host, failover }: Hosting): string {
  return `GitLab moved by itself ${failover?.count} times, the last time to ${nameOf(turn, host)}, and served for ${span(hostingTimings.settledMs)} at none of them: when you know why, autogit-node gitlab clear-flag`;
}

/** `before`: nobody could be named by it. */
function ask(turn: HostingTurn, now: Hosting, successors: Successors, before: OpenQuestion | null): void {
  const { data, epoch, copies } = now;
  const said = before === null || best(turn, now) !== null ? (before?.said ?? '') : noteNobody(turn, before);
  const { context, hosting, at } = turn;
  const { fit } = fitAmong(context.ledger!, successors);
  hosting.counter += 1;
  const nonce = `${context.self}-${context.boot.slice(0, 8)}-${Math.floor(at)}-${hosting.counter}`;
  const firstAt = before?.firstAt ?? at;
  const question = { nonce, at, firstAt, epoch, version: copies!.set.version, asked: fit, told: {}, said };
  hosting.lead = { ...hosting.lead!, question };
  for (const node of fit) tell(turn, node, { kind: 'round-ask', nonce, epoch, data });
  wake(turn, at + hostingTimings.roundAskMs);
}

export function hearTold(turn: HostingTurn, from: NodeId, { nonce, ...told }: MessageOf<'round-told'>): void {
  const { lead } = turn.hosting;
  const question = lead?.question;
  if (!lead || question?.nonce !== nonce || question.epoch !== told.epoch || !question.asked.includes(from)) return;
  const { round, takenAt, there, because, rather } = told;
  const all = { ...question.told, [from]: { round, takenAt, there, because, rather } };
  turn.hosting.lead = { ...lead, question: { ...question, told: all } };
}

/** Whoever is there has answered, or had the time for it. */
function mayPropose(turn: HostingTurn, now: Hosting, { nodes }: Successors): boolean {
  const { context, hosting, at } = turn;
  const { question } = hosting.lead!;
  const top = best(turn, now);
  if (!question || top === null) return false;
  const isHere = (node: NodeId): boolean => node === context.self || context.liveness(node).state === 'alive';
  const missing = question.asked.filter((node) => nodes.includes(node) && isHere(node) && !question.told[node]);
  if (missing.length === 0) return true;
  // Whoever is there and has not answered may look yet whether it could.
  if (top.rather !== undefined && at < question.firstAt + hostingTimings.ratherMs) return false;
  return at >= question.at + hostingTimings.roundAskMs;
}

type Best = { node: NodeId } & ToldOfRounds & {
    round: NonNullable<ToldOfRounds['round']>;
    there: NonNullable<ToldOfRounds['there']>;
  };

/**
 * The newest of what was answered, where nothing speaks against its machine: whoever may go on has every push that was acknowledged, so that
 * a second of all else is less than minutes without GitLab. Of two that are the same, the one that was chosen first as a standby.
 */
function best({ context, hosting }: HostingTurn, now: Hosting): Best | null {
  const { question } = hosting.lead!;
  const all = (question?.asked ?? []).flatMap((node): Best[] => {
    const told = question!.told[node];
    if (!told?.round || !told.there || !mayBegin(context.ledger!, now, told.round)) return [];
    return [{ ...told, node, round: told.round, there: told.there }];
  });
  const isReady = ({ rather }: Best): number => Number(rather === undefined);
  const compare = (a: Best, b: Best): number => isReady(a) - isReady(b) || compareRounds(a.round, b.round);
  return all.reduce<Best | null>((top, one) => (top && compare(top, one) >= 0 ? top : one), null);
}

function propose(turn: HostingTurn, now: Hosting, since: number): void {
  const { context, hosting, at } = turn;
  const chosen = best(turn, now)!;
  const because = takeoverWords(turn, now, chosen, since);
  const takeover: Takeover = {
    ...{ data: now.data, epoch: now.epoch, host: now.host, version: now.copies!.set.version },
    ...{ to: chosen.node, there: chosen.there, base: chosen.round, because, isInVain: isTrialOver(turn, now) },
  };
  turn.edits.push(takenOver(takeover, context.wallMs));
  note(turn, {
    event: 'gitlab-takeover',
    level: 'warn',
    because,
    fields: { from: now.host, to: chosen.node, epoch: now.epoch, round: roundText(chosen.round) },
  });
  // It may find no place among the leader's changes, or be refused: then all are asked again.
  hosting.lead = { ...hosting.lead!, question: { ...hosting.lead!.question!, at, asked: [], told: {} } };
  wake(turn, at + hostingTimings.roundAskMs);
}

function takeoverWords(turn: HostingTurn, now: Hosting, { node, takenAt }: Best, since: number): string {
  const { context, at } = turn;
  // Also where a person has named one that is in sync.
  const hasAll = successorsOf(now).kind === 'in-sync' || now.copies!.set.members.includes(node);
  const [from, to] = [now.host, node].map((one) => nameOf(turn, one));
  const failed = now.move?.unplanned?.failed;
  const why = failed
    ? `${from} could not bring GitLab up (${failed})`
    : isTrialOver(turn, now)
      ? `${from} has not brought GitLab up in ${span(hostingTimings.trialMs)}`
      : `${from} is silent for ${span(at - since)}`;
  const silentWallMs = context.wallMs - (at - since);
  const age = takenAt === null ? null : Math.max(0, silentWallMs - takenAt);
  const before = age === null ? 'an unknown time' : span(age);
  const loss = hasAll
    ? `with every push that was acknowledged, and all else but at most the last ${before}`
    : `with its copy of ${before} before; what was pushed later is on ${from} alone`;
  return `${why}: ${to} goes on ${loss}`;
}

/** It is time, and nobody could be named: said when it changes. */
function noteNobody(turn: HostingTurn, { asked, told, said }: OpenQuestion): string {
  const words = asked.map((node) => {
    const one = told[node];
    const name = nameOf(turn, node);
    if (one === undefined) return `${name} has not answered`;
    return `${name}: ${one.because ?? 'it holds no round that GitLab may be started from'}`;
  });
  const because = words.length === 0 ? 'no machine that has all that it needs is there' : listed(words);
  if (because !== said)
    note(turn, { event: 'gitlab-takeover-waits', level: 'warn', because: `GitLab goes on nowhere: ${because}` });
  return because;
}
