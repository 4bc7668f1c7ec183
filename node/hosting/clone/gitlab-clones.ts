import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import type { HostedGitlab } from '../../../protocol/ledger-gitlab.ts';
import { shown } from '../../foreign-text.ts';
import { type Log, redact } from '../../log.ts';
import { memory } from '../../machine/memory.ts';
import { showBytes } from '../../settings/quantities.ts';
import type { DataPlace } from '../data-place.ts';
import { lookInside } from '../gitlab-inside.ts';
import { treeOf } from '../place-tree.ts';
import { presets } from '../presets.ts';
import type { ServiceHost } from '../service-host.ts';
import { type SystemTools, systemTools } from '../system-tools.ts';
import type { ServesLater } from './clone-container.ts';
import type { CloneEngine } from './clone-engine.ts';
import { type CloneFolders, type CloneSource, cloneFolder, dropCloneTree, makeCloneTree } from './clone-tree.ts';

export interface CloneWish {
  mesh: string;
  data: string;
  /** In a word, for sentences and for who looks at the engine: `drill`, `rehearsal`. */
  purpose: string;
  /** Open; of any role. */
  place: Pick<DataPlace, 'kind' | 'path' | 'makeRoom' | 'withPrograms'>;
  /** Read-only snapshots of one instant in that place: `live` (config and data in it) and `bulk`. They are never written to. */
  source: CloneSource;
  /** As people name it. It is here: nothing is pulled. */
  image: string;
  preset: HostedGitlab['preset'];
  url: string;
  /** What the clone will write, at most: a boot writes some hundred megabytes, an upgrade of a large database as much as that. */
  roomBytes: number;
  /** It gets what people and jobs leave of cores and disk. */
  isPolite: boolean;
  /** It may serve one day (beside/): as GitLab's own container, with that folder of hooks; absent: it never does. */
  serves?: ServesLater & { hooks: string };
}

interface CloneHow {
  /** Ends it, whatever it is at. */
  signal: AbortSignal;
  say?(phase: string): void;
}

interface ExecEnd {
  code: number;
  /** Both of its streams, at most 1 MiB. */
  out: string;
}

/** A GitLab that nobody can reach, on data that nobody else has. All calls throw `CloneEnded` once it was ended. */
export interface GitlabClone {
  readonly id: string;
  readonly folders: CloneFolders;
  /** As root inside; no secret among `argv`. Throws `timed-out`, `no-docker`, `executor-failed`. */
  exec(argv: readonly string[], how: { input?: string; timeoutMs: number }): Promise<ExecEnd>;
  /** Null when its pages, API and own readiness answer; else what does not, in words. */
  works(): Promise<string | null>;
  /** How long that took, in ms. Throws `clone` when it ends before, or `limitMs` are over, with its last words. */
  untilItWorks(limitMs: number): Promise<number>;
  /** It is about to serve: whoever sweeps clones leaves it, and only `end` ends it. */
  keep(): void;
  /** It serves: its data lie elsewhere by now, and what is left of its folder goes. It is no clone any more, and never ended as one. */
  taken(): Promise<void>;
  /** Container and snapshots are gone when it returns. Never throws: what does not go is swept by the next one, and said. */
  end(): Promise<void>;
}

interface ClonesOptions {
  /** This node. */
  self: string;
  host: Pick<ServiceHost, 'image' | 'exec' | 'look' | 'lastWords' | 'kill' | 'remove'>;
  engine: CloneEngine;
  log: Pick<Log, 'info' | 'warn'>;
  tools?: SystemTools;
  availableBytes?(): Promise<number>;
}

const askMs = 1000;
/** What did not go, for want of an engine, is tried again so often. */
const againMs = 15_000;
/** What stays free for the machine itself beside a clone. */
const spareBytes = 512 << 20;

/** Somebody ended it: that says nothing of what was tried on it. */
export class CloneEnded extends AutogitError {
  constructor(purpose: string) {
    super('clone', `the clone was ended: ${purpose}`, {
      hint: 'it is made anew when it is wanted: autogit-node gitlab',
    });
  }
}

/** What must be free for a clone, in bytes. */
export const cloneMemory = (preset: HostedGitlab['preset']): number => presets[preset].leastMemoryBytes + spareBytes;

