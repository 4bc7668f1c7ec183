import { setTimeout as sleep } from 'node:timers/promises';
import type { JobLine, TransferAnswer } from '../../gitlab-bridge/gitlab-runner.ts';
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

/**
 * Asks GitLab for something until it answers: away is no answer, however long it takes, until the run must end. Throws
 * RunFailed when GitLab will not, Gone when the job is no longer ours.
 */
export async function patiently(scene: RunScene, what: string, attempt: () => Promise<TransferAnswer>): Promise<void> {
  let hasSaid = false;
  for (let waitMs: number = patienceMs.first; ; waitMs = Math.min(waitMs * 2, patienceMs.most)) {
    const answer = await attempt();
    scene.away(answer.kind === 'away');
    scene.checkEnd();
    if (answer.kind === 'ok') return;
    if (answer.kind === 'refused' && answer.disowned) throw new Gone(answer.because);
    if (answer.kind === 'refused')
      throw new RunFailed(answer.isJobs ? 'script' : 'system', `${what}: ${answer.because}`);
    if (!hasSaid) scene.trace.say(warning(`${what}: ${answer.because}; trying again until GitLab is back`));
    hasSaid = true;
    await sleep(waitMs, undefined, { signal: scene.signal }).catch(() => undefined);
    scene.checkEnd();
  }
}
