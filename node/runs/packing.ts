import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { TreeRead, Workspace } from '../ports.ts';
import { type FileSource, type Packed, type PackRequest, packArtifact } from './artifact-pack.ts';
import type { FromThread, ToThread } from './pack-thread-messages.ts';
import { PackProblem } from './spool-file.ts';

declare const __PACK_THREAD__: string | undefined;
/** The thread's own program, as deploy/bundle.mjs built it; where the agent runs from its sources there is none. */
const program: string | null = typeof __PACK_THREAD__ === 'string' ? __PACK_THREAD__ : null;

/** The files of a job's place. */
export const sourceOf = (workspace: Workspace): FileSource => ({
  list: (roots) => workspace.listFiles(roots),
  read: (names, roots) => workspace.readFiles(names, roots),
});

/** Packs in a thread of its own; ends it, and everything that it reads, when the signal says so. */
export async function packAside(source: FileSource, request: PackRequest, signal: AbortSignal): Promise<Packed> {
  signal.throwIfAborted();
  if (program === null) return packArtifact(source, request);
  // What led here was a turn's work; to begin a thread is another's.
  await nextTurn();
  signal.throwIfAborted();
  const worker = new Worker(program, {
    eval: true,
    workerData: request,
    env: {},
    execArgv: [],
    // Chunks that were packed are freed when the young generation is full: a large one would let tens of MiB of them lie,
    // and packs no faster.
    resourceLimits: { maxOldGenerationSizeMb: 512, maxYoungGenerationSizeMb: 3 },
  });
  const feeds = new Map<number, Feed>();
  let end = (): void => undefined;
  try {
    return await new Promise<Packed>((resolve, reject) => {
      end = () => reject(signal.reason);
      signal.addEventListener('abort', end);
      worker.on('error', reject);
      worker.on('exit', () => reject(new Error('the thread that packs ended')));
      worker.on('message', (message: FromThread) => {
        if (message.kind === 'done') resolve(message.packed);
        else if (message.kind === 'failed')
          reject(
            message.problem === null ? new Error(message.message) : new PackProblem(message.message, message.problem),
          );
        else if (message.kind === 'open') {
          const { what, names, roots } = message;
          const read = what === 'list' ? source.list(roots) : source.read(names ?? new Uint8Array(0), roots);
          const send = (answer: ToThread) => worker.postMessage(answer, answer.chunk ? [answer.chunk.buffer] : []);
          feeds.set(message.id, new Feed(message.id, read, send));
        } else if (message.kind === 'pull') feeds.get(message.id)?.pull(message.buffer);
        else feeds.get(message.id)?.close();
      });
    });
  } finally {
    signal.removeEventListener('abort', end);
    for (const feed of feeds.values()) feed.close();
    await worker.terminate();
  }
}

/** Of a chunk. A message between two threads costs the same whatever is in it, and few files lie whole in the engine's 32 KiB. */
const chunkBytes = 256 << 10;

/**
 * One stream on its way into the thread, a chunk a pull. A chunk goes over with its memory, which comes back with a later pull: in memory
 * of its own each, tens of MiB of them would lie here and there before they are collected, however large the tree is.
 */
class Feed {
  readonly #id: number;
  readonly #read: Promise<TreeRead>;
  readonly #send: (answer: ToThread) => void;
  #chunks: Promise<AsyncIterator<Uint8Array>>;
  #turn: Promise<void> = Promise.resolve();
  /** Of the last chunk of the stream what has not gone over; its memory is the stream's again when the next one is asked for. */
  #rest: Uint8Array = new Uint8Array(0);
  #isClosed = false;

  constructor(id: number, read: Promise<TreeRead>, send: (answer: ToThread) => void) {
    this.#id = id;
    this.#read = read;
    this.#send = send;
    this.#chunks = read.then(({ bytes }) => bytes[Symbol.asyncIterator]());
    this.#chunks.catch(() => undefined);
  }

  /** `buffer`: that a chunk came in which the thread is done with. */
  pull(buffer: ArrayBuffer | null): void {
    this.#turn = this.#turn.then(async () => {
      if (this.#isClosed) return;
      const answer: ToThread = { id: this.#id, chunk: null, error: null, complaint: '' };
      try {
        answer.chunk = await this.#filled(buffer ?? new ArrayBuffer(chunkBytes));
        if (answer.chunk === null) {
          this.#isClosed = true;
          answer.complaint = await (await this.#read).complaint();
        }
      } catch (error) {
        this.#isClosed = true;
        answer.error = (error as Error).message;
      }
      this.#send(answer);
    });
  }

  /** So much at once as there is room for, up to the end; null: nothing more comes. */
  async #filled(buffer: ArrayBuffer): Promise<Uint8Array<ArrayBuffer> | null> {
    const chunks = await this.#chunks;
    const into = new Uint8Array(buffer);
    let bytes = 0;
    while (bytes < into.length) {
      if (this.#rest.length === 0) {
        const next = await chunks.next();
        if (next.done) break;
        this.#rest = next.value;
      }
      const part = this.#rest.subarray(0, into.length - bytes);
      into.set(part, bytes);
      bytes += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
    return bytes === 0 ? null : into.subarray(0, bytes);
  }

  close(): void {
    this.#isClosed = true;
    // Not in turn: what hangs in a read is ended by this.
    void this.#read.then((read) => read.close()).catch(() => undefined);
  }
}
