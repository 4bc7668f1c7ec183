import type Docker from 'dockerode';
import { AutogitError } from '../../protocol/errors.ts';
import { isEngineAway, isSilent, whileAway, withLimit } from './docker-engine.ts';
import { freezeCgroup, groupOfContainer, isCgroupFrozen, thawIfFrozen, waitFrozen } from './run-cgroup.ts';

/** A run that may not go on must stand still soon: an engine that does not answer is passed by. */
const pauseMs = 2_000;
/** It is not there, or does not run: Docker's numbers, and Podman's words. */
const isGone = (error: unknown): boolean =>
  [404, 409].includes((error as { statusCode?: number }).statusCode ?? 0) ||
  /can't pause: container state improper/.test((error as Error).message);

interface FreezingPlace {
  container: Docker.Container;
  /** Its control group on this machine, as far as it is known. */
  group(): string | null;
  /** Null when it is gone. Throws when the engine is away. */
  state(): Promise<{ Paused: boolean; Pid: number } | null>;
}

/** Makes a container stand still and go on, by the engine, or without it by the files of its control group. */
export class DockerFreezing {
  readonly #place: FreezingPlace;
  #isWanted = false;
  /** The engine was asked to pause it and has not said whether it did: it may do so when it goes on. */
  #openPause: Promise<unknown> | null = null;

  constructor(place: FreezingPlace) {
    this.#place = place;
  }

  /** By the files of its group, of which the engine does not know. */
  get isByFile(): boolean {
    const group = this.#place.group();
    return group !== null && isCgroupFrozen(group);
  }

  /** It is to stand still, as far as this agent says. */
  get isHeld(): boolean {
    return this.#isWanted;
  }

  /** For what was started, or is started again, while it was to stand still. */
  async freezeAgain(): Promise<void> {
    if (this.#isWanted) await this.freeze();
  }

  async freeze(): Promise<void> {
    this.#isWanted = true;
    if (this.isByFile) return;
    const pausing = this.#place.container.pause();
    try {
      await withLimit(pausing, pauseMs);
    } catch (cause) {
      if (isSilent(cause)) this.#openPause = pausing;
      // 409: paused already, or not running: then nothing goes on either way. Frozen meanwhile, by the watchdog: likewise.
      if (isGone(cause) || this.isByFile) return;
      const group = isEngineAway(cause) ? this.#place.group() : null;
      if (group === null) throw new AutogitError('executor-failed', 'cannot freeze the run', { cause });
      freezeCgroup(group);
      await waitFrozen(group, 2000);
    }
  }

  async thaw(): Promise<void> {
    this.#isWanted = false;
    const { container, group } = this.#place;
    const state = await this.#place.state().catch((cause: unknown) => {
      if (!isEngineAway(cause) || group() === null) throw cause;
      return null;
    });
    if (state?.Paused) await withLimit(container.unpause(), pauseMs).catch(() => undefined);
    // What the watchdog froze by the group's files the engine does not know of.
    thawIfFrozen(state === null ? group() : groupOfContainer(container.id, state.Pid));
    if (this.#openPause) void this.#undoLatePause(this.#openPause);
  }

  /** What the engine was asked for while it was silent it may do now, to a run that goes on by then. */
  async #undoLatePause(pausing: Promise<unknown>): Promise<void> {
    this.#openPause = null;
    const { container } = this.#place;
    const undo = async (): Promise<void> => {
      const { Paused } = (await container.inspect()).State;
      if (Paused && !this.#isWanted) await container.unpause();
    };
    // A look before the engine has answered may be answered before the pause is done.
    await pausing.catch(() => undefined);
    await whileAway(undo, { limitMs: Number.POSITIVE_INFINITY }).catch(() => undefined);
  }
}
