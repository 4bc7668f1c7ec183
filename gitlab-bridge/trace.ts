/**
 * Life of a trace at GitLab, pure: which bytes to send next, and what an answer means (contract §1.4, §1.5). GitLab
 * appends a patch only if it starts at GitLab's own length; any other start is a 416 that names that length, which is
 * also how a restarted agent finds its place. Offsets are bytes of the masked trace.
 */
export interface TraceSender {
  /** Bytes of ours that GitLab has. */
  acked: number;
  /** GitLab's length minus ours: not 0 only when this machine lost bytes that GitLab already has. */
  shift: number;
  /** ms between patches, as GitLab asks; the first bytes go at once. */
  intervalMs: number;
  /** When the last patch or keep-alive was answered 2xx; -Infinity before the first. */
  heardAt: number;
  /** Not before: after a patch the interval, after a failure the back-off. */
  nextAt: number;
  failures: number;
  /** When anything was last tried; -Infinity before the first. */
  triedAt: number;
  phase: 'live' | 'canceling' | 'ended';
}

export type TraceAction =
  | { kind: 'patch'; from: number; to: number }
  | { kind: 'keep-alive' }
  | { kind: 'wait'; untilMs: number };

/** What GitLab answered to a patch or a keep-alive; `away`: nothing that GitLab itself said. */
export interface TraceAnswer {
  status: number | 'away';
  jobStatus: string | null;
  /** End of the `Range` header: GitLab's length. */
  length: number | null;
  intervalS: number | null;
  retryAfterS: number | null;
  /** Status of a web page with a 4xx: of something before GitLab. */
  page?: number;
}

export type TraceSignal = 'on' | 'canceling' | 'over';

export const traceLimits = {
  /** Bytes of one patch. */
  patchBytes: 1 << 20,
  /** Bytes of one job's trace; gitlab-runner's own limit. */
  traceBytes: 4 << 20,
  /** ms without a patch after which `PUT running` says that the job lives. */
  keepAliveMs: 30_000,
  firstIntervalMs: 3_000,
  leastIntervalMs: 1_000,
  mostIntervalMs: 30_000,
  /** Back-off after a failure, doubling. */
  firstBackOffMs: 500,
  mostBackOffMs: 30_000,
} as const;

export function newTraceSender(acked: number): TraceSender {
  return {
    acked,
    shift: 0,
    intervalMs: traceLimits.firstIntervalMs,
    heardAt: Number.NEGATIVE_INFINITY,
    nextAt: Number.NEGATIVE_INFINITY,
    failures: 0,
    triedAt: Number.NEGATIVE_INFINITY,
    phase: 'live',
  };
}

/**
 * What to send now. `lengthBytes` are certain; `isUrgent`: the job has ended or a person waits, so the interval does not
 * hold (a back-off does); `keepAliveMs` is shorter while only GitLab can say that the run may go on (SAFETY J1).
 */
export function nextTraceAction(
  sender: TraceSender,
  now: { atMs: number; lengthBytes: number; isUrgent: boolean; keepAliveMs: number },
): TraceAction {
  if (sender.phase === 'ended') return { kind: 'wait', untilMs: Number.POSITIVE_INFINITY };
  const waiting = now.lengthBytes - sender.acked;
  const mayHurry = now.isUrgent || waiting >= traceLimits.patchBytes || sender.heardAt === Number.NEGATIVE_INFINITY;
  const isHeld = now.atMs < sender.nextAt && (sender.failures > 0 || !mayHurry);
  if (waiting > 0 && !isHeld)
    return { kind: 'patch', from: sender.acked, to: sender.acked + Math.min(waiting, traceLimits.patchBytes) };
  // While only GitLab can say that the run may go on, a back-off does not hold the question back.
  const isAsked = now.keepAliveMs < traceLimits.keepAliveMs;
  const retryAt = isAsked ? Math.min(sender.nextAt, sender.triedAt + now.keepAliveMs) : sender.nextAt;
  const aliveAt = sender.failures > 0 ? retryAt : Math.max(sender.heardAt, sender.triedAt) + now.keepAliveMs;
  if (now.atMs >= aliveAt) return { kind: 'keep-alive' };
  return { kind: 'wait', untilMs: waiting > 0 ? Math.min(sender.nextAt, aliveAt) : aliveAt };
}

/**
 * When GitLab may be asked once more although a question is not answered: a run that lives on GitLab's word alone would stand
 * still while a slow one thinks. With two on their way, evenly apart, an answer that takes `tookMs` is followed by the next
 * after half of that.
 */
export const nextQuestionAt = (askedMs: number, tookMs: number, keepAliveMs: number): number =>
  askedMs + Math.max(keepAliveMs, tookMs / 2);

/** The headers of a patch of our bytes [from, to). */
export function contentRange(sender: TraceSender, from: number, to: number): string {
  return `${from + sender.shift}-${to + sender.shift - 1}`;
}

/**
 * Takes an answer in. `askedMs`: when it was asked; GitLab's word is no newer (SAFETY J1). `lengthBytes`: how much trace we
 * have ourselves.
 */
export function traceAnswered(
  sender: TraceSender,
  action: Exclude<TraceAction, { kind: 'wait' }>,
  answer: TraceAnswer,
  now: { askedMs: number; atMs: number; lengthBytes: number },
): { sender: TraceSender; verdict: TraceSignal } {
  // Of two questions the later one may be answered first.
  const next = { ...sender, triedAt: Math.max(sender.triedAt, now.askedMs) };
  if (answer.intervalS !== null && answer.intervalS > 0)
    next.intervalMs = clamp(answer.intervalS * 1000, traceLimits.leastIntervalMs, traceLimits.mostIntervalMs);
  const { status } = answer;
  const isOk = status !== 'away' && status >= 200 && status < 300;
  const isDisowned = status === 403 || status === 404;
  const isOver = answer.jobStatus !== null && /^(canceled|failed|success|skipped)$/.test(answer.jobStatus);
  if (isDisowned || (isOver && (isOk || status === 416))) {
    next.phase = 'ended';
    return { sender: next, verdict: 'over' };
  }
  if (isOk || status === 416) {
    next.failures = 0;
    next.heardAt = Math.max(sender.heardAt, now.askedMs);
    next.nextAt = now.atMs + next.intervalMs;
  }
  if (isOk && action.kind === 'patch') next.acked = action.to;
  if (status === 416 && answer.length !== null) resumeAt(next, answer.length, now);
  else if (status === 416) next.failures += 1;
  if (!isOk && status !== 416) {
    next.failures += 1;
    const backOff = Math.min(
      traceLimits.mostBackOffMs,
      traceLimits.firstBackOffMs * 2 ** Math.min(next.failures - 1, 10),
    );
    next.nextAt = now.atMs + Math.max(backOff, (answer.retryAfterS ?? 0) * 1000);
  }
  if (answer.jobStatus === 'canceling' && isOk) next.phase = 'canceling';
  return { sender: next, verdict: next.phase === 'canceling' ? 'canceling' : 'on' };
}

/** A 416 named GitLab's length: go on there, at once. */
function resumeAt(sender: TraceSender, gitlabLength: number, now: { atMs: number; lengthBytes: number }): void {
  const ours = gitlabLength - sender.shift;
  if (ours <= now.lengthBytes && ours >= 0) sender.acked = ours;
  else {
    // GitLab has more than we do (our disk lost it): what we still write goes behind it.
    sender.acked = now.lengthBytes;
    sender.shift = gitlabLength - now.lengthBytes;
  }
  sender.nextAt = now.atMs;
}

const clamp = (value: number, least: number, most: number): number => Math.min(most, Math.max(least, value));
