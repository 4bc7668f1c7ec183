import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type RequestJobAnswer, requestJob, updateJob } from '../../gitlab-bridge/gitlab-runner.ts';
import { JobPayload, variableOf } from '../../gitlab-bridge/payload.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import { asSentence, classKey } from '../../protocol/ids.ts';
import type { Run } from '../../protocol/ledger.ts';
import { sharedTimings } from '../../protocol/timings.ts';
import type { EffectOf } from '../../scheduler/effects.ts';
import type { TakeOutcome } from '../../scheduler/inputs.ts';
import { archName } from '../../scheduler/jobs/demand.ts';
import { frozenBy } from '../executors/run-members.ts';
import { counts } from '../metrics/counts.ts';
import type { Executor, Freezer, LocalRun } from '../ports.ts';
import { CacheStore } from './cache/cache-store.ts';
import { freeSlots } from './free-slots.ts';
import { GitSources } from './git-sources.ts';
import type { OwnerHold } from './owner-hold.ts';
import { RunLifecycle } from './run-lifecycle.ts';
import { type RunOptions, runFolder } from './run-options.ts';
import { wholeChars } from './whole-chars.ts';

export type { RunOptions } from './run-options.ts';

/** What the watchdog needs of one run: how to freeze it, and until when it may go on without a newer beat. */
interface RunBeat {
  run: string;
  executor: string;
  freezer: Freezer | null;
  mayRunUntilBootMs: number;
  /** This agent holds it frozen, and thaws it itself. */
  held: boolean;
}

const tickMs = 250;
/** An ended run stays this long, for those who read its trace from here and for the mesh to hear of its end. */
const keptMs = 30_000;
const traceChunkBytes = 256 << 10;

/** The one that its tags name, else the first, which is the default (DESIGN §8). */
const executorFor = (tags: readonly string[], executors: readonly Executor[]): Executor | undefined =>
  executors.find(({ kind }) => tags.includes(kind)) ?? executors[0];

/**
 * The runs of this node. Takes jobs, keeps each run's life going over restarts of the agent, ends what is no longer ours.
 * Life: made -> `resume` (before the network is up, SAFETY J2) -> take, drop, traceOf ... -> `stop` (runs stay).
 */
