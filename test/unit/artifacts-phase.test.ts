import { expect, it } from 'vitest';
import { artifacts } from '../../node/runs/phases/artifacts.ts';
import type { RunContext } from '../../node/runs/run-context.ts';
import { RunEnding } from '../../node/runs/run-ending.ts';
import type { Verdict } from '../../node/runs/run-progress.ts';
import type { TraceLog } from '../../node/runs/trace-log.ts';

const verdictOf = (state: Verdict['state']): Verdict => ({
  state,
  cause: null,
  exitCode: null,
  because: 'a person cancelled it',
});

/** A job with one artifact of that `when`, whose place is made of nothing: whoever collects it fails. */
async function through(when: string, end: Verdict | null): Promise<{ error: string; verdict: Verdict }> {
  const trace = { say: () => undefined } as unknown as TraceLog;
  const ending = new RunEnding(trace);
  if (end !== null) ending.end(end);
  const progress = { verdict: verdictOf('success'), uploaded: 0, cached: 0 };
  const run = {
    record: { progress, advance: async (more: object) => void Object.assign(progress, more) },
    ...{ ending, trace, payload: { artifacts: [{ when }], cache: [] }, uploadTime: { begin: () => undefined } },
    ...{ workspace: {}, options: { clock: { wallMs: () => 0 } } },
    variables: () => {
      throw new Error('collected');
    },
  } as unknown as RunContext;
  const error = await artifacts.run(run).then(
    () => '',
    (reason: Error) => reason.message,
  );
  return { error, verdict: progress.verdict };
}

it('a job that is cancelled behind its last step sends up nothing that only a success has', async () => {
  const canceled = verdictOf('canceled');
  expect(await through('on_success', null)).toMatchObject({ error: 'collected', verdict: { state: 'success' } });
  expect(await through('on_success', canceled)).toEqual({ error: '', verdict: canceled });
  expect(await through('on_failure', canceled)).toMatchObject({ error: 'collected', verdict: canceled });
});
