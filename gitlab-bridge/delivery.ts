/**
 * How long a result is brought to GitLab, pure. Away is no answer: GitLab may be restored from a backup, or moved, and
 * takes the result then. But not for ever: GitLab itself fails a job that it has not heard of for long, and a run that
 * waits keeps its trace on this machine's disk. So a result is given up a day after its job has ended, and never before
 * this agent has tried for an hour: after a reboot with a wrong clock, or a week switched off, it still is tried.
 */
export const deliveryLimits = {
  firstWaitMs: 1_000,
  mostWaitMs: 60_000,
  /** However long GitLab asks to be left alone. */
  mostAskedMs: 300_000,
  /** GitLab's own refusals, no 5xx and no proxy's page, one after the other or not. */
  refusals: 8,
  triedMs: 3_600_000,
  afterEndMs: 24 * 3_600_000,
} as const;

/** ms for which this agent process has tried, and since the job's end by the clock on the wall. */
export interface DeliveryAge {
  triedMs: number;
  sinceEndMs: number;
}

export const isGivenUp = ({ triedMs, sinceEndMs }: DeliveryAge): boolean =>
  triedMs >= deliveryLimits.triedMs && sinceEndMs >= deliveryLimits.afterEndMs;

export interface DeliveryAnswer {
  status: number | 'away';
  because: string;
  jobStatus: string | null;
  intervalS?: number | null;
  retryAfterS?: number | null;
}

interface DeliveryTries {
  waitMs: number;
  refused: number;
}

export const firstTry: DeliveryTries = { waitMs: deliveryLimits.firstWaitMs, refused: 0 };

type DeliveryNext =
  | { kind: 'delivered' }
  | { kind: 'disowned'; because: string }
  /** The job has an end at GitLab already, perhaps by an answer of before that was lost. */
  | { kind: 'over'; because: string }
  | { kind: 'given-up'; because: string }
  | { kind: 'again'; afterMs: number; tries: DeliveryTries };

/** `isLive`: nobody has said before that the job was being cancelled. */
export function nextDelivery(
  tries: DeliveryTries,
  answer: DeliveryAnswer,
  age: DeliveryAge,
  isLive: boolean,
): DeliveryNext {
  const { status, because } = answer;
  // Canceled in the very last moment: what GitLab calls it is its end.
  if (status === 200 && answer.jobStatus === 'canceled' && isLive)
    return { kind: 'disowned', because: 'the job is canceled at GitLab' };
  if (status === 200) return { kind: 'delivered' };
  if (status === 403 || status === 404) return { kind: 'over', because };
  const isRefusal =
    typeof status === 'number' && status >= 400 && status < 500 && ![408, 409, 412, 429].includes(status);
  const refused = tries.refused + (isRefusal ? 1 : 0);
  if (refused >= deliveryLimits.refusals) return { kind: 'disowned', because };
  if (isGivenUp(age)) return { kind: 'given-up', because };
  const asked = (status === 202 ? (answer.intervalS ?? 1) : (answer.retryAfterS ?? 0)) * 1000;
  const afterMs = Math.min(Math.max(status === 202 ? 0 : tries.waitMs, asked), deliveryLimits.mostAskedMs);
  return { kind: 'again', afterMs, tries: { waitMs: Math.min(tries.waitMs * 2, deliveryLimits.mostWaitMs), refused } };
}
