import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { AutogitError } from '../../protocol/errors.ts';
import type { Freezer, Step, StepEnd, TreeRead, Workspace } from '../ports.ts';
import { endOfStopped, endPolitely, killContainer, killGroup, removeContainer } from './docker-ending.ts';
import { isEngineAway, statusOf, whileAway, withLimit } from './docker-engine.ts';
import { DockerFiles } from './docker-files.ts';
import { DockerFreezing } from './docker-freezing.ts';
import { recordedExit, stepMarks } from './docker-log.ts';
import { removeRunBridges } from './docker-network.ts';
import { recordedOutput } from './docker-record.ts';
import type { KnownGroup } from './docker-removal.ts';
import type { DockerRun } from './docker-run.ts';
import { ContainerStream } from './docker-stream.ts';
import { pathInside, quote, stepScript } from './job-shell.ts';
import type { LiveOutput } from './live-output.ts';
import { killedForMemory, outOfMemory } from './out-of-memory.ts';
import { groupOfContainer, isCgroupFrozen } from './run-cgroup.ts';
import { StepLimits } from './step-limits.ts';
import { packFiles, plainName } from './tar-names.ts';

/** A step that was ended by the container's own sh says so at once; one that does not is ended from outside. */
const endSaidMs = 2000;
/** Who does not wait for an engine that is away asks it no longer than this. */
const soonMs = 3000;
/** After an adoption: a step whose script is there but which process 1 has not begun within this was never begun. */
const beginMs = 3000;

const ownGroup = ({ containerId }: DockerRun, group: string | null): KnownGroup | null =>
  group === null ? null : { path: group, id: containerId };

/** The engine was waited for and did not come: a run is over only when nothing of it can run on. */
async function endWithoutEngine(cause: unknown, group: string | null): Promise<StepEnd | null> {
  if (!isEngineAway(cause)) throw cause;
  if (!(await killGroup(group))) return null;
  return { kind: 'lost', because: 'the Docker Engine was away for more than 60 s, and its container was ended' };
}

/** What was made for a run beside its container, and has its tree, too. */
async function removeBeside(of: DockerRun, group: string | null): Promise<void> {
  await of.services?.remove(ownGroup(of, group));
  if (of.hasBridge) await removeRunBridges(of.docker, of.node, (other) => other === of.run);
}

/**
 * A run as one container. Its keeper (see docker-container.ts) runs the steps, so they need no agent; their output and
 * exit codes are files in the container. An agent that began a step follows the attached stream, which costs nothing; one
 * that came later, or reads too slowly, reads the file.
 */
