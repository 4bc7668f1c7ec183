import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger, LedgerNode, Run } from '../../protocol/ledger.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import type { Sealed } from '../../protocol/sealed.ts';
import { leavingOf } from '../disconnecting.ts';
import { note } from '../note.ts';
import { tell, wake } from '../part-turn.ts';
import { cut, span } from '../phrases.ts';
import { isBeingChecked, suspectClass } from './class-checks.ts';
import { heldUntil, holdReason } from './class-hold.ts';
import { attemptsOf, mayWrite, setAttempts } from './classes.ts';
import { keptFrom } from './faults.ts';
import { backoffMs, jobTimings } from './job-timings.ts';
import { type JobsState, type OutGrant, type WaitingJob, without } from './jobs-state.ts';
import { type JobsTurn, mint, nameOf, setLead } from './jobs-turn.ts';
import { awayReason, busyRuns, type MeshView, machinesOf, viewOf } from './machines.ts';
import type { Placed } from './placement.ts';
import { Placer } from './placer.ts';
import { canReadQueue, hintQueue } from './queue.ts';

/*
 * The leader's side of a grant (DESIGN §7, SAFETY J5): placed and sent, its room booked at once. answered used: booked
 * until its node announces the run. empty: the class waits for a fresh look at the queue. refused: the node is left alone
 * for a moment. Never answered: booked until it is surely over. Nothing of this needs a commit: GitLab arbitrates.
 */
const missesAllowed = 3;

const setGrants = (turn: JobsTurn, grants: Record<string, OutGrant>): void => setLead(turn, { grants });

export function grantAnswered(turn: JobsTurn, from: NodeId, answer: MessageOf<'grant-answer'>): void {
  const { lead } = turn.jobs;
  if (lead?.adrift[answer.grant]?.node === from) setLead(turn, { adrift: without(lead.adrift, answer.grant) });
  const grant = turn.jobs.lead?.grants[answer.grant];
  if (turn.jobs.lead === null || grant === undefined || grant.node !== from || grant.state !== 'out') return;
  if (answer.outcome === 'used') {
    setGrants(turn, { ...turn.jobs.lead.grants, [grant.grant]: { ...grant, state: 'used' } });
    return setAttempts(turn, grant.class, { misses: 0, missBecause: '', notBefore: turn.at, usedWallMs: turn.wallMs });
  }
  setGrants(turn, without(turn.jobs.lead.grants, grant.grant));
  miss(turn, grant, answer.because, answer.outcome === 'empty');
  hearBeside(turn, grant.class, answer);
  if (answer.outcome === 'empty') return hintQueue(turn, 'GitLab had no job for a grant');
  note(turn, {
    event: 'grant-refused',
    level: 'debug',
    because: `${nameOf(turn, from)} refused a grant: ${answer.because}`,
    fields: { grant: grant.grant },
  });
  const until = turn.at + jobTimings.refusedPauseMs;
  setLead(turn, { refused: { ...turn.jobs.lead.refused, [from]: { until, because: answer.because } } });
  wake(turn, until);
}

/** What an answer says of GitLab itself: that it does not know the runner, or asks to be left alone for a while. */
function hearBeside(turn: JobsTurn, key: string, answer: MessageOf<'grant-answer'>): void {
  const { misses, notBefore } = attemptsOf(turn.jobs, key);
  // A node of an older version does not tell why: three refusals in a row are worth the question.
  const isSuspect = answer.unknownRunner === true || (answer.outcome === 'refused' && misses >= missesAllowed);
  const until = turn.at + (answer.waitMs ?? 0);
  if (until > notBefore) setAttempts(turn, key, { notBefore: until });
  wake(turn, until);
  if (isSuspect) suspectClass(turn, key);
}

/**
 * GitLab shows the job as waiting and did not give it: three times in a row, and nothing is reserved for it for 1 s, doubling to
 * 30 s. Others of its class have room all the same (public-reports: phantom jobs).
 */
function missJob(turn: JobsTurn, job: number): void {
  const known = turn.jobs.lead?.phantoms ?? {};
  const misses = (known[job]?.misses ?? 0) + 1;
  const over = misses - missesAllowed;
  const until = over < 0 ? turn.at : turn.at + backoffMs(over);
  wake(turn, until);
  setLead(turn, { phantoms: { ...known, [job]: { misses, until } } });
}

