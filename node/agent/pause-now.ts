import { setTimeout as sleep } from 'node:timers/promises';
import type { Run } from '../../protocol/ledger.ts';
import { triedAgain } from '../../scheduler/job-wish.ts';

/** What is needed to end runs for the machine's owner. */
export interface PauseNowTools {
  /** Runs of this node. */
  runs(): readonly Run[];
  /** Ends its script: the run fails with that sentence, which retries count as the machine's fault. */
  end(run: string, because: string): void;
  /** Runs the job again; whoever does it looks first whether GitLab has done so by itself. */
  retry(job: number): Promise<unknown>;
  warn(sentence: string): void;
  /** False when this node's life is over: the runs are another's to look after. */
  isMine(): boolean;
  /** False once the owner has said `resume`, or the pause's time is over: what begins then is welcome. */
  isPaused(): boolean;
}

/** A job that GitLab gave away before the pause may still begin: it is ended too, for so long, in ms. */
const lateMs = 10_000;
/** ms; after_script, artifacts and a GitLab that is away come before a job is run again. */
const patienceMs = 3_600_000;

const isUnderWay = ({ state }: Run): boolean => state === 'taken' || state === 'running';

/** What of a node's runs is in its owner's way. */
const inTheWay = (runs: readonly Run[], what: 'gpu' | 'all'): Run[] =>
  runs.filter((run) => isUnderWay(run) && (what === 'all' || run.gpus.length > 0));

/** The sentence that the job's owner reads. */
export const ownerWants = (what: 'gpu' | 'all'): string =>
  `the owner of its machine wants ${what === 'gpu' ? 'the GPU' : 'the machine'} now`;

/**
 * Ends the runs that are in the owner's way, at once and those that come within the next seconds, and has each run again
 * once GitLab knows that it failed: this machine is paused, so it runs elsewhere, or waits. Answers the jobs that end.
 */
export function endForOwner(what: 'gpu' | 'all', tools: PauseNowTools): number[] {
  const ended = new Map<string, number>();
  const endAll = (): void => {
    for (const { run, job } of inTheWay(tools.runs(), what)) {
      if (ended.has(run)) continue;
      ended.set(run, job);
      tools.end(run, ownerWants(what));
      void runAgain(run, job, ownerWants(what), tools);
    }
  };
  endAll();
  const jobs = [...ended.values()];
  void (async () => {
    for (const end = performance.now() + lateMs; performance.now() < end; ) {
      await sleep(200, undefined, { ref: false });
      if (!tools.isMine() || !tools.isPaused()) return;
      endAll();
    }
  })();
  return jobs;
}

async function runAgain(run: string, job: number, because: string, tools: PauseNowTools): Promise<void> {
  for (const end = performance.now() + patienceMs; performance.now() < end; ) {
    await sleep(200, undefined, { ref: false });
    if (!tools.isMine()) return;
    const now = tools.runs().find((one) => one.run === run);
    // Gone, given away, canceled by a person, or its script had ended by itself just before: nobody's to run again.
    if (now === undefined || now.state === 'lost' || now.state === 'discarded') return;
    if (now.result !== null && now.result.because !== because) return;
    if (now.state !== 'delivered') continue;
    return tools.retry(job).then(
      () => undefined,
      (error: Error) => {
        // Its own `retry:` was sooner.
        if (!error.message.includes(triedAgain))
          tools.warn(`job ${job}, which was ended for this machine's owner, is not run again: ${error.message}`);
      },
    );
  }
}
