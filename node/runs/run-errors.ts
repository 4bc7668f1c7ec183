import type { FailureCause } from '../../gitlab-bridge/failure-reason.ts';
import type { Verdict } from './run-progress.ts';

/** The run has failed and nothing more of its script is done. */
export class RunFailed extends Error {
  override readonly name = 'RunFailed';
  readonly verdict: Verdict;
  constructor(cause: FailureCause, because: string, exitCode: number | null = null, server: string | null = null) {
    super(because);
    this.verdict = { state: 'failed', cause, exitCode, because, ...(server !== null && { server }) };
  }
}

/** The agent stops; the run stays as it is for the next agent process. */
export class Halted extends Error {
  override readonly name = 'Halted';
}
/** GitLab or the mesh disowned the run: stop it, tell nobody. */
export class Gone extends Error {
  override readonly name = 'Gone';
}