/** Why nothing is reserved for one job now, whatever its class; null when there is. */
export function whyJobWaits({ lead }: JobsState, at: number, job: number): string | null {
  const phantom = lead?.phantoms[job];
  if (phantom === undefined || phantom.until <= at) return null;
  return `GitLab shows it as waiting and gave no job ${phantom.misses} times in a row: it is asked for again in ${span(phantom.until - at)}`;
}

/** Three in a row without a job, and the class waits: 1 s, doubling to 30 s. A standing grant waits 1 to 3 s. */
function miss(turn: JobsTurn, grant: OutGrant, because: string, isEmpty: boolean): void {
  if (isEmpty && grant.job !== null) {
    setAttempts(turn, grant.class, { emptyAt: turn.at });
    return missJob(turn, grant.job);
  }
  const misses = attemptsOf(turn.jobs, grant.class).misses + 1;
  const over = misses - missesAllowed;
  const standing = grant.job === null ? Math.min(3000, misses * 1000) : 0;
  const wait = over < 0 ? standing : grant.job === null ? 3000 : backoffMs(over);
  wake(turn, turn.at + wait);
  setAttempts(turn, grant.class, {
    misses,
    missBecause: because,
    notBefore: turn.at + wait,
    ...(isEmpty ? { emptyAt: turn.at } : {}),
  });
}

/** Whether the run that it brought is known. */
function isKnown({ jobs }: JobsTurn, { runs }: Ledger, node: string, grant: string): boolean {
  const isBrought = (run: Run): boolean => run.grant === grant;
  return jobs.announced[node]?.runs.some(isBrought) === true || Object.values(runs).some(isBrought);
}

/** Frees grants that are over: the run is announced, the node is gone, or the grant can no longer be used. */
export function settleGrants(turn: JobsTurn, ledger: Ledger): void {
  if (turn.jobs.lead === null) return;
  for (const grant of Object.values(turn.jobs.lead.grants)) {
    const isSeen = isKnown(turn, ledger, grant.node, grant.grant);
    const isAway = grant.node !== turn.context.self && turn.context.liveness(grant.node).state !== 'alive';
    const isGone = isAway || ledger.nodes[grant.node] === undefined;
    if (!isSeen && !isGone && turn.at < grant.until) {
      wake(turn, grant.until);
      continue;
    }
    if (!isSeen && !isGone)
      note(turn, {
        event: 'grant-expired',
        level: 'warn',
        because: `${nameOf(turn, grant.node)} never answered a grant`,
        fields: { grant: grant.grant },
      });
    setGrants(turn, without(turn.jobs.lead?.grants ?? {}, grant.grant));
    if (!isSeen && isGone && grant.state === 'out')
      setLead(turn, { adrift: { ...turn.jobs.lead?.adrift, [grant.grant]: grant } });
    if (isSeen) setAttempts(turn, grant.class, { misses: 0, missBecause: '', usedWallMs: turn.wallMs });
  }
  for (const { grant, node, until } of Object.values(turn.jobs.lead.adrift))
    if (until <= turn.at || isKnown(turn, ledger, node, grant))
      setLead(turn, { adrift: without(turn.jobs.lead?.adrift ?? {}, grant) });
}

/** A new leader starts from what the nodes say, not from zero: it waits for each that can speak, but not over 1 s. */
function waitsForReports(turn: JobsTurn, ledger: Ledger): boolean {
  const since = turn.jobs.lead?.since ?? turn.at;
  if (turn.at - since >= jobTimings.firstGrantWaitMs) return false;
  // The first that is missing is enough: each report that comes brings the question again.
  const isMissing = ([node, listed]: [NodeId, LedgerNode]): boolean =>
    node !== turn.context.self &&
    !listed.left &&
    (turn.jobs.reports[node]?.at ?? Number.NEGATIVE_INFINITY) < since &&
    turn.context.liveness(node).state === 'alive';
  if (!Object.entries(ledger.nodes).some(isMissing)) return false;
  wake(turn, since + jobTimings.firstGrantWaitMs);
  return true;
}

