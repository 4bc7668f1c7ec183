import { statfs } from 'node:fs/promises';
import type Docker from 'dockerode';
import { diskOf } from '../disk-use.ts';
import { InTurn } from '../in-turn.ts';
import type { Log } from '../log.ts';
import { showBytes, showDuration } from '../settings/quantities.ts';
import { withLimit } from './docker-engine.ts';
import { ImageRecords } from './image-records.ts';
import { SilentRegistries } from './silent-registries.ts';

export interface ImageOptions {
  /** Where is kept what jobs pulled; null: nowhere, so nothing of it is ever removed. */
  home: string | null;
  docker(): Promise<Docker>;
  /** The engine's disk is one of this machine's. */
  isLocal: boolean;
  /** With less free on the engine's disk, in percent, what jobs pulled is removed; 0: never for that. */
  roomPercent: number;
  /** So long unused, it is removed; 0: never for that. */
  ageMs: number;
  log: Pick<Log, 'info' | 'warn'>;
  wallMs(): number;
}

const callMs = 10_000;
/** Between two looks after runs. */
const pauseMs = 30_000;
/** Layers of many GiB are removed while the engine's caller waits. */
const removeMs = 120_000;

interface ImageDisk {
  freeBytes: number;
  freePercent: number;
}

/** What jobs use all day is not pulled again for each of them, where a disk is always rather full. */
const inUseMs = 3_600_000;

/** Of room that is short: what nothing used for an hour goes; with a third of it left, everything. */
export const mustGo = (freePercent: number, roomPercent: number, idleMs: number): boolean =>
  freePercent < (idleMs >= inUseMs ? roomPercent : roomPercent / 3);

/** Images that jobs pulled: whose they are, who uses them now, and which of them go when room gets short. */
export class DockerImages {
  readonly records: ImageRecords;
  readonly silent = new SilentRegistries();
  readonly #options: ImageOptions;
  /** By run: images between the look at them and the container that is made of them. */
  readonly #held = new Map<string, Set<string>>();
  readonly #turn = new InTurn();
  #tidying: Promise<void> | null = null;
  #tidiedAt = Number.NEGATIVE_INFINITY;

  constructor(options: ImageOptions) {
    this.#options = options;
    this.records = new ImageRecords(options.home, options.log, options.wallMs);
  }

  /** A look at an image; what it finds stays until `release`. Never in the middle of a removal. */
  find<T extends { id: string }>(run: string, look: () => Promise<T | null>): Promise<T | null> {
    return this.#turn.do(async () => {
      const found = await look();
      if (found) this.#held.set(run, (this.#held.get(run) ?? new Set()).add(found.id));
      return found;
    });
  }

  /** The run's container stands, or will not. */
  release(run: string): void {
    for (const id of this.#held.get(run) ?? []) this.records.used(id);
    this.#held.delete(run);
  }

  /** All that the engine has now. */
  async ids(docker: Docker): Promise<Set<string>> {
    return new Set((await withLimit(docker.listImages({ all: true }), callMs)).map(({ Id }) => Id));
  }

  /** What the run has used may be what has to go. */
  tidyAfterRun(): void {
    if (performance.now() - this.#tidiedAt < pauseMs) return;
    this.tidy().catch((error: Error) => this.#options.log.warn(`looking at images failed: ${error.message}`));
  }

  /** Removes what jobs pulled: what nothing used for long, and as room on the engine's disk demands it. */
  tidy(): Promise<void> {
    this.#tidiedAt = performance.now();
    this.#tidying ??= this.#tidyNow().finally(() => {
      this.#tidying = null;
    });
    return this.#tidying;
  }

  async #tidyNow(): Promise<void> {
    if (this.records.isEmpty) return;
    const { ageMs, roomPercent, wallMs, log } = this.#options;
    const docker = await this.#options.docker();
    await this.records.forgetMissing(() => this.ids(docker));
    const before = await this.#disk(docker);
    const removed: string[] = [];
    const because = new Set<string>();
    for (const { id, names, usedAt } of this.records.removable()) {
      const disk = await this.#disk(docker);
      const idleMs = wallMs() - usedAt;
      const isOld = ageMs > 0 && idleMs > ageMs;
      if (!isOld && !(disk && mustGo(disk.freePercent, roomPercent, idleMs))) break;
      const size = await this.#remove(docker, id, names).catch(() => null);
      if (size === null) continue;
      removed.push(`${names[0] ?? id.slice(0, 19)} (${showBytes(size)})`);
      because.add(
        isOld
          ? `nothing used it for ${showDuration(idleMs)}`
          : `the engine's disk had ${Math.floor(before?.freePercent ?? 0)} % free, less than ${roomPercent} %`,
      );
    }
    if (removed.length === 0) return;
    const after = await this.#disk(docker);
    const back =
      before && after
        ? `; ${showBytes(Math.max(0, after.freeBytes - before.freeBytes))} came back, ${Math.floor(after.freePercent)} % is free now`
        : '';
    log.info(`removed images that jobs had pulled, since ${[...because].join(', and ')}: ${removed.join(', ')}${back}`);
  }

  /** Its size; null when somebody needs it. By its names, without force: the engine itself refuses what a container uses. */
  #remove(docker: Docker, id: string, names: readonly string[]): Promise<number | null> {
    return this.#turn.do(async () => {
      if ([...this.#held.values()].some((held) => held.has(id))) return null;
      const [containers, images] = await Promise.all([
        withLimit(docker.listContainers({ all: true }), callMs),
        withLimit(docker.listImages({ all: true }), callMs),
      ]);
      if (containers.some(({ ImageID }) => ImageID === id)) return null;
      const image = images.find(({ Id }) => Id === id);
      if (image === undefined) return null;
      const tags = (image.RepoTags ?? []).filter((tag) => tag !== '<none>:<none>');
      if (tags.some((tag) => !names.includes(tag)) || images.some(({ ParentId }) => ParentId === id)) {
        this.records.keep(id);
        return null;
      }
      for (const name of tags.length > 0 ? tags : [id])
        await withLimit(docker.getImage(name).remove({ force: false }), removeMs);
      return image.Size;
    });
  }

  async #disk(docker: Docker): Promise<ImageDisk | null> {
    if (!this.#options.isLocal || this.#options.roomPercent === 0) return null;
    try {
      const { DockerRootDir } = (await withLimit(docker.info(), callMs)) as { DockerRootDir: string };
      const { freeBytes, totalBytes } = diskOf(await statfs(DockerRootDir));
      return { freeBytes, freePercent: (freeBytes / totalBytes) * 100 };
    } catch {
      // An engine in a machine of its own (Docker Desktop), or one that is away: only age counts.
      return null;
    }
  }
}
