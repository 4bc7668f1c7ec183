import { setTimeout as sleep } from 'node:timers/promises';
import { pageSize } from '../../gitlab-bridge/admin-door.ts';
import { createGitlabAdmin, type GitlabAdmin } from '../../gitlab-bridge/gitlab-admin.ts';
import { failRun, verifyRunner } from '../../gitlab-bridge/gitlab-runner.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { asSentence } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { sharedTimings } from '../../protocol/timings.ts';
import { leavingOf } from '../../scheduler/disconnecting.ts';
import type { EffectBy, HandlersOf } from '../../scheduler/effect-table.ts';
import type { EffectOf } from '../../scheduler/effects.ts';
import type { Happened } from '../../scheduler/inputs.ts';
import { answersCounted } from './own-attention.ts';
import { retryForItsUser } from './retry-for-user.ts';

interface GitlabEffectsOptions {
  ledger(): Ledger | null;
  seal(text: string): string;
  unseal(sealed: string): string;
  feed(happened: Happened): void;
  warn(sentence: string): void;
  /** GitLab gave no answer. */
  onAway?(): void;
}

const timeoutMs = 10_000;
const sweepEveryMs = 30_000;
const strayGraceMs = 60_000;

/**
 * A job that GitLab gave away and that nobody has: its script never began. Every step looks first, so that it may be
 * done late, twice, and by two leaders (SAFETY J6). We declare `cancel_gracefully`, so a cancel alone leaves the job
 * `canceling` until its runner answers, which nobody does: it is canceled once more, by force.
 */
async function endForgotten(
  admin: GitlabAdmin,
  projectId: number,
  job: number,
  retry: boolean,
): Promise<{ done: boolean; because: string }> {
  let now = await admin.job(projectId, job);
  for (const force of [false, true]) {
    if (now.status !== (force ? 'canceling' : 'running')) continue;
    await admin.cancelJob(projectId, job, force);
    now = await admin.job(projectId, job);
  }
  if (now.status === 'running' || now.status === 'canceling')
    return {
      done: false,
      because: `GitLab leaves it ${now.status} (it may be too old for a cancel by force): it is retried when GitLab has ended it`,
    };
  if (now.status !== 'canceled') return { done: true, because: `it is ${now.status} at GitLab` };
  if (!retry) return { done: true, because: 'a person had canceled it, and no machine had it: it is canceled' };
  // Should it be a run after all, of a mesh that was recovered by force: by then it surely stands still (SAFETY J1). Also
  // where it is canceled already: another leader may have done that a moment ago.
  if (!now.retried) {
    await sleep(sharedTimings.standsStillMs);
    now = await admin.job(projectId, job);
  }
  if (now.retried) return { done: true, because: 'it is canceled and was tried again' };
  const again = await retryForItsUser(admin, projectId, now);
  return { done: true, because: `it is canceled, and ${again.because}` };
}

/** What the leader asks of GitLab, done and answered as inputs. Every write is harmless late and twice (SAFETY J6). */
export class GitlabEffects {
  readonly #options: GitlabEffectsOptions;
  #admin: { key: string; admin: GitlabAdmin } | null = null;
  /** Runners of ours that no class knows, and since when (ms, monotonic). */
  #strays = new Map<number, number>();
  #nextSweepAt = 0;
  /** How long GitLab took for each answer, in the last reads of its queue. */
  queueAnswersMs: readonly number[] = [];

  constructor(options: GitlabEffectsOptions) {
    this.#options = options;
  }