/** Why a class gets no grant now, whatever room there is; null when it may. Also what `why` says. */
export function whyClassWaits(
  jobs: JobsState,
  at: number,
  ledger: Ledger,
  committed: Ledger,
  key: string,
): string | null {
  if (leavingOf(ledger) !== null)
    return `GitLab is being ${ledger.gitlab.mode === 'hosted' ? 'uninstalled' : 'disconnected'}: no job is taken`;
  const entry = committed.classes[key];
  const attempts = attemptsOf(jobs, key);
  const newest = ledger.classes[key];
  if (newest?.state === 'retiring') return 'its class was unused for long: its runner is being replaced';
  if (entry === undefined || entry.state !== 'ready' || entry.token === null)
    return attempts.createBecause === null
      ? entry?.lost !== undefined
        ? `${entry.lost}: a new runner is being made`
        : 'a runner with exactly these tags is being made at GitLab'
      : `a runner with exactly these tags cannot be made: ${attempts.createBecause}`;
  // What the newest document has taken away may be committed already, where others know so first (follower-commit.ts).
  if (newest?.token !== entry.token) return 'its runner is replaced in this moment';
  if (isBeingChecked(attempts, at)) return 'GitLab is being asked whether it still knows the runner of its class';
  const held = holdReason(jobs, at, ledger, key);
  if (held !== null) return held;
  if (attempts.notBefore > at && attempts.misses >= missesAllowed)
    return `${attempts.misses} grants in a row brought no job (${attempts.missBecause}): the class waits ${span(attempts.notBefore - at)}`;
  if (attempts.notBefore > at && attempts.misses > 0)
    return `asked a moment ago (${attempts.missBecause}): again in ${span(attempts.notBefore - at)}`;
  if (attempts.notBefore > at) return 'asked a moment ago';
  if (canReadQueue(ledger) && jobs.lead !== null && jobs.lead.queue.freshAt < attempts.emptyAt)
    return 'GitLab had no such job a moment ago: its queue is read again';
  return null;
}

/** Grants of a class that are on their way, those that a former leader sent included. */
function underWay(view: MeshView): Map<string, number> {
  const { jobs } = view;
  const counts = new Map<string, number>();
  const add = (key: string): void => void counts.set(key, (counts.get(key) ?? 0) + 1);
  const grants = jobs.lead?.grants ?? {};
  for (const grant of Object.values(grants)) add(grant.class);
  for (const [node, heard] of Object.entries(jobs.reports)) {
    // Most have none, and this is asked of all machines in every pass.
    if (heard.report.reserved.length === 0 || awayReason(view, node) !== null) continue;
    const runs = new Set(busyRuns(view, node).map((run) => run.grant));
    for (const one of heard.report.reserved)
      if (grants[one.grant] === undefined && !runs.has(one.grant) && one.grant !== '') add(one.class);
  }
  return counts;
}

/** Places what waits, in the queue's order; what fits nowhere does not hold up the rest. */
export function sendGrants(turn: JobsTurn, waiting: readonly WaitingJob[]): void {
  const { ledger, committed } = turn.context;
  if (turn.jobs.lead === null || ledger === null || committed === null || !mayWrite(turn)) return;
  if (ledger.gitlab.mode === 'none' || waitsForReports(turn, ledger)) return;
  if (closesWindow(turn, ledger, committed, waiting)) return;
  // The leader looks several times a second, mostly in vain.
  const seesQueue = canReadQueue(ledger);
  if (seesQueue && waiting.length === 0) return;
  const view = viewOf(turn, ledger);
  const keeps = keptFrom(ledger, turn.wallMs, waiting);
  const grants = { ...turn.jobs.lead.grants };
  const pass: Pass = { turn, ledger, committed, placer: null, runners: new Map(), grants, view, keeps };
  setGrants(turn, pass.grants);
  if (!seesQueue) return standingGrants(pass);
  const covered = underWay(view);
  const blocked = new Set<string>();
  for (const job of waiting) {
    const key = job.class;
    if (whyJobWaits(turn.jobs, turn.at, job.job) !== null) {
      wake(turn, turn.jobs.lead?.phantoms[job.job]?.until ?? turn.at);
      continue;
    }
    const onTheWay = covered.get(key) ?? 0;
    if (onTheWay > 0) covered.set(key, onTheWay - 1);
    else if (!blocked.has(key) && !grantFor(pass, key, job.job)) blocked.add(key);
  }
}

