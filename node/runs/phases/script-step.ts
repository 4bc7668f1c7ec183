import { setImmediate as nextTurn } from 'node:timers/promises';
import { killGraceMs, type StepEnd, type Workspace } from '../../ports.ts';
import { heading, type PlannedStep, sectionEnd, sectionStart, stepLines, warning } from '../job-script.ts';
import { placeOf, type RunContext } from '../run-context.ts';
import { RunFailed } from '../run-errors.ts';
import type { Verdict } from '../run-progress.ts';
import { untilMayBegin } from '../run-right.ts';

/** One step of a job's script on its way. */
interface StepRun {
  planned: PlannedStep;
  index: number;
  /** It was begun by an agent process before this one. */
  begun: boolean;
  /** The job's, as it stood before this step. */
  verdict: Verdict;
}

/** What both executors say of a step that they ended for its limit. */
const overLimit = /ran longer than its limit/;
/** Output that is there already is taken in turns of this, plus one piece: timers and other jobs go on between them. */
const turnMs = 1;
const scriptTookLong = 'the script ran longer than RUNNER_SCRIPT_TIMEOUT';

/** Runs one step, or follows one that runs already, to its end; answers the job's verdict after it. */
export async function runStep(run: RunContext, step: StepRun): Promise<Verdict> {
  const { trace, options } = run;
  const { planned, index } = step;
  const workspace = placeOf(run);
  const beganMs = options.clock.bootMs();
  const name = planned.isAfterScript ? 'after_script' : `step_${planned.name}`;
  if (!step.begun) await begin(run, index);
  const title = planned.isAfterScript ? 'Running after_script' : `Executing "${name}" stage of the job script`;
  trace.say(sectionStart(name, options.clock.wallMs()) + heading(title), `begin-${index}`);
  if (!step.begun) {
    const script = stepLines(planned, run.late(workspace), jobStatus(step));
    await workspace.start({ name: planned.name, script, timeoutMs: planned.limitMs }, inPlace(run, index));
  }
  const end = await follow(run, {
    inTrace: index,
    inPlace: inPlace(run, index),
    from: trace.offsetOf(index),
    graceMs: killGraceMs,
  });
  if (run.ending.halted.aborted) return step.verdict;
  trace.endOutput(index);
  trace.say(sectionEnd(name, options.clock.wallMs()), `end-${index}`);
  return namingTheDisk(run, beganMs, verdictAfter(run, step, end));
}

/** Its number in the place, where hooks have run before it. */
const inPlace = ({ record }: RunContext, index: number): number => record.progress.hooked + index;

/** Persists that the step begins; from here on it is never begun again (SAFETY J4). */
async function begin(run: RunContext, index: number): Promise<void> {
  await untilMayBegin(run);
  await run.record.advance({ step: index, begun: true });
}

/** A script that fails while the disk is full has mostly met just that: its output, or the agent's, found no room. */
function namingTheDisk({ options }: RunContext, sinceMs: number, verdict: Verdict): Verdict {
  if (verdict.state !== 'failed' || verdict.cause !== 'script' || !options.diskWasFull?.(sinceMs)) return verdict;
  return { ...verdict, cause: 'system', because: `the disk of this machine was full: ${verdict.because}` };
}

const jobStatus = (step: StepRun): string => {
  const { planned, verdict } = step;
  if (!planned.isAfterScript) return 'running';
  return verdict.because.startsWith(scriptTookLong) ? 'timedout' : verdict.state;
};

interface Followed {
  /** By which the trace knows how much of its output it has. */
  inTrace: number;
  /** By which the place knows it. */
  inPlace: number;
  /** The byte of its output that comes next. */
  from: number;
  /** ms from SIGTERM to SIGKILL. */
  graceMs: number;
}

