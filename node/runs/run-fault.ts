import { setTimeout as sleep } from 'node:timers/promises';
import type { FailureCause } from '../../gitlab-bridge/failure-reason.ts';
import type { FaultKind, RunFault } from '../../protocol/job-fault.ts';
import type { Workspace } from '../ports.ts';
import type { RunProgress, Verdict } from './run-progress.ts';

/** A place that is not gone by then may be there for good: an engine that hangs. */
const placeGoneMs = 15_000;

const faults: Partial<Record<FailureCause, FaultKind>> = {
  system: 'machine',
  owner: 'owner',
  environment: 'environment',
  network: 'network',
  registry: 'network',
};

/** Null for what is the job's own, GitLab's word, or nobody knows whose: only the rest may go better on another machine. */
function faultOf(verdict: Verdict, { phase, step, begun, hooked }: RunProgress): RunFault | null {
  const kind = verdict.state === 'failed' && verdict.cause !== null ? faults[verdict.cause] : undefined;
  if (kind === undefined) return null;
  const { server } = verdict;
  return {
    kind,
    ...(server && { server }),
    begun: begun || step > 0 || hooked > 0 || phase === 'artifacts' || phase === 'finished',
  };
}

const words: Record<string, string> = {
  machine: 'this machine failed it',
  environment: 'what it needs to run could not be made on this machine',
  network: 'this machine did not get what it needs over the network',
  owner: 'the owner of this machine wanted it, or what the job had of it',
};

/** For the job's people, as the last line of its trace. `madeWay`: the owner had it end, and its node asks for the other try by itself. */
export function faultLine({ kind, begun }: RunFault, madeWay: boolean): string {
  const again = madeWay
    ? 'It runs again, once, on another machine: by its retry:, or the mesh asks GitLab for it'
    : begun
      ? 'Its script had begun: it runs again by its retry:, or where the mesh is set to do that (retryLost)'
      : 'Nothing of its script has run: the mesh may try it again on another machine';
  return `Not the job's own fault: ${words[kind]}. ${again}\n`;
}

/**
 * Whose fault the end of a run is. Of a script that had begun only once nothing of it is left in its place here: the mesh may have
 * it run elsewhere (SAFETY J10).
 */
export async function faultAtEnd(
  verdict: Verdict,
  progress: RunProgress,
  place: Pick<Workspace, 'remove'> | null,
): Promise<RunFault | null> {
  const fault = faultOf(verdict, progress);
  if (!fault?.begun || place === null) return fault;
  const removal = place.remove().then(
    () => true,
    () => false,
  );
  return (await Promise.race([removal, sleep(placeGoneMs, false, { ref: false })])) ? fault : null;
}