export class RunSupervisor {
  readonly #options: RunOptions;
  readonly #sources: GitSources;
  readonly caches: CacheStore;
  readonly #lives = new Map<string, RunLifecycle>();
  /** Ended under the agent process before this one, and not forgotten yet. */
  readonly #before = new Map<string, Run>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #stopping = new AbortController();
  #ticker: NodeJS.Timeout | null = null;
  #epoch: string | null = null;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#sources = new GitSources(options.home);
    const { home, log, clock, cacheLimitBytes: limitBytes } = options;
    this.caches = new CacheStore({ home, limitBytes, log, wallMs: () => clock.wallMs() });
  }

  /**
   * Asks GitLab for one job of a class, with room for it reserved by the caller, and begins it. The job and its token
   * are on disk before this answers (SAFETY J4). Never throws.
   */
  async take(effect: EffectOf<'take-job'>): Promise<TakeOutcome> {
    const url = this.#options.gitlabUrl();
    if (url === null) return { kind: 'failed', because: 'no GitLab is connected', maybeTaken: false };
    const executor = executorFor(effect.tags, this.#options.executors);
    if (executor === undefined)
      return { kind: 'failed', because: 'no executor works on this machine: autogit-node doctor', maybeTaken: false };
    // The core's step that asked was a turn's work already.
    await nextTurn();
    try {
      await executor.ready?.();
      await this.#sources.check();
      const full = this.#options.noRoom?.() ?? executor.noRoom?.() ?? null;
      if (full !== null) throw new Error(full);
    } catch (error) {
      const because = asSentence(`${sentenceOf(error)}: no job is taken`);
      return { kind: 'failed', because, maybeTaken: false };
    }
    const answer = await this.#ask(url, effect, executor);
    if (answer.kind === 'empty') return { kind: 'empty', because: answer.because };
    if (answer.kind === 'failed') this.#options.gitlabReturn?.away();
    if (answer.kind === 'failed') return { ...answer, because: asSentence(answer.because) };
    return this.#begin(url, effect, answer.payload, answer.text);
  }

  /** Goes on with the runs of the agent process before this one, and sweeps what no run owns. */
  async resume(): Promise<void> {
    await this.#sources.sweep().catch(() => undefined);
    await this.caches.start().catch((error: Error) => this.#options.log.warn(`caches of jobs: ${error.message}`));
    const kept = await this.#options.store.runs();
    for (const local of kept) this.#resumeOne(local);
    await sweepFolders(this.#options.home, new Set(kept.map(({ run }) => run.run)));
    // Of a run whose end is known nothing more is needed where it ran: not its variables either.
    const needed = new Set(kept.filter(({ run }) => !isEnded(run.state)).map(({ run }) => run.run));
    for (const executor of this.#options.executors)
      await executor
        .sweep(needed)
        .catch((error: Error) => this.#options.log.warn(`clean-up of ${executor.kind}: ${error.message}`));
  }

  /** The mesh gave the run to somebody else, or GitLab disowned it: ends it at once, without a word. */
  async drop(run: string, because: string): Promise<void> {
    const life = this.#lives.get(run);
    if (life === undefined) return;
    this.#options.log.warn(`run of job ${life.run.job} is dropped: ${because}`);
    await life.drop(because);
    await this.#forget(run);
  }

  /** Bytes of a run's trace from an offset, as text; null when the run is not (or no longer) here. */
  async traceOf(run: string, offset: number): Promise<{ text: string; next: number; done: boolean } | null> {
    const life = this.#lives.get(run);
    if (life === undefined) return null;
    const isOver = life.isOver;
    const bytes = life.trace.read(offset, offset + traceChunkBytes);
    const whole = isOver && offset + bytes.length >= life.trace.length ? bytes.length : wholeChars(bytes);
    const next = offset + whole;
    return { text: bytes.toString('utf8', 0, whole), next, done: isOver && next >= life.trace.length };
  }

  /** Runs whose script may go on here, each with what it has of a disk (stat's dev). */
  running(): { run: string; job: number; usedBytes(device: number): Promise<number> }[] {
    return [...this.#lives.values()]
      .filter(({ isOver, workspace }) => !isOver && workspace !== null)
      .map(({ run: { run, job, executor }, workspace }) => {
        const by = this.#options.executors.find(({ kind }) => kind === executor);
        const handle = workspace?.handle ?? '';
        return { run, job, usedBytes: async (device) => (await by?.usedBytes?.(handle, device)) ?? 0 };
      });
  }

  /** Removes what executors keep for later jobs; false where there was nothing of that. */
  async giveBack(): Promise<boolean> {
    const given = this.#options.executors.map((executor) => executor.giveBack?.().catch(() => false));
    return (await Promise.all(given)).includes(true);
  }

  /** This machine cannot go on with it. */
  end(run: string, because: string, cause: 'system' | 'owner' = 'system'): void {
    this.#options.log[cause === 'owner' ? 'info' : 'error'](
      `job ${this.#lives.get(run)?.run.job} is ended: ${because}`,
    );
    this.#lives.get(run)?.fail(because, cause);
  }

  /** How it makes way for this machine's owner without ending; undefined when it is not here. */
  ownerHoldOf(run: string): OwnerHold | undefined {
    return this.#lives.get(run)?.owner;
  }

  /** Somebody cancels it at GitLab: it asks there now. */
  hint(run: string): void {
    this.#lives.get(run)?.line.askNow();
  }

  /** A sentence of an executor that the job's owner should read: a pull, a variable that no shell can hold. */
  note(run: string, sentence: string): void {
    this.#lives.get(run)?.note(sentence);
  }

  runs(): Run[] {
    return [...[...this.#lives.values()].map((life) => life.run), ...this.#before.values()];
  }

  gpuProcesses(): Promise<ReadonlySet<number>> {
    return gpuProcessesOf([...this.#lives.values()]);
  }

  async beats(): Promise<RunBeat[]> {
    const beats: RunBeat[] = [];
    for (const life of this.#lives.values()) {
      const { workspace, run } = life;
      if (workspace === null) continue;
      const freezer = (await workspace.freezer?.().catch(() => null)) ?? null;
      beats.push({ run: run.run, executor: run.executor, freezer, ...life.beat() });
    }
    return beats;
  }

  /** The agent goes; runs stay, for the agent that comes. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    if (this.#ticker) clearInterval(this.#ticker);
    for (const timer of this.#timers) clearTimeout(timer);
    await Promise.all([...this.#lives.values()].map((life) => life.stop()));
    for (const life of this.#lives.values()) life.trace.close();
    this.caches.stop();
    await this.#sources.close();
  }

  #ask(url: string, effect: EffectOf<'take-job'>, executor: Executor): Promise<RequestJobAnswer> {
    const { nodeName, version, systemId, unseal } = this.#options;
    return requestJob(
      {
        url,
        token: unseal(effect.token),
        systemId: systemId.slice(0, 64),
        info: {
          name: 'autogit-node',
          version: `${version} on ${nodeName}`.slice(0, 60),
          platform: 'linux',
          architecture: archName(process.arch),
          executor: executor.kind === 'process' ? 'shell' : executor.kind,
          shell: 'bash',
          features: Object.fromEntries(executor.features.map((feature) => [feature, true])),
        },
        timeoutMs: sharedTimings.takeMs,
      },
      this.#stopping.signal,
    );
  }

  async #begin(url: string, effect: EffectOf<'take-job'>, payload: JobPayload, text: string): Promise<TakeOutcome> {
    const run = this.#newRun(effect, payload);
    const local: LocalRun = { run, payload: text, url, handle: null, traceOffset: 0 };
    try {
      await this.#options.store.putRun(local);
    } catch (error) {
      const because = `job ${run.job} was taken and cannot be kept: ${sentenceOf(error)}`;
      this.#options.log.error(because);
      const line = { url, job: run.job, token: payload.token };
      await updateJob(line, { state: 'failed', failure_reason: 'runner_system_failure' });
      return { kind: 'failed', because, maybeTaken: false };
    }
    counts.queueSeconds.add(payload.job_info.time_in_queue_seconds ?? Number.NaN);
    // Before anybody can hear of it: what ends the run finds it here.
    this.#live(local, payload);
    await nextTurn();
    this.#options.onRunChanged(run);
    return { kind: 'taken', run };
  }

  #newRun(effect: EffectOf<'take-job'>, payload: JobPayload): Run {
    const { instance, seal, self, clock } = this.#options;
    const { uuid, epoch } = instance();
    // GitLab's ids alone come again after a restore (SAFETY J8).
    const token = createHash('sha256').update(payload.token).digest('hex');
    const identity = [payload.job_info.instance_uuid ?? uuid ?? '', epoch, payload.id, token].join(' ');
    const project = payload.job_info.project_full_path ?? variableOf(payload, 'CI_PROJECT_PATH');
    return {
      run: createHash('sha256').update(identity).digest('hex').slice(0, 20),
      job: payload.id,
      projectId: payload.job_info.project_id,
      project: (project ?? payload.job_info.project_name ?? '').slice(0, 512),
      name: (payload.job_info.name ?? '').slice(0, 255),
      ref: (payload.git_info?.ref ?? '').slice(0, 255),
      ...(payload.job_info.pipeline_id ? { pipeline: payload.job_info.pipeline_id } : {}),
      tags: effect.tags,
      class: effect.class || classKey(effect.tags),
      grant: effect.grant,
      node: self,
      token: seal(payload.token),
      executor: (executorFor(effect.tags, this.#options.executors) as Executor).kind,
      state: 'taken',
      frozen: false,
      takenAt: clock.wallMs(),
      startedAt: null,
      finishedAt: null,
      result: null,
      gpus: effect.gpus,
      because: effect.because ?? `taken by ${this.#options.nodeName} with a grant of the leader`,
    };
  }

  #resumeOne(local: LocalRun): void {
    const { log, onRunChanged } = this.#options;
    const { run } = local;
    const parsed = JobPayload.safeParse(safeJson(local.payload));
    if (run.state === 'delivered' || run.state === 'discarded' || run.state === 'lost' || !parsed.success) {
      if (!parsed.success) log.error(`run of job ${run.job}: its record cannot be read; it is given up`);
      if (parsed.success) this.#before.set(run.run, run);
      onRunChanged(parsed.success ? run : { ...run, state: 'discarded' });
      this.#later(() => this.#forget(run.run));
      return;
    }
    log.info(`going on with job ${run.job} (${run.state})`);
    const life = this.#live(local, parsed.data);
    // Its script has not begun, and meanwhile the mesh may have given the job to another node: GitLab must confirm first.
    if (life.isPreparing) life.verify();
  }

  #live(local: LocalRun, payload: JobPayload): RunLifecycle {
    const executor = this.#options.executors.find(({ kind }) => kind === local.run.executor);
    const life = new RunLifecycle(
      this.#options,
      executor ?? goneExecutor(local.run.executor, this.#options.retired?.(local.run.executor) ?? null),
      { sources: this.#sources, caches: this.caches },
      local,
      payload,
      freeSlots([...this.#lives.values()], local.run.projectId),
    );
    this.#lives.set(local.run.run, life);
    if (this.#ticker === null) this.#ticker = setInterval(() => this.#tick(), tickMs);
    void life.live().then(() => {
      if (!this.#stopping.signal.aborted) this.#later(() => this.#forget(local.run.run));
    });
    return life;
  }

  #tick(): void {
    const { uuid, epoch } = this.#options.instance();
    const now = `${uuid} ${epoch}`;
    const isRestored = this.#epoch !== null && this.#epoch !== now && epoch > 0;
    this.#epoch = now;
    for (const life of this.#lives.values()) {
      if (isRestored) life.gitlabWentBack();
      life.tick();
    }
  }

  #later(work: () => Promise<void>): void {
    if (this.#stopping.signal.aborted) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      work().catch((error: Error) => this.#options.log.warn(error.message));
    }, keptMs);
    timer.unref();
    this.#timers.add(timer);
  }

  async #forget(run: string): Promise<void> {
    this.#lives.get(run)?.trace.close();
    this.#lives.delete(run);
    this.#before.delete(run);
    await this.#options.store.deleteRun(run);
    await rm(runFolder(this.#options.home, run), { recursive: true, force: true });
  }
}

/** Pids of all that lives of runs with a GPU; those in an engine elsewhere are not known. */
async function gpuProcessesOf(lives: readonly RunLifecycle[]): Promise<ReadonlySet<number>> {
  const pids = new Set<number>();
  for (const { run, workspace } of lives) {
    if (run.gpus.length === 0) continue;
    const freezer = await workspace?.freezer?.().catch(() => null);
    for (const { pid } of freezer ? frozenBy(freezer) : []) pids.add(pid);
  }
  return pids;
}

/** Folders of runs that are not known any more. */
async function sweepFolders(home: string, known: ReadonlySet<string>): Promise<void> {
  const folder = join(home, 'runs');
  let names: string[] = [];
  try {
    names = readdirSync(folder);
  } catch {
    return;
  }
  const kept = new Set([...known].map((run) => runFolder(home, run)));
  for (const name of names) {
    const path = join(folder, name);
    if (!kept.has(path)) await rm(path, { recursive: true, force: true });
  }
}

/** The executor that a run was begun with is not offered any more: what is left of the run is ended, it has failed, and says why. */
function goneExecutor(kind: string, retired: Executor | null): Executor {
  const fail = async (): Promise<never> => {
    throw new Error(`the executor ${kind} is no longer switched on here`);
  };
  const adopt: Executor['adopt'] = async (spec, handle, signal) => {
    const left = await retired?.adopt(spec, handle, signal);
    // Its script would stay for ever, frozen, while the job runs again elsewhere.
    await left?.remove();
    return fail();
  };
  return { kind: 'process', features: [], check: fail, prepare: fail, adopt, sweep: async () => [] };
}

const isEnded = (state: Run['state']): boolean => ['finished', 'delivered', 'discarded', 'lost'].includes(state);

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
