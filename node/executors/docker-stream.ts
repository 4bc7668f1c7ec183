import type Docker from 'dockerode';
import { FrameReader, type KeeperVersion, StepSplitter, stepMarks } from './docker-log.ts';
import { LiveOutput } from './live-output.ts';

/** What is kept of the words before a container's first step. */
const earlyChars = 2000;

/** Reads within `windowMs` that are made at once; from there on small ones are `restMs` apart. */
const reads = { windowMs: 100, free: 16, restMs: 5, smallBytes: 16 << 10 };

/**
 * When a stream is read again. A program that prints a line at a time has each of them sent on by itself, and an agent that is quick
 * reads each by itself: all its time for little output. While it waits, the engine puts what comes together.
 */
class ReadPace {
  #from = Number.NEGATIVE_INFINITY;
  #count = 0;

  waitMs(bytes: number): number {
    const now = performance.now();
    if (now - this.#from > reads.windowMs) [this.#from, this.#count] = [now, 0];
    this.#count += 1;
    return this.#count > reads.free && bytes < reads.smallBytes ? reads.restMs : 0;
  }
}

/**
 * A container's input and output as this agent holds them. The stream may end at any time (an engine's restart, a
 * container that stops): what came until then is kept, and the next step opens another one.
 */
export class ContainerStream {
  readonly #container: Docker.Container;
  #stream: (NodeJS.ReadWriteStream & { destroy?: () => void }) | null = null;
  #splitter = new StepSplitter();
  #live = new LiveOutput();
  #early = '';

  constructor(container: Docker.Container) {
    this.#container = container;
  }

  /** Of the newest stream. */
  get live(): LiveOutput {
    return this.#live;
  }

  /** What came before its first step, errors too: the entrypoint's own words. Empty once a step has begun. */
  get early(): string {
    return this.#early;
  }

  get isOpen(): boolean {
    return this.#stream !== null;
  }

  /** Follows the container's output from now on, and opens its input. */
  async open(): Promise<void> {
    const stream = await this.#container.attach({
      ...{ stream: true, stdin: true, stdout: true, stderr: true },
      hijack: true,
    });
    const frames = new FrameReader();
    let early: FrameReader | null = new FrameReader([1, 2]);
    const splitter = new StepSplitter();
    const live = new LiveOutput();
    this.#live = live;
    this.#splitter = splitter;
    this.#stream = stream;
    const pace = new ReadPace();
    stream.on('data', (chunk: Buffer) => {
      const pieces = splitter.push(frames.joined(chunk));
      if (pieces.length > 0) early = null;
      this.#early = early === null ? '' : `${this.#early}${early.joined(chunk).toString()}`.slice(-earlyChars);
      live.add(pieces);
      // One chunk in a turn: a socket that is never empty is read 32 times in one otherwise, and no timer runs meanwhile.
      stream.pause();
      const waitMs = pace.waitMs(chunk.length);
      if (waitMs === 0) setImmediate(() => stream.resume());
      else setTimeout(() => stream.resume(), waitMs);
    });
    const close = (): void => {
      live.add(splitter.flush());
      live.close();
      if (this.#stream === stream) this.#stream = null;
    };
    for (const event of ['end', 'close', 'error']) stream.once(event, close);
  }

  /** Tells the keeper to begin a step, whose output is expected from here on. */
  begin(index: number, nonce: string, keeper: KeeperVersion): void {
    const marks = stepMarks(nonce, index, keeper);
    this.#splitter.expect(index, marks);
    this.#live.expect(index);
    const words = keeper === 1 ? '' : ` ${marks.begin} ${marks.end}`;
    this.#stream?.write(`\n${index}${words}\n`);
  }

  /** Lets an entrypoint go on that was held. */
  release(): void {
    this.#stream?.write('\n');
  }

  /** Ends the stream, when there is one; who reads from it hears that it has ended. */
  destroy(): void {
    this.#stream?.destroy?.();
  }
}
