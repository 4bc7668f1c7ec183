import type { GitlabAdmin } from '../../gitlab-bridge/gitlab-admin.ts';
import type { Answer } from '../../protocol/asks.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { asSentence } from '../../protocol/ids.ts';
import type { JobWish } from '../../protocol/job-asks.ts';
import type { Happened } from '../../scheduler/inputs.ts';
import { type KnownJob, wishDone, wishStep } from '../../scheduler/job-wish.ts';
import type { Log } from '../log.ts';
import { retryForItsUser } from './retry-for-user.ts';

export interface WishTools {
  find(job: number): KnownJob | null;
  /** Knows also what waits. */
  leads(): boolean;
  /** Throws when this node does not hold the token. */
  admin(): GitlabAdmin;
  feed(happened: Happened): void;
  log: Pick<Log, 'event'>;
}

/** GitLab is called up to four times, each with a limit of its own; whoever waits at a terminal has this one. */
const patienceMs = 12_000;
const unknown = (wish: JobWish): Answer => ({
  kind: 'failed',
  code: 'gitlab-unreachable',
  because: `GitLab did not answer within ${patienceMs / 1000} s: it is not known whether job ${wish.job} ${wish.wish === 'cancel' ? 'is canceled' : 'runs again'}`,
  hint: `look, and ask again when GitLab answers: autogit-node jobs ${wish.job}`,
});

/** What a person wants of a job, done at GitLab with the token that this node holds. Never throws, never waits for long. */
export async function fulfil(wish: JobWish, by: string, tools: WishTools): Promise<Answer> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Answer>((resolve) => {
    timer = setTimeout(() => resolve(unknown(wish)), patienceMs);
  });
  try {
    return await Promise.race([tryToFulfil(wish, by, tools), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function tryToFulfil(wish: JobWish, by: string, tools: WishTools): Promise<Answer> {
  const known = tools.find(wish.job);
  if (known === null) {
    const because = `the mesh knows no job ${wish.job}`;
    const hint = 'of older ones only GitLab knows: autogit-node jobs --all';
    return tools.leads() ? { kind: 'failed', code: 'no-job', because, hint } : { kind: 'refused', because };
  }
  let admin: GitlabAdmin;
  try {
    admin = tools.admin();
  } catch (error) {
    return { kind: 'refused', because: asSentence(sentenceOf(error)) };
  }
  try {
    return await atGitlab(wish, by, known, admin, tools);
  } catch (error) {
    if (!(error instanceof AutogitError)) throw error;
    const because = asSentence(`GitLab does not ${wish.wish} job ${wish.job} (${known.name}): ${error.message}`);
    return { kind: 'failed', code: error.code, because, hint: asSentence(error.hint) };
  }
}

async function atGitlab(
  wish: JobWish,
  by: string,
  { projectId, name }: KnownJob,
  admin: GitlabAdmin,
  { feed, log }: WishTools,
): Promise<Answer> {
  const { job } = wish;
  const before = await admin.job(projectId, job);
  const step = wishStep(wish, name, before);
  if (step.kind === 'refused') return { ...step, kind: 'failed', code: 'unsupported' };
  if (step.kind === 'done') return { kind: 'wished', because: step.because, next: null };
  if (step.how === 'retry') {
    const { made, next, because: why } = await retryForItsUser(admin, projectId, before);
    if (!made) {
      const because = asSentence(`job ${job} (${name}): ${why}`);
      const hint = 'retry it on its page in GitLab; or connect with a token that has scope sudo too';
      return { kind: 'failed', code: 'gitlab-refused', because, hint };
    }
    if (next === null) {
      const again = wishStep(wish, name, { ...before, retried: true });
      if (again.kind === 'refused') return { ...again, kind: 'failed', code: 'unsupported' };
    }
    feed({ kind: 'queue-hinted', answers: true });
    const because = wishDone(wish, name, 'pending', next);
    log.event({ event: 'job-wish', because: `${because}, as ${by} asked`, fields: { job, next } });
    return { kind: 'wished', because, next };
  }
  await admin.cancelJob(projectId, job, step.how === 'force');
  feed({ kind: 'cancel-asked', job });
  // It is done; what GitLab calls it now is for the sentence only.
  const now = await admin.job(projectId, job).catch(() => ({ status: 'canceled' }));
  const because = wishDone(wish, name, now.status, null);
  log.event({ event: 'job-wish', because: `${because}, as ${by} asked`, fields: { job } });
  return { kind: 'wished', because, next: null };
}
