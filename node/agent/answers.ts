import type { Answer, Ask } from '../../protocol/asks.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { KnownAct } from '../../protocol/notices.ts';
import { findJob } from '../../scheduler/job-wish.ts';
import { rankedVoters } from '../../scheduler/raft/quorum.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';
import { committedLedger } from '../../scheduler/views.ts';
import type { Log } from '../log.ts';
import { logFile } from '../log.ts';
import type { RunSupervisor } from '../runs/run-supervisor.ts';
import { tailOf } from '../support/log-tail.ts';
import type { CacheSharing } from './cache-sharing.ts';
import type { CoreLoop } from './core-loop.ts';
import { type CoreView, forOlder, jobRowsOf, misfitsIn, oldestQueuedAt, viewInput, whyOf } from './core-views.ts';
import type { DeferredNetwork } from './deferred-network.ts';
import type { EndedTraces } from './ended-traces.ts';
import type { GitlabEffects } from './gitlab-effects.ts';
import { refused } from './hosting-answers.ts';
import { fulfil } from './job-wishes.ts';
import { LeaderLoss } from './leader-loss.ts';
import type { OwnHosting } from './own-hosting.ts';

interface AnswerSources {
  home: string;
  view(): CoreView;
  feed: CoreLoop['feed'];
  runs: Pick<RunSupervisor, 'traceOf'>;
  gitlab: Pick<GitlabEffects, 'admin'>;
  traces: EndedTraces;
  log: Log;
  hosting: Pick<OwnHosting, 'answer' | 'openDoor'>;
  caches: Pick<CacheSharing, 'answer'>;
  rehearsal: LeaderLoss;
  buttons: NoticeButtons;
}

/** Links that are buttons of notices about this machine; null while nobody is told anything. */
export interface NoticeButtons {
  link: ((act: KnownAct) => Promise<string | null>) | null;
}

/** Everything that is asked of this node, while its agent lives. */
export function answersOf(
  sources: Omit<AnswerSources, 'rehearsal'> & { network: DeferredNetwork },
): (from: NodeId, ask: Ask) => Promise<Answer> {
  const rehearsal = new LeaderLoss(sources);
  return (from, ask) => answerTo(from, ask, { ...sources, rehearsal });
}

/** What another member asks, or this machine's own command line: `from` is who asks. */
export async function answerTo(from: NodeId, ask: Ask, sources: AnswerSources): Promise<Answer> {
  const { view, runs } = sources;
  switch (ask.kind) {
    case 'jobs':
      return queueAndRuns(ask, view());
    case 'why':
      return { kind: 'why', why: whyOf(view(), ask.job) };
    case 'trace': {
      const trace = await runs.traceOf(ask.run, ask.offset);
      return trace ? { kind: 'trace', ...trace } : refused(`run ${ask.run} is not here`);
    }
    case 'ended-trace':
      return endedTrace(ask, sources);
    case 'wish': {
      const { log, feed, gitlab } = sources;
      const at = viewInput(view());
      return fulfil(ask.wish, nodeName(at.ledger, from), {
        find: (job) => findJob(at, job),
        leads: () => at.jobs.lead !== null,
        admin: () => gitlab.admin(),
        feed,
        log,
      });
    }
    case 'check-deploy':
    case 'check-copies':
    case 'look-at-gitlab':
    case 'root-password':
    case 'new-password':
    case 'begin-vault':
    case 'backup-now':
    case 'backups':
    case 'compare-gitlab':
    case 'restore-gitlab':
    case 'drill-gitlab':
    case 'compare-fenced':
    case 'bring-fenced':
    case 'drop-fenced':
    case 'restore-project':
    case 'check-upgrade':
    case 'rehearse-upgrade':
    case 'check-protect':
    case 'check-move':
    case 'cancel-move':
    case 'check-adopt':
    case 'begin-adopt':
    case 'adoption':
    case 'check-left':
    case 'take-left':
      return mayHost(from, view()) ?? sources.hosting.answer(ask);
    case 'move-ready':
      return sources.hosting.answer(ask);
    case 'open-copy-door':
    case 'open-vault-door':
    case 'open-forward-door':
      return sources.hosting.openDoor(from, ask);
    case 'find-cache':
    case 'open-cache-door':
      return sources.caches.answer(ask);
    case 'rehearse-leader-loss':
      return mayHost(from, view()) ?? sources.rehearsal.watch(ask.leader);
    case 'fall-silent':
      return mayHost(from, view()) ?? sources.rehearsal.fallSilent(ask.term, ask.forMs);
    case 'rehearsal':
      return sources.rehearsal.seen();
    case 'notice-link':
      return noticeLink(from, ask.act, sources);
    case 'log':
      return { kind: 'log', text: await tailOf(logFile(sources.home), ask.lines) };
  }
}

/** Whoever tells people is the one that leads: nobody else has a use for it. */
async function noticeLink(from: NodeId, act: KnownAct, { view, buttons }: AnswerSources): Promise<Answer> {
  if (view().state.raft.leader?.node !== from) return refused('only the machine that leads may ask for this');
  return { kind: 'notice-link', url: (await buttons.link?.(act)) ?? null };
}

function queueAndRuns({ brief, canceling }: Ask & { kind: 'jobs' }, now: CoreView): Answer {
  const all = jobRowsOf(now);
  if (brief)
    return { kind: 'jobs', ...all, rows: [], misfits: misfitsIn(now), oldestQueuedAt: oldestQueuedAt(all.rows) };
  return { kind: 'jobs', ...all, rows: canceling ? all.rows : forOlder(all.rows) };
}

/** GitLab's root, and what lies on a machine's disk, is for those who know the mesh's secrets anyway (SAFETY L17). */
function mayHost(from: NodeId, { state }: CoreView): Answer | null {
  const ledger = committedLedger(state);
  if (from === state.identity.node || (ledger && rankedVoters(ledger.configuration).includes(from))) return null;
  return refused(
    `${nodeName(ledger, from)} does not vote, and only a machine that does may ask for this: type it there`,
  );
}

/** Only of runs of this mesh: a member shall not read by the mesh's token what it could not read otherwise. */
async function endedTrace(ask: Ask & { kind: 'ended-trace' }, { view, traces }: AnswerSources): Promise<Answer> {
  const run = committedLedger(view().state)?.runs[ask.run];
  if (!run) return refused(`run ${ask.run} is not known here`);
  try {
    return { kind: 'trace', ...(await traces.read(run, ask.offset)) };
  } catch (error) {
    return refused(sentenceOf(error));
  }
}
