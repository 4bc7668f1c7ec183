import type { RunContext } from '../run-context.ts';
import { abandonMs } from '../run-ending.ts';
import { RunFailed } from '../run-errors.ts';
import { isWanted } from '../run-result.ts';
import { followServices, sayEndedServices } from '../service-trace.ts';
import type { Phase } from './phase.ts';
import { runStep } from './script-step.ts';

/** The job's steps, one after the other; after_script is the last of them. */
export const script: Phase = {
  name: 'steps',

  async resume(run) {
    await adoptPlace(run);
    await run.ending.until('holding the run', run.freezing.hold(), abandonMs.preparing);
  },

  async run(run) {
    const stop = followServices(run);
    try {
      while (run.record.progress.step < run.steps.length) await oneStep(run);
    } finally {
      stop();
    }
    await run.ending.until('looking at the services', sayEndedServices(run), abandonMs.preparing);
  },
};

/** Finds the place again that an agent process before this one made. */
export async function adoptPlace(run: RunContext): Promise<void> {
  const { executor, record, ending } = run;
  const { handle } = record.local;
  const finding = handle === null ? Promise.resolve(null) : executor.adopt(run.spec(), handle, ending.signal);
  const found = await ending.until('finding the run again', finding, abandonMs.preparing);
  if (found === null)
    throw new RunFailed('system', 'the agent of this node was restarted and nothing of the run is left');
  run.workspace = found;
}

async function oneStep(run: RunContext): Promise<void> {
  const { record, ending } = run;
  const { verdict, begun, step: index } = record.progress;
  const planned = run.steps[index];
  if (planned === undefined) return;
  const isDue = planned.isAfterScript || planned.when === 'always' || isWanted(planned.when, verdict);
  let next = verdict;
  if (isDue || begun) {
    // after_script has a time of its own, and is done for a job that was ended too.
    if (planned.isAfterScript) ending.renew();
    const ended = runStep(run, { planned, index, begun, verdict });
    next = await ending.until(`the ${planned.name} step`, ended, abandonMs.step);
  }
  await record.advance({ step: index + 1, begun: false, verdict: next });
}
