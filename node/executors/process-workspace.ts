import { closeSync, existsSync, openSync, writeFileSync } from 'node:fs';
import { chown, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AutogitError } from '../../protocol/errors.ts';
import { droppingTo, ownBash } from '../clean-spawn.ts';
import type { Clock } from '../clock.ts';
import type { Freezer, KeptTree, Step, StepEnd, TreeRead, Workspace } from '../ports.ts';
import type { Child } from '../starter/far-child.ts';
import { membersAside, spawnAside } from '../starter/starter.ts';
import type { ChildFile } from '../starter/starter-messages.ts';
import { isDiskError } from '../store/disk-errors.ts';
import { type JobPaths, stepScript } from './job-shell.ts';
import { orphanHolder } from './orphan-holding.ts';
import { memoryKills, outOfMemory } from './out-of-memory.ts';
import { followFile, trim } from './output-file.ts';
import type { ProcessBuilds, TakenBuilds } from './process-builds.ts';
import { endAll, endProcesses, killedFromWithin, recordTaken } from './process-ending.ts';
import { ProcessFiles } from './process-files.ts';
import { ProcessTree } from './process-tree.ts';
import { freezeCgroup, killCgroup, thawCgroup, waitFrozen } from './run-cgroup.ts';
import { dropTo, type JobUser, marksOf, readRunFile } from './run-file.ts';
import {
  askToEnd,
  continueRun,
  descendants,
  isAlive,
  isAtWork,
  mayLookAfter,
  type ProcessName,
  processesOf,
  type RunMarks,
  stopRun,
  supervisorsOf,
  terminate,
} from './run-processes.ts';
import { endUser } from './run-uids.ts';
import { StepLimits } from './step-limits.ts';
import {
  feederFile,
  laySupervision,
  outputFile,
  readStepRecord,
  type StepRecord,
  statusFile,
  supervisorFile,
} from './step-record.ts';
import { removeTree } from './tree-removal.ts';

interface ProcessRun {
  run: string;
  /** The agent's folder of the run: status, output, scripts. Only its subfolders belong to the job's user. */
  folder: string;
  /** For temporary files of the job; removed with the run. */
  tmp: string;
  paths: JobPaths;
  environment: NodeJS.ProcessEnv;
  /** Null: the agent's own user. */
  user: JobUser | null;
  cgroup: string | null;
  /** At most three groups of version 1 that only limit. */
  limits: readonly string[];
  /** By what its processes are found beside the group, or without one. */
  marks: RunMarks;
  memoryBytes: number | null;
  bootId: string;
  clock: Clock;
  /** CI_BUILDS_DIR that other runs have before and after; null: it lies in the run's own folder. */
  builds: { taken: TakenBuilds; isLeft: boolean; store: ProcessBuilds } | null;
}

/** How long a supervisor may take from its start to its first line. */
const settleMs = 3000;
/** ms between two looks at how long an output is: so much of a flood is on the disk for a moment. */
const trimEveryMs = 100;
/** ms between two looks at what the processes of a run without a control group have begun. */
const lookEveryMs = 500;

/** A run as processes of this machine. See step-record.ts for how a step lives on without the agent. */
export class ProcessWorkspace implements Workspace {
  readonly handle: string;
  readonly projectDir: string;
  readonly buildsDir: string;
  readonly tree: KeptTree | null;
  readonly #of: ProcessRun;
  readonly #children = new Map<number, Child>();
  readonly #files: ProcessFiles;
  readonly #limits: StepLimits;
  readonly #endedHere = new Set<number>();
  /** Processes that were seen to be of the run: who leaves its family later is known all the same. */
  #seen: ProcessName[] = [];
  #looking: NodeJS.Timeout | null = null;
  /** By step: what the kernel had killed of the run for want of memory when it began. */
  readonly #memoryKills = new Map<number, number>();

