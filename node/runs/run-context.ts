import { setTimeout as sleep } from 'node:timers/promises';
import type { TransferAnswer } from '../../gitlab-bridge/artifact-transfer.ts';
import { answersItself, type JobRef } from '../../gitlab-bridge/gitlab-runner.ts';
import type { JobPayload } from '../../gitlab-bridge/payload.ts';
import type { RunVariable } from '../../gitlab-bridge/variables.ts';
import { invariant } from '../../protocol/errors.ts';
import type { Executor, ExecutorSpec, Workspace } from '../ports.ts';
import type { CacheStore } from './cache/cache-store.ts';
import type { GitSources } from './git-sources.ts';
import type { JobReporter } from './job-reporter.ts';
import { heading, type PlannedStep, sectionEnd, sectionStart, warning } from './job-script.ts';
import type { RunEnding } from './run-ending.ts';
import { Gone, RunFailed } from './run-errors.ts';
import type { Freezing } from './run-freezing.ts';
import type { RunOptions } from './run-options.ts';
import type { RunRecord } from './run-record.ts';
import type { TraceLog } from './trace-log.ts';
import type { UploadTime } from './upload-time.ts';

/** One run under way: what its phases share. */
export interface RunContext {
  readonly options: RunOptions;
  readonly executor: Executor;
  readonly payload: JobPayload;
  readonly steps: readonly PlannedStep[];
  readonly record: RunRecord;
  readonly ending: RunEnding;
  readonly freezing: Freezing;
  readonly uploadTime: UploadTime;
  readonly trace: TraceLog;
  readonly line: JobReporter;
  readonly sources: GitSources;
  readonly caches: CacheStore;
  /** Folder of the agent's own for this run. */
  readonly folder: string;
  /** The place where the script runs; null before and after. */
  workspace: Workspace | null;
  /** A hook of the job runs there, which is code as that of its steps; nobody brings files meanwhile. */
  isInHook?: boolean;
  /** The job at GitLab, for calls with its own token. */
  job(): JobRef;
  spec(): ExecutorSpec;
  /** What a step sets, and all that a name or a path of the job may refer to. */
  late(workspace: Workspace): RunVariable[];
  variables(workspace: Workspace): RunVariable[];
}

/** Nothing more is done in its name: its result is on disk, or it is somebody else's. */
export const isOver = ({ record, ending }: Pick<RunContext, 'record' | 'ending'>): boolean =>
  record.progress.phase === 'finished' || ending.goneBecause !== null;

/** The place, in a phase that cannot be without one. */
export function placeOf({ workspace }: RunContext): Workspace {
  invariant(workspace !== null, 'a phase after preparing has a place');
  return workspace;
}

const patienceMs = { first: 500, most: 30_000 } as const;

/** A folding section of the trace. */
export async function section(run: RunContext, name: string, title: string, work: () => Promise<void>): Promise<void> {
  const { trace, options } = run;
  trace.say(sectionStart(name, options.clock.wallMs()) + heading(title));
  await work();
  trace.say(sectionEnd(name, options.clock.wallMs()));
}

/** A GitLab that is away is waited for so long. */
const mostAwayMs = 3_600_000;
/** Web pages of something before GitLab, one after the other, while GitLab itself answers: a refusal. */
const mostPages = 5;

/**
 * Asks GitLab for something until it answers: away is no answer, for an hour, or until the run must end. Throws RunFailed
 * when GitLab, or what stands before it, will not, Gone when the job is no longer ours. Answers what went well.
 */
export async function patiently(
  run: RunContext,
  what: string,
  attempt: () => Promise<TransferAnswer>,
): Promise<TransferAnswer & { kind: 'ok' }> {
  const { bootMs } = run.options.clock;
  const sinceMs = bootMs();
  let hasSaid = false;
  let pages = 0;
  for (let waitMs: number = patienceMs.first; ; waitMs = Math.min(waitMs * 2, patienceMs.most)) {
    const answer = await attempt();
    run.uploadTime.away(answer.kind === 'away');
    run.ending.check();
    if (answer.kind === 'ok') return answer;
    if (answer.kind === 'refused' && answer.disowned) throw new Gone(answer.because);
    if (answer.kind === 'refused')
      throw new RunFailed(answer.isJobs ? 'script' : (answer.cause ?? 'unclear'), `${what}: ${answer.because}`);
    pages = answer.page === undefined ? 0 : pages + 1;
    if (pages >= mostPages && (await answersItself(run.job().url)))
      throw new RunFailed('network', `${what}: ${pageRefusal(answer.page)}`);
    if (bootMs() - sinceMs > mostAwayMs) throw new RunFailed('network', `${what}: ${answer.because}, for an hour`);
    if (!hasSaid) run.trace.say(warning(`${what}: ${answer.because}; trying again until GitLab is back`));
    hasSaid = true;
    const ms = Math.max(waitMs, answer.waitMs ?? 0);
    const { gitlabReturn } = run.options;
    if (answer.page === undefined && answer.waitMs === undefined && gitlabReturn) {
      gitlabReturn.away();
      await gitlabReturn.pause(ms, run.ending.signal);
    } else await sleep(ms, undefined, { signal: run.ending.signal }).catch(() => undefined);
    run.ending.check();
  }
}

const pageRefusal = (status = 0): string =>
  `something before GitLab answers it with a web page (HTTP ${status}) each time, while GitLab answers other calls: look at the rules of the proxy or firewall`;