export class DockerWorkspace implements Workspace {
  readonly handle: string;
  readonly projectDir: string;
  readonly buildsDir = '/builds';
  readonly tree: DockerRun['tree'];
  readonly services: DockerRun['services'];
  readonly #of: DockerRun;
  readonly #container: Docker.Container;
  readonly #files: DockerFiles;
  readonly #freezing: DockerFreezing;
  readonly #stream: ContainerStream;
  #group: string | null = null;
  readonly #ends = new Map<number, Promise<StepEnd>>();
  readonly #killed = new Map<number, string>();
  readonly #limits: StepLimits;
  /** Ended by the files of its group alone: its engine cannot say how its step ended. */
  #endAlone: (because: string) => void = () => undefined;
  readonly #endedAlone = new Promise<StepEnd>((resolve) => {
    this.#endAlone = (because) => resolve({ kind: 'killed', because });
  });
  /** The step that was begun last. */
  #current: number | null = null;

  constructor(run: DockerRun) {
    this.#of = run;
    this.handle = run.name;
    this.projectDir = run.paths.projectDir;
    this.tree = run.tree;
    this.services = run.services;
    this.#container = run.docker.getContainer(run.containerId);
    this.#files = new DockerFiles(this.#container, run.run);
    this.#stream = new ContainerStream(this.#container);
    this.#limits = new StepLimits({
      clock: run.clock,
      isOver: (index) => this.#live.exitCode(index) !== null,
      end: (graceMs, because) => this.#end(graceMs, because),
    });
    this.#freezing = new DockerFreezing({
      container: this.#container,
      group: () => this.#group,
      state: () => this.#state(false),
    });
  }

  /** Follows the container's output from now on, and opens its input. */
  attach(): Promise<void> {
    return this.#stream.open();
  }

  /** The engine lets a stopped container be attached too, and says nothing more: its entrypoint may have ended at once. */
  async #attachAgain(): Promise<void> {
    await this.attach();
    if (!(await this.#state())?.Running) this.#stream.destroy();
  }

  /** The entrypoint of its image was held until what runs beside it is ready; once. */
  async release(): Promise<void> {
    if (!this.#stream.isOpen) await whileAway(() => this.#attachAgain());
    this.#stream.release();
  }

  async putTar(path: string, tar: NodeJS.ReadableStream, isPlain = false): Promise<void> {
    const owner = { ...this.#of.user, owned: plainName(this.buildsDir) };
    await this.#files.putTree(tar, pathInside(this.projectDir, path), owner, isPlain);
  }

  async listFiles(paths: string[]): Promise<TreeRead> {
    for (const path of paths) pathInside(this.projectDir, path);
    return this.#files.list(this.projectDir, paths);
  }

  async readFiles(names: Uint8Array, paths: string[]): Promise<TreeRead> {
    return this.#files.read(this.projectDir, names, paths, this.#of.controlDir);
  }

  async start(step: Step, index: number): Promise<void> {
    const { paths, controlDir, clock, run, user } = this.#of;
    if (this.#ends.has(index) || (await whileAway(() => this.#readText(`step-${index}.sh`))) !== null)
      throw new AutogitError('executor-failed', `step ${index} of run ${run} was begun before`);
    const timeoutMs = step.timeoutMs !== null && step.timeoutMs > 0 ? step.timeoutMs : 0;
    const begunMs = clock.bootMs();
    const script = `# begun ${begunMs} ${timeoutMs}\n${stepScript(step, paths, `${controlDir}/environment.sh`)}`;
    const name = plainName(`${controlDir}/step-${index}.sh`);
    const first = this.#current === null ? this.#of.firstFiles : [];
    const files = [...first, { name, mode: 0o600, content: script, ...user }];
    await whileAway(() => this.#files.put(packFiles(files), controlDir));
    if (!this.#stream.isOpen) await whileAway(() => this.#attachAgain());
    this.#current = index;
    this.#stream.begin(index, this.#of.nonce, this.#of.keeper);
    this.#limits.watch(index, begunMs, timeoutMs);
  }

  async *output(index: number, offset: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const at = yield* this.#live.follow(index, offset, signal);
    if (at !== null) yield* this.#recorded(index, at, signal);
  }

  ended(index: number): Promise<StepEnd> {
    const known = this.#ends.get(index);
    if (known) return known;
    const end = Promise.race([this.#waitEnd(index), this.#endedAlone]).then((found) => {
      this.#limits.forget(index);
      return found;
    });
    this.#ends.set(index, end);
    end.catch(() => this.#ends.delete(index));
    return end;
  }

  async kill(graceMs: number): Promise<void> {
    await this.#end(graceMs, 'its node ended it');
  }

  async freeze(): Promise<void> {
    await Promise.all([this.#freezing.freeze(), this.services?.freeze()]);
  }

  async thaw(): Promise<void> {
    await this.services?.thaw();
    await this.#freezing.thaw();
  }

  async freezer(): Promise<Freezer | null> {
    // Asked at every beat; the group of a running container stays the same.
    this.#group ??= this.#cgroup((await this.#state())?.Pid ?? 0);
    const also = this.#groupsBeside();
    return this.#group === null ? null : { kind: 'cgroup', path: this.#group, ...(also.length > 0 && { also }) };
  }

  async remove(): Promise<void> {
    this.#limits.forgetAll();
    try {
      const state = await this.#state(false);
      // What is frozen by file takes its SIGKILL only when thawed, and dies before it does anything else.
      if (state?.Running) await killContainer(this.#container, this.#cgroup(state.Pid));
      await removeContainer(this.#container);
      await removeBeside(this.#of, this.#group);
      await this.tree?.give();
      this.#of.onRemoved();
    } catch (cause) {
      await Promise.all([this.#group, ...this.#groupsBeside()].map((group) => killGroup(group)));
      this.tree?.stuck();
      this.#of.onLeft();
      throw cause;
    } finally {
      this.#stream.destroy();
      this.#live.close();
    }
  }

  /** Finds the limits of steps that were begun before a restart; false: none was. */
  async resumeTimeouts(): Promise<boolean> {
    for (let index = 0; ; index++) {
      const script = await this.#readText(`step-${index}.sh`);
      if (script === null) return index > 0;
      const said = /^# begun (\d{1,15}) (\d{1,15})\n/.exec(script);
      this.#current = index;
      if (said && (await this.#recordedExit(index)) === null)
        this.#limits.watch(index, Number(said[1]), Number(said[2]));
    }
  }

  async #waitEnd(index: number): Promise<StepEnd> {
    for (;;) {
      const live = this.#live;
      if (live.exitCode(index) !== null) break;
      if (live.isClosed || live.from(index, Number.MAX_SAFE_INTEGER) === null) break;
      await live.news();
    }
    const code = this.#live.exitCode(index);
    return code === null ? this.#pollEnd(index) : this.#endOf(index, code);
  }

  /** For steps that began before this agent did, or whose stream broke: asks the engine until it is known. */
  async #pollEnd(index: number): Promise<StepEnd> {
    const since = this.#of.clock.bootMs();
    for (let waitMs = 20; ; waitMs = Math.min(waitMs * 1.5, 500)) {
      const end = await this.#lookForEnd(index, since).catch((cause: unknown) => endWithoutEngine(cause, this.#group));
      if (end !== null) return end;
      await sleep(waitMs);
    }
  }

  async #lookForEnd(index: number, since: number): Promise<StepEnd | null> {
    const state = await this.#state();
    // The state was looked at first, so an exit code that is missing now will never come when it is not running.
    const code = (await this.#recordedExit(index)) ?? this.#live.exitCode(index);
    if (code !== null) return this.#endOf(index, code);
    if (!state?.Running) {
      const killed = await this.#killedBecause(index);
      if (killed !== null) return { kind: 'killed', because: killed };
      const hasBegun = state === null || (await this.#readText('keep')) !== null;
      return endOfStopped(state, index === this.#current, hasBegun ? null : this.#stream.early);
    }
    const isOld = this.#of.clock.bootMs() - since > beginMs;
    if (this.#live.from(index, 0) === null && isOld && (await this.#readText(`step-${index}.begun`)) === null)
      return { kind: 'lost', because: 'the step was never begun' };
    return null;
  }

  async #recordedExit(index: number): Promise<number | null> {
    const { nonce, keeper } = this.#of;
    return recordedExit(await this.#readText(`step-${index}.exit`), stepMarks(nonce, index, keeper), keeper);
  }

  async #endOf(index: number, exitCode: number): Promise<StepEnd> {
    // A step that ends well is never marked as killed, so only others are worth the question.
    const killed = exitCode === 0 && !this.#killed.has(index) ? null : await this.#killedBecause(index);
    if (killed !== null) return { kind: 'killed', because: killed };
    if (exitCode !== 137) return { kind: 'exited', exitCode };
    return (await this.#wasOutOfMemory())
      ? { kind: 'exited', exitCode, because: outOfMemory(this.#of.memoryBytes) }
      : { kind: 'exited', exitCode };
  }

  async #wasOutOfMemory(): Promise<boolean> {
    const state = await this.#state().catch(() => null);
    return state !== null && (state.OOMKilled || (this.#cgroup(state.Pid) !== null && killedForMemory(state.Pid)));
  }

  async #killedBecause(index: number): Promise<string | null> {
    return this.#killed.get(index) ?? (await this.#readText(`step-${index}.killed`))?.trim() ?? null;
  }

  async #end(graceMs: number, because: string): Promise<void> {
    const index = this.#current;
    let isAway = false;
    const state = await this.#state(false).catch((cause: unknown) => {
      // Nobody can ask it: what there is of the group is ended without it.
      isAway = isEngineAway(cause);
      if (isAway) return null;
      throw cause;
    });
    if (state !== null && !state.Running) return;
    const path = state === null ? this.#group : this.#cgroup(state.Pid);
    const isFrozen = state?.Paused || (path !== null && isCgroupFrozen(path));
    const said = index === null || state === null ? null : await this.#recordedExit(index).catch(() => null);
    const isOpen = index !== null && said === null && this.#live.exitCode(index) === null;
    if (isOpen) this.#killed.set(index, because);
    if (isAway && (await killGroup(path))) return this.#endAlone(because);
    if (state === null || (isFrozen && graceMs === 0)) return killContainer(this.#container, path);
    await this.thaw();
    const file = `${this.#of.controlDir}/step-${index}.killed`;
    const record = isOpen ? `echo ${quote(because)} >${quote(file)}` : '';
    const isDone = await endPolitely(this.#container, this.#of.controlDir, graceMs, record);
    if (!isDone || (isOpen && !(await this.#hasSaidEnd(index)))) await killContainer(this.#container, path);
  }

  /** The container's sh may be the job's own and say anything; the keeper's word for the step's end it cannot know. */
  async #hasSaidEnd(index: number): Promise<boolean> {
    const until = performance.now() + endSaidMs;
    for (;;) {
      if (this.#live.exitCode(index) !== null) return true;
      if ((await this.#recordedExit(index).catch(() => null)) !== null) return true;
      if (performance.now() >= until) return false;
      await sleep(50);
    }
  }

  async *#recorded(index: number, offset: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    // The record of a living container does not end by itself, and a full one has no end of the step.
    const over = new AbortController();
    const end = (): void => over.abort();
    this.ended(index).then(end, () => undefined);
    const { nonce, keeper, controlDir } = this.#of;
    const asks = { isOver: () => over.signal.aborted, isFrozen: () => this.#freezing.isByFile };
    const step = { index, marks: stepMarks(nonce, index, keeper) };
    yield* recordedOutput({ container: this.#container, path: `${controlDir}/output`, step, offset, asks, signal });
  }

  get #live(): LiveOutput {
    return this.#stream.live;
  }

  /** Null when the container is gone. Waits for an engine that is away, by default as long as for an agent. */
  async #state(isWaited = true): Promise<Docker.ContainerInspectInfo['State'] | null> {
    try {
      const look = () => this.#container.inspect();
      const { State } = await (isWaited ? whileAway(look) : withLimit(look(), soonMs));
      this.#group ??= this.#cgroup(State.Pid);
      return State;
    } catch (cause) {
      if (statusOf(cause) === 404) return null;
      throw new AutogitError('executor-failed', `the engine does not answer for run ${this.#of.run}`, { cause });
    }
  }

  #cgroup(pid: number): string | null {
    return groupOfContainer(this.#of.containerId, pid);
  }

  #groupsBeside(): string[] {
    return this.services?.groups(ownGroup(this.#of, this.#group)) ?? [];
  }

  /** A small file of the control folder; null when it is not there. */
  #readText(name: string): Promise<string | null> {
    return this.#files.text(`${this.#of.controlDir}/${name}`);
  }
}