  constructor(run: ProcessRun) {
    this.#of = run;
    this.handle = run.folder;
    this.projectDir = run.paths.projectDir;
    this.buildsDir = run.paths.buildsDir;
    this.tree = run.builds?.taken.isKept
      ? new ProcessTree(run.builds, { ...run, projectDir: this.projectDir, path: run.environment.PATH })
      : null;
    this.#files = new ProcessFiles(this.projectDir, run.environment, run.user);
    this.#limits = new StepLimits({
      clock: run.clock,
      isOver: (index) => this.#isOver(index),
      end: (graceMs, because) => this.#end(graceMs, because),
    });
  }

  putTar(path: string, tar: NodeJS.ReadableStream): Promise<void> {
    return this.#files.put(path, tar);
  }

  async listFiles(paths: string[]): Promise<TreeRead> {
    return this.#files.list(paths);
  }

  async readFiles(names: Uint8Array): Promise<TreeRead> {
    return this.#files.read(names);
  }

  async start(step: Step, index: number): Promise<void> {
    const { folder, user, paths, environment, clock } = this.#of;
    const script = join(folder, `step-${index}.sh`);
    // Before it counts as begun: whoever finds it begun follows it.
    writeFileSync(this.#output(index), '', { flag: 'a', mode: 0o600 });
    const timeoutMs = step.timeoutMs !== null && step.timeoutMs > 0 ? step.timeoutMs : 0;
    try {
      writeFileSync(this.#status(index), `begun ${clock.bootMs()} ${timeoutMs}\n`, { flag: 'ax', mode: 0o600 });
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
      throw new AutogitError('executor-failed', `step ${index} of run ${this.#of.run} was begun before`, { cause });
    }
    await writeFile(script, stepScript(step, paths, join(folder, 'environment.sh')), { mode: 0o600 });
    if (user) await chown(script, user.uid, user.gid);
    await laySupervision(folder);
    const into = (group: string): ChildFile => ({ path: join(group, 'cgroup.procs'), how: 'write' });
    const output: ChildFile = { path: this.#output(index), how: 'append' };
    const status: ChildFile = { path: this.#status(index), how: 'append' };
    const group: ChildFile = this.#of.cgroup ? into(this.#of.cgroup) : { path: '/dev/null', how: 'write' };
    const limits = this.#of.limits.filter((path) => existsSync(path)).map(into);
    // Five is the supervisor's own.
    const more = limits.length > 0 ? (['ignore', ...limits] as const) : [];
    const holder = this.#of.cgroup === null ? orphanHolder() : null;
    const { uid, gid } = dropTo(user);
    const drop = uid === undefined ? null : droppingTo(uid, gid);
    const feeding = ['--norc', '--noprofile', '-p', feederFile(folder), drop ? `${uid}:${gid}` : ''];
    const supervising = ['bash', supervisorFile(folder), script, holder ? 'hold' : ''];
    this.#memoryKills.set(index, this.#killedForMemory());
    // Root begins it, and where is found what the job's user runs is that user's to say: `~/.local/bin` stands first.
    const child = spawnAside(ownBash() ?? 'bash', [...feeding, ...(drop ?? []), ...(holder ?? []), ...supervising], {
      cwd: paths.projectDir,
      env: environment,
      detached: true,
      stdio: ['ignore', output, output, status, group, ...more],
      ...(drop ? {} : dropTo(user)),
    });
    await new Promise<void>((done, fail) => {
      child.once('spawn', done);
      child.once('error', (cause) => fail(new AutogitError('executor-failed', 'bash did not start', { cause })));
    });
    child.unref();
    this.#children.set(index, child);
    if (this.#of.cgroup === null) this.#lookOn();
    this.#limits.watch(index, clock.bootMs(), timeoutMs);
  }

  /** For steps found after a restart. */
  watchTimeout(index: number, { begunMs, timeoutMs }: Pick<StepRecord, 'begunMs' | 'timeoutMs'>): void {
    this.#limits.watch(index, begunMs, timeoutMs);
  }

  /** What is beyond a trace's reach is cut off the file while it is followed: a job that prints for ever fills no disk (security A12). */
  async *output(index: number, offset: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const path = this.#output(index);
    // An agent of before was killed when the step had begun for it alone: there is none, and never will be.
    if (!existsSync(path)) return;
    const trimming = setInterval(() => void trim(path), trimEveryMs);
    try {
      yield* followFile(path, offset, () => this.#isOver(index), signal);
    } finally {
      clearInterval(trimming);
      await trim(path);
    }
  }

  async ended(index: number): Promise<StepEnd> {
    const child = this.#children.get(index);
    const exit = child && new Promise((done) => child.once('exit', done));
    for (let waitMs = 5; !this.#isOver(index); waitMs = Math.min(waitMs * 1.5, 100)) {
      if (!child || !isRunning(child)) await sleep(waitMs);
      // A supervisor that holds what its step left goes on after the end of the step.
      else if (this.#of.cgroup === null) await Promise.race([exit, sleep(waitMs)]);
      else {
        child.ref();
        await exit;
      }
    }
    this.#limits.forget(index);
    const record = readStepRecord(this.#status(index));
    // Its process was gone before Node heard of it: by what signal, is heard within moments.
    if (child && isRunning(child) && record?.exitCode === null) await Promise.race([exit, sleep(1000)]);
    if (record?.killed) return { kind: 'killed', because: record.killed };
    if (record && record.exitCode !== null) return this.#exited(index, record.exitCode);
    if (record?.supervisor && this.#sawSupervisorKilled(index)) {
      // What it leaves would run on with nobody who looks after it.
      await endProcesses(this.#of.marks, this.#of.cgroup, this.#seen);
      return this.#exited(index, 137, killedFromWithin);
    }
    if (child && !this.#endedHere.has(index) && !record?.begunMs) {
      // This agent wrote when it began, on a disk that works: whoever took that away is the job, where it is of the agent's own user, or holds its supervisor.
      await endProcesses(this.#of.marks, this.#of.cgroup, this.#seen);
      return this.#exited(index, 137, recordTaken);
    }
    if (!record) return { kind: 'lost', because: 'the step was never begun' };
    const because =
      'its process is gone and left no exit code (killed by someone else, out of memory, or the machine restarted)';
    return { kind: 'lost', because, isUnclear: true };
  }

  #exited(index: number, exitCode: number, because?: string): StepEnd {
    const isMemory = exitCode !== 0 && this.#killedForMemory() > (this.#memoryKills.get(index) ?? 0);
    const reason = isMemory ? outOfMemory(this.#of.memoryBytes, exitCode) : because;
    return { kind: 'exited', exitCode, ...(reason !== undefined && { because: reason }) };
  }

  #killedForMemory(): number {
    const { cgroup, limits } = this.#of;
    return memoryKills([...(cgroup === null ? [] : [cgroup]), ...limits]);
  }

  async kill(graceMs: number): Promise<void> {
    await this.#end(graceMs, 'its node ended it');
  }

  async freeze(): Promise<void> {
    if (this.#of.cgroup === null) return stopRun(() => this.#processes());
    freezeCgroup(this.#of.cgroup);
    await waitFrozen(this.#of.cgroup, 2000);
  }

  async thaw(): Promise<void> {
    if (this.#of.cgroup !== null && existsSync(this.#of.cgroup)) thawCgroup(this.#of.cgroup);
    // Also without a group of its own, and for what a watchdog of an earlier agent stopped by signal.
    continueRun(() => this.#processes());
  }

  async freezer(): Promise<Freezer> {
    const { cgroup, run, marks } = this.#of;
    return cgroup === null ? { kind: 'pgid', marker: run, marks } : { kind: 'cgroup', path: cgroup };
  }

  async remove(): Promise<void> {
    this.#limits.forgetAll();
    for (const index of this.#children.keys()) this.#endedHere.add(index);
    const { marks, cgroup, limits, tmp, folder, user } = this.#of;
    await endAll(marks, cgroup, limits, this.#seen);
    this.#lookNoMore();
    await removeTree(tmp);
    const { builds } = this.#of;
    if (builds) {
      await builds.store.give(this.#of.run, builds.taken, this.projectDir, user);
      // From here on the next run may be at work there, which a further try to remove this one must not end.
      this.#of.marks = marksOf(folder, readRunFile(folder), user);
    }
    await removeTree(folder);
    if (user?.isAuto) await endUser(user.uid, folder);
  }

  /** Steps that were begun, by the files that they left. */
  record(index: number): StepRecord | null {
    return readStepRecord(this.#status(index));
  }

  async #end(graceMs: number, because: string): Promise<void> {
    for (let index = 0; ; index++) {
      const record = this.record(index);
      if (record === null) break;
      if (record.exitCode !== null || record.killed !== null) continue;
      this.#endedHere.add(index);
      this.#noteKilled(index, because);
    }
    const spared = this.#supervisors();
    const members = async (): Promise<{ pid: number }[]> =>
      (await membersAside(this.#of.marks, this.#of.cgroup, this.#seen)).filter(({ pid }) => !spared.has(pid));
    // Without grace a frozen run stays frozen: it may be no longer ours, so it must not do one more thing.
    if (graceMs > 0) await this.thaw();
    const isStubborn = graceMs === 0 || (await askToEnd(members, graceMs));
    if (isStubborn && this.#of.cgroup !== null) await killCgroup(this.#of.cgroup, spared);
    const left = isStubborn ? await terminate(members) : 0;
    // The supervisors end by themselves when their step has; frozen ones need to be let go for it.
    await this.thaw();
    if (left > 0) throw new AutogitError('executor-failed', `${left} processes of run ${this.#of.run} cannot be ended`);
  }

  /** On a full disk the run is ended without the note: how it ended is then not known, and it has failed all the same. */
  #noteKilled(index: number, because: string): void {
    const status = openSync(this.#status(index), 'a');
    try {
      writeFileSync(status, `killed ${JSON.stringify(because)}\n`);
    } catch (error) {
      if (!isDiskError(error)) throw error;
    } finally {
      closeSync(status);
    }
  }

  #processes(): ReturnType<typeof processesOf> {
    return processesOf(this.#of.marks, this.#seen);
  }

  #supervisors(): Set<number> {
    const all = supervisorsOf(this.#of.marks);
    return new Set(all.filter(({ pid, startTicks }) => isAlive(pid, startTicks)).map(({ pid }) => pid));
  }

  #lookOn(): void {
    const { folder } = this.#of;
    this.#looking ??= setInterval(() => {
      if (!existsSync(folder)) return this.#lookNoMore();
      this.#seen = descendants([...supervisorsOf(this.#of.marks), ...this.#seen]);
    }, lookEveryMs).unref();
  }

  #lookNoMore(): void {
    if (this.#looking) clearInterval(this.#looking);
    this.#looking = null;
  }

  /** True once nothing more will come of the step: its exit code is there, or its supervisor is gone without one. */
  #isOver(index: number): boolean {
    const record = this.record(index);
    if (record === null || record.exitCode !== null) return true;
    const { supervisor, filter } = record;
    if (this.#of.bootId !== this.#of.clock.bootId()) return true;
    const isOurs = ({ pid }: ProcessName): boolean => mayLookAfter(pid, this.#of.marks.uid, this.#output(index));
    if (supervisor && !isAlive(supervisor.pid, supervisor.startTicks))
      // Killed: what it left may still be on its way into the file, and is there when that cat waits for more.
      return filter === null || !isAtWork(filter.pid, filter.startTicks) || !isOurs(filter);
    if (supervisor && isOurs(supervisor)) return false;
    const child = this.#children.get(index);
    if (child) return !isRunning(child);
    // Begun by an agent that was killed at that moment: its supervisor says who it is within milliseconds, or never.
    return this.#of.clock.bootMs() - record.begunMs > settleMs && this.#processes().length === 0;
  }

  /**
   * A supervisor that this agent started, saw alive and saw killed, and not by itself: that is nearly always a job that
   * kills its parent, or all that it can. After a restart of agent or machine nobody saw it, and it may be anything.
   */
  #sawSupervisorKilled(index: number): boolean {
    const isSameBoot = this.#of.bootId === this.#of.clock.bootId();
    return !this.#endedHere.has(index) && isSameBoot && this.#children.get(index)?.signalCode === 'SIGKILL';
  }

  #status(index: number): string {
    return statusFile(this.#of.folder, index);
  }

  #output(index: number): string {
    return outputFile(this.#of.folder, index);
  }
}

const isRunning = (child: Child): boolean => child.exitCode === null && child.signalCode === null;