/** Reads a step's output until its end; terminates it when the run must end. */
export async function follow(run: RunContext, { inTrace, inPlace, from, graceMs }: Followed): Promise<StepEnd> {
  const { trace, line } = run;
  const { halted } = run.ending;
  const workspace = placeOf(run);
  const stopKilling = killOnEnd(run, workspace, graceMs);
  try {
    let isFirst = true;
    let turnAt = performance.now();
    for await (const bytes of workspace.output(inPlace, from, halted)) {
      if (halted.aborted) break;
      trace.output(inTrace, bytes);
      if (isFirst) line.hurry();
      isFirst = false;
      if (trace.failure !== null) throw new RunFailed('system', trace.failure);
      if (performance.now() - turnAt < turnMs) continue;
      await nextTurn();
      turnAt = performance.now();
    }
    return await raceHalt(workspace.ended(inPlace), halted);
  } catch (error) {
    if (!halted.aborted) await workspace.kill(0).catch(() => undefined);
    throw error;
  } finally {
    stopKilling();
  }
}

function killOnEnd({ ending, options, payload }: RunContext, workspace: Workspace, graceMs: number): () => void {
  const { signal } = ending;
  const kill = (): void => {
    if (ending.halted.aborted) return;
    const isGraceful = ending.verdict !== null && !ending.isLeft;
    // Without grace a frozen run stays frozen: no longer ours, it must not do one more thing.
    void workspace
      .kill(isGraceful ? graceMs : 0)
      .catch((error: Error) => options.log.warn(`ending job ${payload.id}: ${error.message}`));
  };
  if (signal.aborted) kill();
  signal.addEventListener('abort', kill);
  return () => signal.removeEventListener('abort', kill);
}

function raceHalt(ended: Promise<StepEnd>, halted: AbortSignal): Promise<StepEnd> {
  const stopped: StepEnd = { kind: 'lost', because: 'the agent stops' };
  if (halted.aborted) return Promise.resolve(stopped);
  return new Promise((resolve, reject) => {
    const halt = (): void => resolve(stopped);
    halted.addEventListener('abort', halt, { once: true });
    ended.then(resolve, reject).finally(() => halted.removeEventListener('abort', halt));
  });
}

function verdictAfter({ ending, trace, record }: RunContext, step: StepRun, end: StepEnd): Verdict {
  const { planned, verdict } = step;
  const ended = ending.verdict;
  if (planned.isAfterScript) {
    const how = end.kind === 'exited' ? `exit code ${end.exitCode}` : end.because;
    const hasFailed = end.kind !== 'exited' || end.exitCode !== 0;
    if (verdict.state !== 'success') return say(verdict);
    if (ended !== null) return say(ended);
    if (!hasFailed || !planned.failsJob) return say(verdict);
    const exitCode = end.kind === 'exited' ? end.exitCode : null;
    return { state: 'failed', cause: 'script', exitCode, because: `after_script failed: ${how}` };

    function say(next: Verdict): Verdict {
      const text = warning(`after_script failed, but job will continue unaffected: ${how}`);
      if (hasFailed) trace.say(text, `after-${step.index}`);
      return next;
    }
  }
  if (ended !== null && verdict.state === 'success') return ended;
  if (end.kind === 'exited' && end.exitCode === 0) return verdict;
  if (end.kind === 'exited') {
    if (planned.allowFailure || verdict.state !== 'success') return verdict;
    return {
      state: 'failed',
      cause: 'script',
      exitCode: end.exitCode,
      because: end.because ?? `exit code ${end.exitCode}`,
    };
  }
  if (planned.limitMs !== null && overLimit.test(end.because)) {
    const because = `${scriptTookLong}, which is ${Math.round(planned.limitMs / 1000)} s here`;
    const { held, heldMs } = record.progress;
    const stoodStill = held !== null || heldMs > 0;
    if (verdict.state !== 'success') return verdict;
    const failed = { state: 'failed', exitCode: null } as const;
    return stoodStill
      ? { ...failed, cause: 'owner', because: `${because}, and it stood still for the owner of its machine` }
      : { ...failed, cause: 'timeout', because };
  }
  // Nobody knows what became of the script: it is not done again, and nothing after it is done either.
  throw new RunFailed(end.kind === 'lost' && end.isUnclear ? 'unclear' : 'system', end.because);
}
