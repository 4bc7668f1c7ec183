import type { Run, RunResult } from '../../protocol/ledger.ts';
import { baseWallMs } from './machine.ts';
import type { World } from './world.ts';

/** One job as GitLab has it. A retry is another job of the same root. */
export interface GitlabJob {
  id: number;
  root: number;
  tags: string[];
  status: 'pending' | 'running' | 'canceling' | 'success' | 'failed' | 'canceled';
  runner: number | null;
  systemId: string | null;
  token: string;
  queuedAt: number;
  startedAt: number | null;
  isRetried: boolean;
  /** `retry:` of the job: how often GitLab itself tries again after a system failure. */
  retriesLeft: number;
  durationMs: number;
  result: RunResult;
  because: string;
}

interface GitlabRunner {
  id: number;
  tags: string[];
  token: string;
  description: string;
}

/** What GitLab answered instead of a result. `reached`: the request may have been carried out. */
export interface NoAnswer {
  because: string;
  reached: boolean;
}

export const isNoAnswer = (answer: unknown): answer is NoAnswer =>
  typeof answer === 'object' && answer !== null && 'reached' in answer;

export const projectId = 7;
/** How long a client waits for an answer. */
const patienceMs = 5000;

/** The GitLab of the simulation: what the contract says about queue, runners and jobs, over a bad line. */
export class SimGitlab {
  readonly jobs = new Map<number, GitlabJob>();
  readonly runners = new Map<number, GitlabRunner>();
  #nextId = 1000;
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  add(tags: string[], durationMs: number, retries: number): GitlabJob {
    const fails = this.#world.chance.maybe(0.15);
    const result: RunResult = {
      state: fails ? 'failed' : 'success',
      exitCode: fails ? 1 : 0,
      reason: fails ? 'script_failure' : null,
      because: fails ? 'the script ended with exit code 1' : 'the script ended with exit code 0',
    };
    return this.#queue({ root: 0, tags, retriesLeft: retries, durationMs, result });
  }

  #queue(from: Pick<GitlabJob, 'root' | 'tags' | 'retriesLeft' | 'durationMs' | 'result'>): GitlabJob {
    const id = this.#nextId++;
    const job: GitlabJob = {
      ...from,
      id,
      root: from.root || id,
      status: 'pending',
      runner: null,
      systemId: null,
      token: `${secretMark}-job-${id}`,
      queuedAt: baseWallMs + Math.floor(this.#world.now),
      startedAt: null,
      isRetried: false,
      because: '',
    };
    this.jobs.set(id, job);
    return job;
  }

  /**
   * One HTTP call from a machine: there and back over its line, and what GitLab's mood makes of it. `done` is called
   * once, also when nothing ever comes back.
   */
  call<T>(machine: string, carryOut: () => T, done: (answer: T | NoAnswer) => void): void {
    const { timeline, chance, faults, figures } = this.#world;
    const fail = (because: string, reached: boolean, ms: number): void => {
      figures.add('GitLab calls failed');
      timeline.after(ms, () => done({ because, reached }));
    };
    if (faults.isGitlabCut(machine)) return fail('GitLab cannot be reached', false, chance.between(5, patienceMs));
    timeline.after(chance.between(4, 60) + faults.gitlabDelayMs(), () => {
      const mood = faults.gitlab;
      if (mood === 'away') return fail('connection refused', false, 5);
      if (mood === '429') return fail('429 Too Many Requests', false, 20);
      if (mood === '500' && chance.maybe(0.7)) return fail('500 Internal Server Error', chance.maybe(0.3), 30);
      const answer = carryOut();
      const isLost = faults.isGitlabCut(machine) || faults.losesGitlabAnswer();
      if (isLost) return fail('no answer in time', true, patienceMs);
      timeline.after(chance.between(4, 60) + faults.gitlabDelayMs(), () => done(answer));
    });
  }

  /** Of the one that the mesh hosts: whose data it is. */
  #data = '';

  /** Another GitLab stands in its place, with data of its own: of jobs that ran, and of runners, it knows nothing. */
  beginsAnew(data: string): void {
    if (data <= this.#data) return;
    this.#data = data;
    this.runners.clear();
    for (const job of this.jobs.values())
      if (job.status === 'running' || job.status === 'canceling') job.status = 'canceled';
  }

  // --- what the calls do

  queue(): GitlabJob[] {
    return [...this.jobs.values()].filter((job) => job.status === 'pending').sort((a, b) => a.id - b.id);
  }

  createRunner(tags: string[], nonce: string): GitlabRunner {
    const id = this.#nextId++;
    const runner = { id, tags, token: `${secretMark}-runner-${id}`, description: nonce };
    this.runners.set(id, runner);
    return runner;
  }

  /** `POST /jobs/request`: the oldest job that the runner's tags cover, to exactly one asker. */
  request(token: string, systemId: string): GitlabJob | 'none' | 'forbidden' {
    const runner = [...this.runners.values()].find((one) => one.token === token);
    if (!runner) return 'forbidden';
    const fits = (job: GitlabJob): boolean =>
      job.tags.length === 0 ? runner.tags.length === 0 : job.tags.every((tag) => runner.tags.includes(tag));
    const job = this.queue().find(fits);
    if (!job) return 'none';
    job.status = 'running';
    job.runner = runner.id;
    job.systemId = systemId;
    job.startedAt = baseWallMs + Math.floor(this.#world.now);
    this.#world.transcript.say('gitlab', `gives job ${job.id} to ${systemId}`);
    return job;
  }

  /** `PUT /jobs/:id` with the job's own token: 403 once it is no longer running. */
  update(token: string, end: { state: 'success' | 'failed' | 'running'; because: string; system: boolean }): boolean {
    const job = [...this.jobs.values()].find((one) => one.token === token);
    if (job?.status !== 'running' && job?.status !== 'canceling') return false;
    if (end.state === 'running') return true;
    if (job.status === 'canceling') {
      job.status = 'canceled';
      this.#world.transcript.say('gitlab', `job ${job.id} canceled: ${end.because}`);
      return true;
    }
    job.status = end.state;
    job.because = end.because;
    this.#world.transcript.say('gitlab', `job ${job.id} ${end.state}: ${end.because}`);
    if (end.state === 'failed' && end.system && job.retriesLeft > 0) this.retry(job.id);
    return true;
  }

  retry(id: number): boolean {
    const job = this.jobs.get(id);
    if (!job || job.isRetried || (job.status !== 'failed' && job.status !== 'canceled')) return false;
    job.isRetried = true;
    const next = this.#queue({ ...job, retriesLeft: Math.max(0, job.retriesLeft - 1) });
    this.#world.figures.add('jobs retried');
    this.#world.transcript.say('gitlab', `job ${id} is tried again as ${next.id}`);
    return true;
  }

  /** Our agents declare `cancel_gracefully`: a running job waits for its runner's word, unless it is ended by force. */
  cancel(id: number, force: boolean): boolean {
    const job = this.jobs.get(id);
    if (!job || !['pending', 'running', 'canceling'].includes(job.status)) return false;
    if (job.status === 'canceling' && !force) return false;
    job.status = job.status === 'running' && !force ? 'canceling' : 'canceled';
    this.#world.transcript.say('gitlab', `job ${id} ${job.status}`);
    return true;
  }

  jobOf(run: Pick<Run, 'job'>): GitlabJob | undefined {
    return this.jobs.get(run.job);
  }
}

/** Every secret of the simulation has it: where it must not be, it is looked for. */
export const secretMark = 'S3CRET';
