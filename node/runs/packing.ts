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
          feeds.set(message.id, new Feed(message.id, read, (answer) => send(worker, answer)));
        } else if (message.kind === 'pull') feeds.get(message.id)?.pull();
        else feeds.get(message.id)?.close();
      });
    });
  } finally {
    signal.removeEventListener('abort', end);
    for (const feed of feeds.values()) feed.close();
    await worker.terminate();
  }
}

/** A chunk goes over whole. Of one that is part of a buffer only that part, which is copied: else all of the buffer would be, for each part. */
function send(worker: Worker, { chunk, ...answer }: ToThread): void {
  const isWhole = chunk !== null && chunk.buffer instanceof ArrayBuffer && chunk.length === chunk.buffer.byteLength;
  const own = chunk === null || isWhole ? chunk : new Uint8Array(chunk);
  worker.postMessage({ ...answer, chunk: own } satisfies ToThread, own === null ? [] : [own.buffer as ArrayBuffer]);
}

/** A message between two threads costs the same whatever is in it, and few files lie whole in the engine's 32 KiB. */
const gatheredBytes = 256 << 10;

/** So much at once as there is, up to the end; null: nothing more comes. */
async function gathered(chunks: AsyncIterator<Uint8Array>): Promise<Uint8Array | null> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  while (bytes < gatheredBytes) {
    const next = await chunks.next();
    if (next.done) break;
    parts.push(next.value);
    bytes += next.value.length;
  }
  if (parts.length < 2) return parts[0] ?? null;
  const all = Buffer.allocUnsafeSlow(bytes);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** One stream on its way into the thread, a chunk a pull. */
class Feed {
  readonly #id: number;
  readonly #read: Promise<TreeRead>;
  readonly #send: (answer: ToThread) => void;
  #chunks: Promise<AsyncIterator<Uint8Array>>;
  #turn: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(id: number, read: Promise<TreeRead>, send: (answer: ToThread) => void) {
    this.#id = id;
    this.#read = read;
    this.#send = send;
    this.#chunks = read.then(({ bytes }) => bytes[Symbol.asyncIterator]());
    this.#chunks.catch(() => undefined);
  }

  pull(): void {
    this.#turn = this.#turn.then(async () => {
      if (this.#isClosed) return;
      const answer: ToThread = { id: this.#id, chunk: null, error: null, complaint: '' };
      try {
        answer.chunk = await gathered(await this.#chunks);
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

  close(): void {
    this.#isClosed = true;
    // Not in turn: what hangs in a read is ended by this.
    void this.#read.then((read) => read.close()).catch(() => undefined);
  }
}
