import { failureReason } from '../../gitlab-bridge/failure-reason.ts';
import type { JobUpdate } from '../../gitlab-bridge/gitlab-runner.ts';
import type { JobPayload } from '../../gitlab-bridge/payload.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import { asSentence } from '../../protocol/ids.ts';
import type { RunResult } from '../../protocol/ledger.ts';
import type { PlannedStep } from './job-script.ts';
import { RunFailed } from './run-errors.ts';
import type { Verdict } from './run-progress.ts';
import type { TraceLog } from './trace-log.ts';

const reasonOf = (verdict: Verdict, payload: JobPayload): string =>
  failureReason(verdict.cause ?? 'script', payload.features?.failure_reasons ?? []);

/** A verdict as the mesh keeps it. */
export function resultOf(verdict: Verdict, payload: JobPayload): RunResult {
  return {
    state: verdict.state,
    exitCode: verdict.exitCode,
    reason: verdict.state === 'failed' ? reasonOf(verdict, payload) : null,
    because: asSentence(verdict.because),
  };
}

/** The last word to GitLab, with the sum over the whole trace. A cancelled job ends as failed there, and GitLab knows. */
export function jobUpdate(verdict: Verdict, payload: JobPayload, trace: TraceLog): JobUpdate {
  const output = trace.sum();
  if (verdict.state === 'success') return { state: 'success', exit_code: 0, output };
  return {
    state: 'failed',
    failure_reason: reasonOf(verdict, payload),
    ...(verdict.exitCode === null ? {} : { exit_code: verdict.exitCode }),
    output,
  };
}

/** Is a step with this `when` due after that verdict? */
export const isWanted = (when: PlannedStep['when'], { state }: Verdict): boolean =>
  when === 'on_failure' ? state === 'failed' : state === 'success';

/** The verdict of a life that ended in an error. */
export function failed(error: unknown): Verdict {
  if (error instanceof RunFailed) return error.verdict;
  return { state: 'failed', cause: 'environment', exitCode: null, because: sentenceOf(error) };
}
