import { setTimeout as sleep } from 'node:timers/promises';
import type { TransferAnswer } from '../../gitlab-bridge/artifact-transfer.ts';
import { answersItself, type JobLine } from '../../gitlab-bridge/gitlab-runner.ts';
import type { JobPayload } from '../../gitlab-bridge/payload.ts';
import type { RunVariable } from '../../gitlab-bridge/variables.ts';
import type { Workspace } from '../ports.ts';
import type { GitSources } from './git-sources.ts';
import { heading, sectionEnd, sectionStart, warning } from './job-script.ts';
import { Gone, type RunDeskOptions, RunFailed } from './run-host.ts';
import type { TraceLog } from './trace-log.ts';

/** What the parts of a run's life share. */
export interface RunScene {
  options: RunDeskOptions;
  payload: JobPayload;
  trace: TraceLog;
  sources: GitSources;
  /** Folder of the agent's own for this run. */
  folder: string;
  line(): JobLine;
  /** What a step sets, and all that a name or a path of the job may refer to. */
  late(workspace: Workspace): RunVariable[];
  variables(workspace: Workspace): RunVariable[];
  /** Aborted when the run must end, or the agent stops. */
  signal: AbortSignal;
  /** Throws what ended it when `signal` is aborted. */
  checkEnd(): void;
  /** GitLab is waited for, or answers again: that time is not the job's. */
  away(isAway: boolean): void;
}

const patienceMs = { first: 500, most: 30_000 } as const;

/** A folding section of the trace. */
export async function section(scene: RunScene, name: string, title: string, work: () => Promise<void>): Promise<void> {
  const { trace, options } = scene;
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
 * when GitLab, or what stands before it, will not, Gone when the job is no longer ours.
 */
export async function patiently(scene: RunScene, what: string, attempt: () => Promise<TransferAnswer>): Promise<void> {
  const { bootMs } = scene.options.clock;
  const sinceMs = bootMs();
  let hasSaid = false;
  let pages = 0;
  for (let waitMs: number = patienceMs.first; ; waitMs = Math.min(waitMs * 2, patienceMs.most)) {
    const answer = await attempt();
    scene.away(answer.kind === 'away');
    scene.checkEnd();
    if (answer.kind === 'ok') return;
    if (answer.kind === 'refused' && answer.disowned) throw new Gone(answer.because);
    if (answer.kind === 'refused')
      throw new RunFailed(answer.isJobs ? 'script' : 'system', `${what}: ${answer.because}`);
    pages = answer.page === undefined ? 0 : pages + 1;
    if (pages >= mostPages && (await answersItself(scene.line().url)))
      throw new RunFailed('system', `${what}: ${pageRefusal(answer.page)}`);
    if (bootMs() - sinceMs > mostAwayMs) throw new RunFailed('system', `${what}: ${answer.because}, for an hour`);
    if (!hasSaid) scene.trace.say(warning(`${what}: ${answer.because}; trying again until GitLab is back`));
    hasSaid = true;
    const ms = Math.max(waitMs, answer.waitMs ?? 0);
    const { gitlabReturn } = scene.options;
    if (answer.page === undefined && answer.waitMs === undefined && gitlabReturn) {
      gitlabReturn.away();
      await gitlabReturn.pause(ms, scene.signal);
    } else await sleep(ms, undefined, { signal: scene.signal }).catch(() => undefined);
    scene.checkEnd();
  }
}

const pageRefusal = (status = 0): string =>
  `something before GitLab answers it with a web page (HTTP ${status}) each time, while GitLab answers other calls: look at the rules of the proxy or firewall`;