  handlers(): HandlersOf<'gitlab'> {
    const doing =
      <E extends EffectBy<'gitlab'>>(act: (effect: E) => Promise<void>) =>
      (effect: E): void =>
        void act(effect).catch((error) => this.#options.warn(`${effect.kind}: ${sentenceOf(error)}`));
    return {
      'read-queue': doing(() => this.#readQueue()),
      'create-runner': doing((effect) => this.#createRunner(effect)),
      'delete-runner': doing((effect) => this.#deleteRunner(effect)),
      'check-runner': doing((effect) => this.#checkRunner(effect)),
      'fail-run': doing((effect) => this.#failRun(effect)),
      'retry-job': doing((effect) => this.#retryJob(effect)),
      'rescue-job': doing((effect) => this.#rescueJob(effect)),
      'remove-runners': doing((effect) => this.#removeRunners(effect)),
      'compare-runs': doing((effect) => this.#compareRuns(effect)),
    };
  }

  /** The admin API of the connected GitLab. Throws `no-gitlab` when there is none. */
  admin(): GitlabAdmin {
    const gitlab = this.#options.ledger()?.gitlab;
    if (!gitlab?.url || !gitlab.token) {
      this.#admin = null;
      throw new AutogitError('no-gitlab', 'no GitLab with an admin token is connected to this mesh');
    }
    const key = `${gitlab.url} ${gitlab.token}`;
    if (this.#admin?.key !== key) {
      const token = this.#options.unseal(gitlab.token);
      this.#admin = { key, admin: createGitlabAdmin({ url: gitlab.url, token, timeoutMs }) };
    }
    return this.#admin.admin;
  }

  async #readQueue(): Promise<void> {
    try {
      const began = performance.now();
      const read = await this.admin().readQueue(limits.queueJobs);
      const answers = 1 + Math.floor(read.jobs.length / pageSize);
      this.queueAnswersMs = [...this.queueAnswersMs, (performance.now() - began) / answers].slice(-answersCounted);
      this.#options.feed({ kind: 'queue-read', ...read });
    } catch (error) {
      // That it does not answer at all is said elsewhere.
      this.queueAnswersMs = [];
      const isRefused = error instanceof AutogitError && error.code === 'gitlab-refused';
      if (!isRefused) this.#options.onAway?.();
      this.#options.feed({ kind: 'queue-failed', because: sentenceOf(error), isRefused });
    }
  }

  async #createRunner(effect: EffectOf<'create-runner'>): Promise<void> {
    const { class: key, nonce, tags } = effect;
    try {
      const admin = this.admin();
      const description = `autogit ${this.#options.ledger()?.mesh.id} ${nonce}`;
      const made = await admin.createRunner({ tags, description });
      const token = this.#options.seal(made.token);
      this.#options.feed({ kind: 'runner-created', class: key, nonce, runner: made.id, token });
    } catch (error) {
      this.#options.feed({ kind: 'runner-failed', class: key, nonce, because: sentenceOf(error) });
    }
  }

  async #deleteRunner({ class: key, runner }: EffectOf<'delete-runner'>): Promise<void> {
    await this.admin().deleteRunner(runner);
    this.#options.feed({ kind: 'runner-deleted', class: key });
  }

  /** Only GitLab's own no says that it does not know the runner: a proxy's page says nothing. */
  async #checkRunner({ class: key, token }: EffectOf<'check-runner'>): Promise<void> {
    const url = this.#options.ledger()?.gitlab.url;
    if (!url) return;
    const answer = (state: 'known' | 'unknown' | 'unclear', because: string): void =>
      this.#options.feed({ kind: 'runner-checked', class: key, token, state, because: because.slice(0, 300) });
    try {
      await verifyRunner(url, this.#options.unseal(token), 'autogit-connect', timeoutMs);
      answer('known', 'GitLab knows the runner');
    } catch (error) {
      const isRefused = error instanceof AutogitError && error.code === 'gitlab-refused';
      answer(isRefused ? 'unknown' : 'unclear', sentenceOf(error));
    }
  }

  async #failRun({ run, because }: EffectOf<'fail-run'>): Promise<void> {
    const url = this.#options.ledger()?.gitlab.url;
    const answer = (ok: boolean, sentence: string) =>
      this.#options.feed({ kind: 'run-failed-at-gitlab', run: run.run, ok, because: sentence });
    if (!url) return answer(false, 'no GitLab is connected');
    try {
      await failRun({ url, job: run.job, token: this.#options.unseal(run.token), timeoutMs });
      answer(true, because);
    } catch (error) {
      answer(false, sentenceOf(error));
    }
  }

  /** Looks first: never both our retry and the one of the job's own `retry:` (SAFETY J6). */
  async #retryJob({ run, projectId, job }: EffectOf<'retry-job'>): Promise<void> {
    const answer = (done: boolean, made: boolean, because: string) =>
      this.#options.feed({ kind: 'job-retried', run, done, made, because: asSentence(because) });
    try {
      const admin = this.admin();
      const now = await admin.job(projectId, job);
      if (now.retried) return answer(true, true, 'GitLab tries it again by itself, or somebody did');
      if (now.status !== 'failed') return answer(true, false, `it is not tried again: it is ${now.status} at GitLab`);
      const again = await retryForItsUser(admin, projectId, now);
      answer(true, again.made, again.because);
    } catch (error) {
      // Its own word: a proxy's page says nothing of the job, and 404 may be the number of a job, too.
      const isGone =
        error instanceof AutogitError &&
        error.code === 'gitlab-answer' &&
        /^GitLab answered \S+ with HTTP 404\b/.test(error.message);
      answer(isGone, false, isGone ? 'GitLab does not know it any more' : sentenceOf(error));
    }
  }

  async #rescueJob({ projectId, job, retry }: EffectOf<'rescue-job'>): Promise<void> {
    const answer = (done: boolean, because: string) =>
      this.#options.feed({ kind: 'job-rescued', job, done, because: asSentence(because) });
    try {
      const end = await endForgotten(this.admin(), projectId, job, retry);
      answer(end.done, end.because);
    } catch (error) {
      answer(false, sentenceOf(error));
    }
  }

  /**
   * SAFETY J7: a crash between "runner created" and "id committed" leaves a runner that nobody can use, since its token
   * was shown once. Those of our mesh whose nonce the ledger does not know are removed, after a minute's grace.
   */
  async #sweepRunners(admin: GitlabAdmin): Promise<void> {
    const ledger = this.#options.ledger();
    const now = performance.now();
    if (!ledger || now < this.#nextSweepAt) return;
    this.#nextSweepAt = now + sweepEveryMs;
    const known = new Set(Object.values(ledger.classes).map(({ nonce }) => nonce));
    const strays = (await admin.listOurRunners(`autogit ${ledger.mesh.id} `)).filter(
      ({ nonce }) => nonce === null || !known.has(nonce),
    );
    const seen = new Map(strays.map(({ id }) => [id, this.#strays.get(id) ?? now]));
    this.#strays = seen;
    for (const [id, since] of seen) {
      if (now - since < strayGraceMs || (await admin.runningJobs(id)).length > 0) continue;
      await admin.deleteRunner(id);
      this.#options.warn(`removed runner ${id} from GitLab: no class of this mesh knows it`);
    }
  }

  /**
   * Every runner whose description names this mesh, half-made ones too. Before each the ledger is asked again: should GitLab
   * be connected anew meanwhile, its new runners stay (SAFETY J6).
   */
  async #removeRunners({ of }: EffectOf<'remove-runners'>): Promise<void> {
    const isMeant = (): boolean => leavingOf(this.#options.ledger())?.of === of;
    let left: number[] = [];
    let removed = 0;
    try {
      const admin = this.admin();
      const ours = await admin.listOurRunners(`autogit ${this.#options.ledger()?.mesh.id} `);
      left = ours.map(({ id }) => id);
      // A job that GitLab gave to nobody would run there for ever: it is found and ended first (SAFETY J3).
      const running = left.flatMap((id) => [admin.runningJobs(id), admin.runningJobs(id, 'canceling')]);
      const busy = (await Promise.all(running)).flat().map(({ job }) => job);
      if (busy.length > 0 && leavingOf(this.#options.ledger())?.force !== true)
        throw new AutogitError('gitlab-answer', `GitLab still says that ${busy.slice(0, 5).join(', ')} runs here`);
      for (const { id } of ours) {
        if (!isMeant()) return;
        await admin.deleteRunner(id);
        removed += 1;
        left = left.filter((one) => one !== id);
      }
      this.#options.feed({ kind: 'runners-removed', removed, left, because: null });
    } catch (error) {
      this.#options.feed({ kind: 'runners-removed', removed, left, because: sentenceOf(error).slice(0, 300) });
    }
  }

  async #compareRuns({ runners }: EffectOf<'compare-runs'>): Promise<void> {
    const admin = this.admin();
    const lists = await Promise.all(
      runners.map(async (runner) => [
        ...(await admin.runningJobs(runner)).map((job) => ({ ...job, runner })),
        ...(await admin.runningJobs(runner, 'canceling')).map((job) => ({ ...job, runner, canceling: true })),
      ]),
    );
    this.#options.feed({ kind: 'runs-compared', running: lists.flat() });
    await this.#sweepRunners(admin);
  }
}