/**
 * Whoever runs a job may send from this LAN, and an open pairing window lets in all that do (SAFETY, security A17). So
 * never both: the first job that wants to run closes the window, and its grant waits until that is committed.
 */
function closesWindow(turn: JobsTurn, ledger: Ledger, committed: Ledger, waiting: readonly WaitingJob[]): boolean {
  if (Math.max(ledger.pairUntil, committed.pairUntil) <= turn.wallMs) return false;
  const isWanted = canReadQueue(ledger)
    ? waiting.length > 0
    : Object.values(committed.classes).some(({ given }) => given);
  if (isWanted && ledger.pairUntil > turn.wallMs) {
    const because = 'a job wants to run: the pairing window is closed, from now on: autogit-node approve';
    note(turn, { event: 'pair-closed', level: 'warn', because });
    turn.edits.push({
      name: 'pair-closed',
      because,
      apply: (now) => (now.pairUntil === 0 ? now : { ...now, pairUntil: 0 }),
    });
  }
  return isWanted;
}

interface Pass {
  turn: JobsTurn;
  ledger: Ledger;
  committed: Ledger;
  view: MeshView;
  /** Made when the first job is to be placed. */
  placer: Placer | null;
  /** Of the classes met so far, with what grants of them ask; null: the class waits. Nothing that a pass does changes it. */
  runners: Map<string, Runner | null>;
  /** Those that are out: this pass's own until it ends. */
  grants: Record<string, OutGrant>;
  /** Machines that classes are kept from. */
  keeps: ReturnType<typeof keptFrom>;
}

/** Somebody else's GitLab: its queue is not ours to read, so one grant per given class stays out all the time. */
function standingGrants(pass: Pass): void {
  const covered = underWay(pass.view);
  for (const [key, entry] of Object.entries(pass.committed.classes))
    if (entry.given && !covered.has(key)) grantFor(pass, key, null);
}

/** With what a class asks GitLab for a job. */
interface Runner {
  tags: string[];
  runner: number | null;
  token: Sealed;
}

/** Null while the class must wait. */
function runnerOf({ turn, ledger, committed, runners }: Pass, key: string): Runner | null {
  const known = runners.get(key);
  if (known !== undefined) return known;
  const waits = whyClassWaits(turn.jobs, turn.at, ledger, committed, key) !== null;
  if (waits) wake(turn, Math.max(attemptsOf(turn.jobs, key).notBefore, heldUntil(turn.jobs, ledger, key)));
  const { tags = [], runner = null, token = null } = committed.classes[key] ?? {};
  const found = waits || token === null ? null : { tags: [...tags], runner, token };
  runners.set(key, found);
  return found;
}

/** Sends one grant for a class; false when the class must wait, or no machine has room. */
function grantFor(pass: Pass, key: string, job: number | null): boolean {
  const { turn, ledger } = pass;
  const runner = runnerOf(pass, key);
  if (runner === null) return false;
  pass.placer ??= new Placer(machinesOf(pass.view), ledger.settings.defaultArch);
  const placed = pass.placer.choose(key, runner.tags, pass.keeps.get(key));
  if (placed === null) return false;
  const id = mint(turn, 'grant');
  const grant: OutGrant = {
    grant: id,
    class: key,
    node: placed.node,
    claim: pass.placer.take(key, placed, id),
    job,
    state: 'out',
    sentAt: turn.at,
    until: turn.at + jobTimings.grantOverMs,
    because: placed.because,
  };
  announce(turn, grant, placed, runner);
  wake(turn, grant.until);
  pass.grants[grant.grant] = grant;
  return true;
}

function announce(turn: JobsTurn, grant: OutGrant, placed: Placed, { tags, runner, token }: Runner): void {
  tell(turn, placed.node, {
    kind: 'grant',
    grant: grant.grant,
    term: turn.context.term,
    class: grant.class,
    tags,
    runner,
    token,
    ttlMs: jobTimings.grantTtlMs,
    gpus: [...placed.gpus],
    because: cut(placed.because),
  });
  note(turn, {
    event: 'grant-sent',
    because: placed.because,
    fields: {
      grant: grant.grant,
      node: placed.name,
      class: grant.class,
      job: grant.job,
    },
  });
}
