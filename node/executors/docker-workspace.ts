import { posix } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { extract } from 'tar-stream';
import { AutogitError } from '../../protocol/errors.ts';
import type { Clock } from '../clock.ts';
import type { Freezer, Step, StepEnd, TreeRead, Workspace } from '../ports.ts';
import { byteName } from './byte-names.ts';
import { ender } from './docker-container.ts';
import { DockerFiles } from './docker-files.ts';
import { FrameReader, StepSplitter } from './docker-log.ts';
import { readRecord } from './docker-record.ts';
import { isPathInside, type JobPaths, quote, stepScript } from './job-shell.ts';
import { LiveOutput } from './live-output.ts';
import { freezerOfProcess, isCgroupFrozen, thawIfFrozen } from './run-cgroup.ts';
import { type PackedFile, packFiles, plainName, renameTar } from './tar-names.ts';

export interface DockerRun {
  docker: Docker;
  containerId: string;
  name: string;
  run: string;
  nonce: string;
  paths: JobPaths;
  /** Where step scripts, exit codes and the environment lie in the container. */
  controlDir: string;
  user: { uid: number; gid: number };
  /** Folders, environment and file variables: they travel with the first step's script. */
  firstFiles: PackedFile[];
  clock: Clock;
}

const statusOf = (error: unknown): number | undefined => (error as { statusCode?: number }).statusCode;
const isGone = (error: unknown): boolean => statusOf(error) === 404 || statusOf(error) === 409;
const killGraceMs = 10_000;
/** After an adoption: a step whose script is there but which process 1 has not begun within this was never begun. */
const beginMs = 3000;

/**
 * A run as one container. Its keeper (see docker-container.ts) runs the steps, so they need no agent; their output and
 * exit codes are files in the container. An agent that began a step follows the attached stream, which costs nothing; one
 * that came later, or reads too slowly, reads the file.
 */
export class DockerWorkspace implements Workspace {
  readonly handle: string;
  readonly projectDir: string;
  readonly #of: DockerRun;
  readonly #container: Docker.Container;
  readonly #files: DockerFiles;
  #stream: NodeJS.ReadWriteStream | null = null;
  #live = new LiveOutput();
  #group: string | null = null;
  readonly #ends = new Map<number, Promise<StepEnd>>();
  readonly #killed = new Map<number, string>();
  readonly #timers = new Map<number, NodeJS.Timeout>();
  /** The step that was begun last. */
  #current: number | null = null;

  constructor(run: DockerRun) {
    this.#of = run;
    this.handle = run.name;
    this.projectDir = run.paths.projectDir;
    this.#container = run.docker.getContainer(run.containerId);
    this.#files = new DockerFiles(this.#container, run.run);
  }

