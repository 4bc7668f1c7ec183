import { closeSync, constants, mkdirSync, openSync, rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { execCleanly } from '../clean-spawn.ts';
import { KeptReads } from '../executors/kept-reads.ts';
import type { Log } from '../log.ts';
import type { FilesBeside, TreeRead, Workspace } from '../ports.ts';
import { containerName, labels, volumeAt } from './docker-container.ts';
import { removeContainers } from './docker-removal.ts';
import { GitContainer } from './git-container.ts';
import { ensureGitImage } from './git-image.ts';
import { complaintOf, tarOfNames, usualCodes } from './tree-read.ts';

/** Where the pipes lie in the helper's container; what writes in a tree there cannot write here. */
const pipesFolder = '/pipes';
/** From the start of a script until both ends of its pipe are open: an engine in a virtual machine never comes. */
const openMs = 10_000;
/** The helper cannot do it: nothing has become of the tree. */
const cannot = 94;

/** As root of the volume, whatever the tree's own rights are; by GNU tar, whose ways are known. */
const preamble = `cd -P -- "$1" && [ "$PWD" = "$1" ] || exit ${cannot}
shift
tar --no-unquote -b 128 --version >/dev/null 2>&1 || exit ${cannot}`;
const putting = `${preamble}
exec tar -x -b 128 -f - <${pipesFolder}/in`;
/** A byte comes before the first name. What find cannot look at may be there in the job's container, which has more than this volume. */
const reading = `${preamble}
{ printf '\\0' && find "$@" -print0; } >${pipesFolder}/names || exit ${cannot}
exec <${pipesFolder}/in >${pipesFolder}/out
set -- .
${tarOfNames}`;

interface BesideOptions {
  node: string;
  /** Null: there is none. */
  home: string | null;
  isLocal: boolean;
  docker(): Promise<Docker>;
  log: Pick<Log, 'warn'>;
}

/** Whose tree it is about. */
interface TreeOf {
  run: string;
  container: Docker.Container;
  projectDir: string;
  user: { uid: number; gid: number };
  /** By the engine. */
  instead: Pick<Workspace, 'listFiles' | 'readFiles'>;
}

let counter = 0;

/**
 * A way in and out for many files that passes by the engine: tar and find of this machine in a container of their own, which has the volume that a job's
 * tree lies in, and named pipes of the agent. 256 MiB in 10,000 files cost 0.4 s of CPU so, and 1.0 by the engine's archive; out, 0.2 and 0.9. What a hostile
 * tree leads to is that container: its own root and the pipes' folder are read only, it has no network, and of rights those to any file.
 */
export class BesideStore {
  readonly #options: BesideOptions;
  /** The engine does not run where this agent does, or lacks what is needed. */
  #isUseless = false;
  /** With their runs. */
  readonly #open = new Map<FilesBeside, string>();

  constructor(options: BesideOptions) {
    this.#options = options;
  }

  get #folder(): string {
    return join(this.#options.home ?? '', 'pipes');
  }

  /** Of agents before this one. */
  sweep(): void {
    if (this.#options.home !== null) rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Those of a run, which have its volumes. */
  async end(run: string): Promise<void> {
    const open = [...this.#open].filter(([, of]) => of === run);
    await Promise.all(open.map(([begun]) => begun.close()));
  }

  /** What an agent that was killed had at work: its pipes ended with it. */
  async removeLeft(run: string): Promise<void> {
    const docker = await this.#options.docker();
    const label = [`${labels.node}=${this.#options.node}`, `${labels.run}=${run}`, `${labels.helper}=files`];
    const left = await docker.listContainers({ all: true, filters: { label } });
    await removeContainers(
      docker,
      left.map(({ Id }) => Id),
    );
  }

  /** Null: there is no such way here. */
  async begin(of: TreeOf): Promise<FilesBeside | null> {
    const { home, isLocal, node } = this.#options;
    if (home === null || !isLocal || this.#isUseless) return null;
    let folder: string | null = null;
    try {
      const found = await of.container.inspect();
      const volume = volumeOf(found, of.projectDir);
      if (volume === null) return null;
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      folder = await mkdtemp(join(this.#folder, 'p-'));
      await execCleanly('mkfifo', ['-m', '666', ...['in', 'names', 'out'].map((name) => join(folder as string, name))]);
      await execCleanly('chmod', ['755', folder]);
      const docker = await this.#options.docker();
      const { NanoCpus, CpuShares, PidsLimit } = found.HostConfig;
      const container = await GitContainer.begin({
        ...{ docker, image: await ensureGitImage(docker), user: { uid: 0, gid: 0 } },
        mounts: [
          volumeAt(volume.name, volume.at),
          { Type: 'bind', Source: folder, Target: pipesFolder, ReadOnly: true } as Docker.MountSettings,
        ],
        limits: { NanoCpus, CpuShares, PidsLimit },
        name: `${containerName(of.run)}-files-${++counter}`,
        labels: { [labels.node]: node, [labels.run]: of.run, [labels.helper]: 'files' },
      });
      const begun = new Beside(of, container, folder, (because) => this.#useless(because));
      this.#open.set(begun, of.run);
      void container.gone.then(() => this.#open.delete(begun));
      return begun;
    } catch (cause) {
      if (folder !== null) await rm(folder, { recursive: true, force: true });
      this.#useless(sentenceOf(cause));
      return null;
    }
  }

  #useless(because: string): void {
    this.#isUseless = true;
    this.#options.log.warn(`caches go by the engine's own archive, which takes longer: ${because}`);
  }
}

/** The volume that a project's folder lies in, and where; null where it is in none, or another mount is in the tree. */
function volumeOf(
  { Mounts }: Pick<Docker.ContainerInspectInfo, 'Mounts'>,
  projectDir: string,
): { name: string; at: string } | null {
  const holds = Mounts.filter(({ Destination }) => `${projectDir}/`.startsWith(`${Destination}/`));
  const [nearest] = holds.sort((a, b) => b.Destination.length - a.Destination.length);
  if (Mounts.some(({ Destination }) => Destination.startsWith(`${projectDir}/`))) return null;
  const { Type, Name, Destination } = nearest ?? {};
  return Type === 'volume' && Name && Destination ? { name: Name, at: Destination } : null;
}

/** Once in, or once out; what more is asked goes by the engine. Close it. */
class Beside implements FilesBeside {
  readonly #of: TreeOf;
  readonly #container: GitContainer;
  readonly #folder: string;
  readonly #isUseless: (because: string) => void;
  readonly #stop = new AbortController();
  /** Of what was begun. */
  #ended: Promise<{ code: number; said: string }> | null = null;
  #isOver = false;
  /** Names go in by it, once. */
  #input: Socket | null = null;

  constructor(of: TreeOf, container: GitContainer, folder: string, isUseless: (because: string) => void) {
    this.#of = of;
    this.#container = container;
    this.#folder = folder;
    this.#isUseless = isUseless;
  }

  /** Whatever is at work in it is ended. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#input?.destroy();
    await this.#container.remove();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** A tar's entries, as they are, below the project's folder. False: not all of it is there, as what lies in the way is not removed: it is for the engine. Throws executor-failed. */
  async put(tar: () => AsyncIterable<Uint8Array>): Promise<boolean> {
    const { uid, gid } = this.#of.user;
    // What the engine makes of each entry then is not made here.
    if (this.#ended !== null || uid !== 0 || gid !== 0) return false;
    const ended = this.#begin(putting, []);
    const into = await this.#opened(ended);
    if (into === null) return false;
    let broken: Error | null = null;
    // A tar that has ended takes no more, and says so to a write alone.
    void ended.then(() => into.destroy());
    const sent = async (): Promise<void> => {
      try {
        for await (const chunk of tar()) if (!(await taken(into, chunk))) return;
        into.end();
      } catch (error) {
        broken = error as Error;
        into.destroy();
      }
    };
    // What feeds it may hang: its end is not waited for.
    await Promise.race([sent(), ended]);
    const { code } = await ended;
    if (broken === null && !this.#stop.signal.aborted) return code === 0;
    const because = (broken as Error | null)?.message ?? 'ended';
    throw new AutogitError('executor-failed', `cannot put files into the tree of run ${this.#of.run}: ${because}`);
  }

  /** As `Workspace.listFiles`. */
  async list(paths: string[]): Promise<TreeRead> {
    if (this.#ended !== null) return this.#of.instead.listFiles(paths);
    const names = new PipeReader(join(this.#folder, 'names'));
    const ended = this.#begin(reading, paths);
    void ended.then(() => names.end());
    const late = setTimeout(() => names.destroy(), openMs);
    const { instead } = this.#of;
    const begun = async (hasCome: boolean): Promise<boolean> => {
      this.#input = hasCome ? await this.#opened(ended) : null;
      if (!hasCome && !this.#isOver) this.#isUseless(unreached);
      return this.#input !== null;
    };
    async function* bytes(): AsyncGenerator<Uint8Array> {
      let hasCome = false;
      try {
        for await (const chunk of names.bytes()) {
          clearTimeout(late);
          if (hasCome) yield chunk;
          else if (chunk.length > 1) yield chunk.subarray(1);
          hasCome = true;
        }
      } catch {
        // It was ended.
      } finally {
        clearTimeout(late);
      }
      // Some names come twice then.
      if (!(await begun(hasCome))) yield* (await instead.listFiles(paths)).bytes;
    }
    return { bytes: bytes(), complaint: async () => '', close: () => names.destroy() };
  }

  /** As `Workspace.readFiles`. */
  async read(wanted: Uint8Array, paths: string[]): Promise<TreeRead> {
    const input = this.#input;
    this.#input = null;
    if (input === null || this.#ended === null) return this.#of.instead.readFiles(wanted, paths);
    const ended = this.#ended;
    const out = new PipeReader(join(this.#folder, 'out'));
    const { run } = this.#of;
    // A tar that ends early does not take all of them; its end says why.
    input.end(wanted);
    void ended.then(() => out.end());
    const bytes = async function* (): AsyncGenerator<Uint8Array> {
      yield* out.bytes();
      const { code, said } = await ended;
      if (!usualCodes.has(code))
        throw new AutogitError(
          'executor-failed',
          `cannot read the files of run ${run} (${code}): ${complaintOf(said)}`,
        );
    };
    return {
      bytes: bytes(),
      complaint: async () => complaintOf((await ended).said),
      close: () => {
        out.destroy();
        input.destroy();
      },
    };
  }

  #begin(script: string, args: string[]): Promise<{ code: number; said: string }> {
    const { ended } = this.#container.run(script, [this.#of.projectDir, ...args], { LC_ALL: 'C' }, this.#stop.signal);
    this.#ended = ended.finally(() => {
      this.#isOver = true;
    });
    return this.#ended;
  }

  /** The pipe that leads in, when the script has come to it; null: it has ended before, or never came. */
  async #opened(ended: Promise<unknown>): Promise<Socket | null> {
    let isOver = false;
    void ended.finally(() => {
      isOver = true;
    });
    for (const until = performance.now() + openMs; performance.now() < until && !isOver; await sleep(2)) {
      try {
        const fd = openSync(join(this.#folder, 'in'), constants.O_WRONLY | constants.O_NONBLOCK);
        // Each write says how it went.
        return new Socket({ fd, readable: false, writable: true }).on('error', () => undefined);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error;
      }
    }
    if (!isOver) this.#isUseless(unreached);
    return null;
  }
}

/** False: it takes no more. */
const taken = (into: Socket, chunk: Uint8Array): Promise<boolean> =>
  new Promise((resolve) => into.write(chunk, (error) => resolve(!error)));

const unreached = 'a pipe of this machine is none in a container of its engine';

/** What comes by a named pipe. */
class PipeReader {
  readonly #path: string;
  readonly #socket: Socket;
  readonly #reads = new KeptReads();

  constructor(path: string) {
    this.#path = path;
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const { onread } = this.#reads;
    // Node's types know `onread` of connections alone.
    const options = { fd, readable: true, writable: false, onread } as ConstructorParameters<typeof Socket>[0];
    this.#socket = this.#reads.of(new Socket(options));
  }

  bytes(): AsyncGenerator<Uint8Array> {
    return this.#reads.bytes(new Uint8Array(0));
  }

  /** Nobody writes to it any more: where nobody ever did, its end would never come. */
  end(): void {
    try {
      closeSync(openSync(this.#path, constants.O_WRONLY | constants.O_NONBLOCK));
    } catch {
      // It was read to its end.
    }
  }

  destroy(): void {
    this.#socket.destroy();
  }
}
