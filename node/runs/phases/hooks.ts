import type { Workspace } from '../../ports.ts';
import { type HookName, hookLines, hookScript, sourceAttempts, warning } from '../job-script.ts';
import type { RunContext } from '../run-context.ts';
import { RunFailed } from '../run-errors.ts';
import { untilMayBegin } from '../run-right.ts';
import { follow } from './script-step.ts';

/** A run that must end has to be over before its preparing is abandoned (run-ending.ts). */
const hookGraceMs = 5_000;
/** The trace counts the output of each hook apart, and from that of the steps, which begin at 0. */
const inTraceOf = ({ record }: RunContext, inPlace: number): number => -2 - record.progress.hookedBefore - inPlace;

/** What a hook sets for git has no effect on sources that the agent fetches. */
const gitSettings = /\bgit\b[^\n]*\bconfig\b|\bGIT_[A-Z_]*CONFIG/;

/** A hook that failed; its try may be made again. */
class HookFailed extends RunFailed {}

/**
 * Hooks and sources as one try, which is made again as often as the job says when a hook fails (GET_SOURCES_ATTEMPTS). A hook is the
 * job's own code: it begins when a step might (SAFETY J1). An agent that dies meanwhile leaves it to the next one, which ends it,
 * says what it had printed, and makes the try anew in another place.
 */
export async function withHooks(run: RunContext, workspace: Workspace, sources: () => Promise<void>): Promise<void> {
  const { payload, trace } = run;
  const most = sourceAttempts(payload);
  const all = (['pre_get_sources_script', 'post_get_sources_script'] as const).flatMap((name) =>
    hookLines(payload, name),
  );
  if (all.some((line) => gitSettings.test(line)))
    trace.say(
      warning(
        'a hook sets something for git: sources are fetched by the agent of this node, which knows nothing of it',
      ),
    );
  for (let attempt = 1; ; attempt++)
    try {
      await runHook(run, workspace, 'pre_get_sources_script', attempt > 1);
      await sources();
      return await runHook(run, workspace, 'post_get_sources_script');
    } catch (error) {
      if (!(error instanceof HookFailed) || attempt >= most) throw error;
      trace.say(warning(`${error.message}; try ${attempt + 1} of ${most}`));
    }
}

async function runHook(run: RunContext, workspace: Workspace, name: HookName, isAgain = false): Promise<void> {
  const { payload, trace, record, executor, ending, freezing } = run;
  if (hookLines(payload, name).length === 0 && !isAgain) return;
  const inPlace = record.progress.hooked;
  await untilMayBegin(run);
  await record.advance({ hooked: inPlace + 1 });
  const { projectDir, buildsDir = projectDir } = workspace;
  const isBefore = name === 'pre_get_sources_script';
  const place = {
    ...{ name, projectDir, buildsDir },
    homeDir: executor.kind === 'docker' ? `${projectDir}.tmp/hook-home` : null,
    isEmptied: isBefore && workspace.tree?.isLeft !== true,
  };
  const script = hookScript(payload, place, run.late(workspace));
  run.isInHook = true;
  const inTrace = inTraceOf(run, inPlace);
  const followed = workspace
    .start({ name, script, timeoutMs: null }, inPlace)
    .then(() => follow(run, { inTrace, inPlace, from: 0, graceMs: hookGraceMs }));
  const end = await followed.finally(() => {
    run.isInHook = false;
  });
  // It may stand still by now: what comes next would hang in there.
  await freezing.untilThawed(ending.signal);
  ending.check();
  trace.endOutput(inTrace);
  if (end.kind !== 'exited') throw new RunFailed('system', `${name}: ${end.because}`);
  if (end.exitCode === 0) return;
  throw new HookFailed('script', `${name}: ${end.because ?? `exit code ${end.exitCode}`}`, end.exitCode);
}

/** A hook that may run in a place of an agent before this one: it ends, and what it had printed is in the trace before the place goes. */
export async function endLeftHook(run: RunContext, left: Workspace): Promise<void> {
  const { record, trace, ending } = run;
  const inPlace = record.progress.hooked - 1;
  if (inPlace < 0) return;
  const inTrace = inTraceOf(run, inPlace);
  await left.kill(0);
  for await (const bytes of left.output(inPlace, trace.offsetOf(inTrace), ending.signal)) {
    if (ending.isLeft) return;
    trace.output(inTrace, bytes);
  }
  trace.endOutput(inTrace);
}