  /** Follows the container's output from now on, and opens its input. */
  async attach(): Promise<void> {
    const stream = await this.#container.attach({ stream: true, stdin: true, stdout: true, hijack: true });
    const frames = new FrameReader();
    const splitter = new StepSplitter(this.#of.nonce);
    const live = new LiveOutput();
    this.#live = live;
    this.#stream = stream;
    stream.on('data', (chunk: Buffer) => {
      for (const payload of frames.push(chunk)) live.add(splitter.push(payload));
    });
    const close = (): void => {
      live.add(splitter.flush());
      live.close();
      if (this.#stream === stream) this.#stream = null;
    };
    for (const event of ['end', 'close', 'error']) stream.once(event, close);
  }

  async putTar(path: string, tar: NodeJS.ReadableStream): Promise<void> {
    const target = this.#inside(path);
    const owned = plainName(this.#of.paths.buildsDir);
    const renamed = renameTar(tar, (name) => plainName(`${byteName(target)}/${name}`), { ...this.#of.user, owned });
    await this.#files.put(renamed, target);
  }

  async getTar(path: string): Promise<NodeJS.ReadableStream | null> {
    const target = this.#inside(path);
    return this.#files.getBelow(target, path.startsWith('/') ? '/' : this.projectDir);
  }

  async listFiles(paths: string[]): Promise<TreeRead> {
    for (const path of paths) this.#inside(path);
    return this.#files.list(this.projectDir, paths);
  }

  async readFiles(names: Uint8Array, paths: string[]): Promise<TreeRead> {
    return this.#files.read(this.projectDir, names, paths, this.#of.controlDir);
  }

  async start(step: Step, index: number): Promise<void> {
    const { paths, controlDir, clock, run, user } = this.#of;
    if (this.#ends.has(index) || (await this.#readText(`step-${index}.sh`)) !== null)
      throw new AutogitError('executor-failed', `step ${index} of run ${run} was begun before`);
    const timeoutMs = step.timeoutMs !== null && step.timeoutMs > 0 ? step.timeoutMs : 0;
    const begunMs = clock.bootMs();
    const script = `# begun ${begunMs} ${timeoutMs}\n${stepScript(step, paths, `${controlDir}/environment.sh`)}`;
    const name = plainName(`${controlDir}/step-${index}.sh`);
    const first = this.#current === null ? this.#of.firstFiles : [];
    await this.#files.put(packFiles([...first, { name, mode: 0o600, content: script, ...user }]), controlDir);
    if (this.#stream === null) await this.attach();
    this.#current = index;
    this.#live.expect(index);
    (this.#stream as NodeJS.ReadWriteStream | null)?.write(`\n${index}\n`);
    this.watchTimeout(index, begunMs, timeoutMs);
  }

  async *output(index: number, offset: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    let at = offset;
    while (!signal.aborted) {
      const live = this.#live;
      const held = live.from(index, at);
      if (held === null || (live.isClosed && !held.isEnd && held.chunks.length === 0)) {
        yield* this.#recorded(index, at, signal);
        return;
      }
      for (const chunk of held.chunks) {
        at += chunk.length;
        yield chunk;
      }
      if (held.chunks.length > 0) continue;
      if (held.isEnd) return;
      await live.news(signal);
    }
  }

  ended(index: number): Promise<StepEnd> {
    const known = this.#ends.get(index);
    if (known) return known;
    const end = this.#waitEnd(index).then((found) => {
      clearTimeout(this.#timers.get(index));
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
    try {
      await this.#container.pause();
    } catch (cause) {
      // 409: paused already, or not running: then nothing goes on either way.
      if (!isGone(cause)) throw new AutogitError('executor-failed', `cannot freeze run ${this.#of.run}`, { cause });
    }
  }

  async thaw(): Promise<void> {
    const state = await this.#state();
    if (state?.Paused) await this.#container.unpause().catch(() => undefined);
    // What the watchdog froze by the group's files the engine does not know of.
    thawIfFrozen(this.#cgroup(state?.Pid ?? 0));
  }

  async freezer(): Promise<Freezer | null> {
    // Asked at every beat; the group of a running container stays the same.
    this.#group ??= this.#cgroup((await this.#state())?.Pid ?? 0);
    return this.#group === null ? null : { kind: 'cgroup', path: this.#group };
  }

  async remove(): Promise<void> {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    const path = this.#cgroup((await this.#state())?.Pid ?? 0);
    const removing = removeContainer(this.#container);
    // Frozen by the watchdog: it takes its SIGKILL only when thawed, and dies before it does anything else.
    if (path !== null && isCgroupFrozen(path)) {
      await sleep(50);
      thawIfFrozen(path);
    }
    await removing;
    (this.#stream as unknown as { destroy?: () => void } | null)?.destroy?.();
    this.#live.close();
  }

  /** Finds the limits of steps that were begun before a restart. */
  async resumeTimeouts(): Promise<void> {
    for (let index = 0; ; index++) {
      const script = await this.#readText(`step-${index}.sh`);
      if (script === null) return;
      const said = /^# begun (\d{1,15}) (\d{1,15})\n/.exec(script);
      this.#current = index;
      if (said && (await this.#readText(`step-${index}.exit`)) === null)
        this.watchTimeout(index, Number(said[1]), Number(said[2]));
    }
  }

  watchTimeout(index: number, begunMs: number, timeoutMs: number): void {
    if (timeoutMs === 0) return;
    const { clock } = this.#of;
    const left = Math.max(0, begunMs + timeoutMs - clock.bootMs());
    const timer = setTimeout(
      () => {
        if (clock.bootMs() < begunMs + timeoutMs) return this.watchTimeout(index, begunMs, timeoutMs);
        if (this.#live.exitCode(index) !== null) return;
        const because = `it ran longer than its limit of ${Math.round(timeoutMs / 1000)} s`;
        this.#end(killGraceMs, because).catch(() => {});
      },
      // Timers stand still in suspend, boot time does not: look again at least hourly.
      Math.min(left, 3_600_000),
    );
    timer.unref();
    this.#timers.set(index, timer);
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
      const state = await this.#state();
      // The state was looked at first, so an exit code that is missing now will never come when it is not running.
      const code = await this.#readText(`step-${index}.exit`);
      if (code !== null && /^\d+\s*$/.test(code)) return this.#endOf(index, Number(code));
      if (this.#live.exitCode(index) !== null) return this.#endOf(index, this.#live.exitCode(index) as number);
      if (!state?.Running) {
        const killed = await this.#killedBecause(index);
        if (killed !== null) return { kind: 'killed', because: killed };
        return { kind: 'lost', because: state ? stopped(state) : 'its container is gone' };
      }
      if (
        this.#live.from(index, 0) === null &&
        this.#of.clock.bootMs() - since > beginMs &&
        (await this.#readText(`step-${index}.begun`)) === null
      )
        return { kind: 'lost', because: 'the step was never begun' };
      await sleep(waitMs);
    }
  }

  async #endOf(index: number, exitCode: number): Promise<StepEnd> {
    // A step that ends well is never marked as killed, so only others are worth the question.
    const killed = exitCode === 0 && !this.#killed.has(index) ? null : await this.#killedBecause(index);
    return killed === null ? { kind: 'exited', exitCode } : { kind: 'killed', because: killed };
  }

  async #killedBecause(index: number): Promise<string | null> {
    return this.#killed.get(index) ?? (await this.#readText(`step-${index}.killed`))?.trim() ?? null;
  }

  async #end(graceMs: number, because: string): Promise<void> {
    const index = this.#current;
    const state = await this.#state();
    if (!state?.Running) return;
    const path = this.#cgroup(state.Pid);
    const isFrozen = state.Paused || (path !== null && isCgroupFrozen(path));
    const isOpen = index !== null && (await this.#readText(`step-${index}.exit`)) === null;
    if (isOpen) this.#killed.set(index, because);
    if (isFrozen && graceMs === 0) return this.#killFrozen(path);
    await this.thaw();
    const file = `${this.#of.controlDir}/step-${index}.killed`;
    const record = isOpen ? `echo ${quote(because)} >${quote(file)}` : '';
    const said = await this.#exec(ender(this.#of.controlDir, graceMs, record));
    if (!said.includes('left 0')) await this.#container.kill().catch(() => undefined);
  }

  /** A frozen run may be no longer ours: it must not do one more thing, so the whole container dies as it is. */
  async #killFrozen(path: string | null): Promise<void> {
    const killing = this.#container.kill().catch(() => undefined);
    await sleep(50);
    thawIfFrozen(path);
    await killing;
    for (let tries = 0; tries < 100 && (await this.#state())?.Running; tries++) await sleep(50);
  }

  /** Runs a script as root of the container; gives what it prints. */
  async #exec(script: string): Promise<string> {
    try {
      const exec = await this.#container.exec({ Cmd: ['sh', '-c', script], User: '0', AttachStdout: true });
      const frames = new FrameReader();
      let text = '';
      for await (const chunk of (await exec.start({})) as unknown as Readable)
        for (const payload of frames.push(chunk as Buffer)) if (text.length < 4096) text += payload.toString('latin1');
      return text;
    } catch (cause) {
      if (isGone(cause)) return '';
      throw new AutogitError('executor-failed', `cannot signal run ${this.#of.run}`, { cause });
    }
  }

  async *#recorded(index: number, offset: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    // Of a step that never begins nothing comes, and the record of a living container does not end by itself.
    let isLost = false;
    const lost = this.ended(index).then((end) => {
      isLost = end.kind === 'lost';
    });
    lost.catch(() => {});
    const splitter = new StepSplitter(this.#of.nonce);
    const path = `${this.#of.controlDir}/output`;
    let skip = offset;
    for await (const chunk of readRecord(this.#container, path, () => isLost, signal)) {
      for (const piece of splitter.push(chunk)) {
        if (piece.index !== index) continue;
        if (piece.kind === 'end') return;
        if (piece.kind === 'begin') continue;
        if (piece.bytes.length > skip) yield piece.bytes.subarray(skip);
        skip = Math.max(0, skip - piece.bytes.length);
      }
    }
  }

  async #state(): Promise<Docker.ContainerInspectInfo['State'] | null> {
    try {
      return (await this.#container.inspect()).State;
    } catch (cause) {
      if (statusOf(cause) === 404) return null;
      throw new AutogitError('executor-failed', `the engine does not answer for run ${this.#of.run}`, { cause });
    }
  }

  /** The folder of its control group on this machine; null for an engine elsewhere. */
  #cgroup(pid: number): string | null {
    const path = pid > 0 ? freezerOfProcess(pid) : null;
    return path?.includes(this.#of.containerId) ? path : null;
  }

  /** A small file of the control folder; null when it is not there. */
  async #readText(name: string): Promise<string | null> {
    const stream = await this.#files.get(`${this.#of.controlDir}/${name}`);
    if (stream === null) return null;
    const reader = extract();
    stream.pipe(reader);
    let text = '';
    for await (const entry of reader) for await (const chunk of entry) if (text.length < 4096) text += String(chunk);
    return text;
  }

  #inside(path: string): string {
    if (!isPathInside(path)) throw new AutogitError('executor-failed', `the path ${path} leaves the job's tree`);
    return posix.resolve(this.projectDir, path);
  }
}

const stopped = (state: { OOMKilled: boolean; ExitCode: number }): string =>
  state.OOMKilled
    ? 'its container was stopped: out of memory'
    : `its container was stopped (exit code ${state.ExitCode}); someone else ended it, or the engine restarted`;

/** With its volumes. Waits for a removal that is already under way. */
export async function removeContainer(container: Docker.Container): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    try {
      await container.remove({ force: true, v: true });
      return;
    } catch (cause) {
      if (statusOf(cause) === 404) return;
      if (statusOf(cause) !== 409)
        throw new AutogitError('executor-failed', `cannot remove container ${container.id}`, { cause });
      await sleep(100);
    }
  }
  throw new AutogitError('executor-failed', `container ${container.id} is not removed after 10 s`);
}