/** The clones of this machine: one at a time, and none of an agent that is gone. */
export class GitlabClones {
  readonly #options: ClonesOptions;
  readonly #tools: SystemTools;
  #current: RunningClone | null = null;
  #beginning: string | null = null;
  #again: NodeJS.Timeout | null = null;

  constructor(options: ClonesOptions) {
    this.#options = options;
    this.#tools = options.tools ?? systemTools;
  }

  /** What a clone is there for now; null where there is none. */
  get purpose(): string | null {
    return this.#beginning ?? this.#current?.purpose ?? null;
  }

  /** One that is about to serve holds its place's mount: that is not given back. */
  get isKept(): boolean {
    return this.#current?.isKept === true;
  }

  /**
   * Room is looked at first; what an earlier clone left is removed. Throws `clone` with what to do, `image-missing`, `data-place`,
   * `no-docker`; then nothing of it is left.
   */
  async start(wish: CloneWish, how: CloneHow): Promise<GitlabClone> {
    if (this.purpose !== null)
      throw refused(
        `a clone runs on this machine already: ${this.purpose}`,
        'wait until it is over: autogit-node gitlab',
      );
    this.#beginning = wish.purpose;
    const { place, purpose } = wish;
    const tree = treeOf(place);
    const say = how.say ?? (() => undefined);
    try {
      if (place.kind === 'folder')
        throw refused(`${place.path} is a plain folder, which takes no snapshots`, 'deploy GitLab as root, on btrfs');
      const imageId = await this.#imageId(wish, how.signal);
      await this.#refuseWithoutMemory(wish);
      say('removes what an earlier one left');
      await this.sweep(wish.mesh, place);
      await place.makeRoom(wish.roomBytes);
      how.signal.throwIfAborted();
      say('takes writable snapshots');
      const folders = await makeCloneTree(tree, wish.source, this.#tools, wish.serves?.hooks);
      how.signal.throwIfAborted();
      say('starts its container');
      const begin = (): Promise<string> =>
        this.#options.engine.begin({
          ...{ mesh: wish.mesh, host: this.#options.self, data: wish.data, purpose, imageId, folders },
          ...{ preset: presets[wish.preset], url: wish.url, isPolite: wish.isPolite },
          ...(wish.serves && { serves: wish.serves }),
        });
      // A container has for ever what its folders' mount allows as it begins.
      const id = await (wish.serves ? place.withPrograms(begin) : begin());
      const gone = async (isTaken: boolean): Promise<void> => {
        try {
          await (isTaken ? dropCloneTree(tree, this.#tools) : this.#clear(wish.mesh, place));
        } finally {
          if (this.#current === clone) this.#current = null;
        }
      };
      const clone = new RunningClone(id, wish, folders, { ...this.#options, signal: how.signal }, gone);
      this.#current = clone;
      if (how.signal.aborted) await clone.end();
      how.signal.throwIfAborted();
      return clone;
    } catch (error) {
      if (this.#current === null) await this.#clear(wish.mesh, place);
      if (how.signal.aborted) throw new CloneEnded(purpose);
      throw error;
    } finally {
      this.#beginning = null;
    }
  }

  /** Also later, where the engine is away now: a container that nobody wants any more holds as much memory as a GitLab. */
  async #clear(mesh: string, place: Pick<DataPlace, 'kind' | 'path'>, isAgain = false): Promise<void> {
    try {
      await this.sweep(mesh, place);
    } catch (error) {
      if (!isAgain)
        this.#options.log.warn(
          `what is left of a clone of GitLab does not go, and is tried again: ${sentenceOf(error)}`,
        );
      const again = (): void => {
        // Whichever began meanwhile has removed it before.
        if (this.purpose === null) void this.#clear(mesh, place, true);
      };
      clearTimeout(this.#again ?? undefined);
      this.#again = setTimeout(again, againMs).unref();
    }
  }

  /** What is left in that place, now or as soon as there is an engine: who has nothing there asks none. */
  async sweepLeft(mesh: string, place: Pick<DataPlace, 'kind' | 'path'>): Promise<void> {
    if (this.isKept) return;
    if (this.#current !== null) return this.#current.end();
    if (place.kind !== 'folder' && existsSync(cloneFolder(treeOf(place)))) await this.#clear(mesh, place);
  }

  /** Nothing of a clone is left on this machine, nor in that place. Throws `no-docker`. */
  async sweep(mesh: string, place: Pick<DataPlace, 'kind' | 'path'>): Promise<void> {
    const { engine, host, self, log } = this.#options;
    for (const { id, purpose } of await engine.find(mesh, self)) {
      if (this.#current?.id !== id) log.info(`a clone of GitLab that an earlier agent left is removed: ${purpose}`);
      await host.kill(id);
      await host.remove(id);
    }
    if (place.kind !== 'folder') await dropCloneTree(treeOf(place), this.#tools);
  }

  async #imageId({ image, purpose }: CloneWish, signal: AbortSignal): Promise<string> {
    const found = await this.#options.host.image(image, { pull: false, signal });
    if (found === null)
      throw new AutogitError('image-missing', `image ${image} is not on this machine, so no ${purpose} can be made`, {
        hint: `docker pull ${image}`,
      });
    return found.id;
  }

  async #refuseWithoutMemory({ preset, purpose }: CloneWish): Promise<void> {
    const { leastMemoryBytes } = presets[preset];
    const available = await (this.#options.availableBytes?.() ?? memory().then((now) => now.available));
    if (available < cloneMemory(preset))
      throw refused(
        `a ${purpose} needs ${showBytes(leastMemoryBytes)} of memory, and ${showBytes(spareBytes)} stay for the machine: ${showBytes(available)} are free`,
        'end what needs it, then again: free -h',
      );
  }
}

class RunningClone implements GitlabClone {
  readonly folders: CloneFolders;
  readonly purpose: string;
  readonly id: string;
  readonly #options: ClonesOptions & { signal: AbortSignal };
  readonly #gone: (isTaken: boolean) => Promise<void>;
  readonly #began = performance.now();
  #ending: Promise<void> | null = null;
  isKept = false;

  constructor(
    id: string,
    { purpose }: CloneWish,
    folders: CloneFolders,
    options: ClonesOptions & { signal: AbortSignal },
    gone: (isTaken: boolean) => Promise<void>,
  ) {
    this.id = id;
    this.purpose = purpose;
    this.folders = folders;
    this.#options = options;
    this.#gone = gone;
    options.signal.addEventListener('abort', () => void this.end(), { once: true });
  }

  async exec(argv: readonly string[], how: { input?: string; timeoutMs: number }): Promise<ExecEnd> {
    return this.#alive(this.#options.host.exec(this.id, argv, how));
  }

  async works(): Promise<string | null> {
    return (await this.#alive(lookInside(this.#options.host, this.id))).problem;
  }

  async untilItWorks(limitMs: number): Promise<number> {
    const { host } = this.#options;
    for (let problem: string | null = 'it has not answered yet'; ; ) {
      const look = await this.#alive(host.look(this.id));
      const passed = performance.now() - this.#began;
      if (look?.isRunning !== true || passed > limitMs) {
        const how = look?.isRunning ? `does not work after ${Math.round(passed / 1000)} s: ${problem}` : 'has ended';
        const said = redact(shown((await host.lastWords(this.id, 5)).trim().split('\n').at(-1) ?? ''));
        throw new AutogitError(
          'clone',
          `GitLab on the clone ${how}${said === '' ? '' : `; its last words: "${said.slice(0, 300)}"`}`,
        );
      }
      problem = await this.works().catch((error: unknown) => {
        if (this.#ending !== null) throw error;
        return sentenceOf(error);
      });
      if (problem === null) return performance.now() - this.#began;
      await sleep(askMs, undefined, { signal: this.#options.signal }).catch(() => undefined);
    }
  }

  keep(): void {
    this.isKept = true;
  }

  taken(): Promise<void> {
    this.#ending ??= this.#gone(true);
    return this.#ending;
  }

  end(): Promise<void> {
    this.#ending ??= this.#gone(false);
    return this.#ending;
  }

  /** What fails because it was ended fails for that reason. */
  async #alive<T>(act: Promise<T>): Promise<T> {
    try {
      const done = await act;
      if (this.#ending === null) return done;
    } catch (error) {
      if (this.#ending === null) throw error;
    }
    throw new CloneEnded(this.purpose);
  }
}

const refused = (sentence: string, hint: string): AutogitError => new AutogitError('clone', sentence, { hint });
