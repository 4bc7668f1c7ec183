import type Docker from 'dockerode';
import { FrameReader, type KeeperVersion, StepSplitter, stepMarks } from './docker-log.ts';
import { LiveOutput } from './live-output.ts';

/**
 * A container's input and output as this agent holds them. The stream may end at any time (an engine's restart, a
 * container that stops): what came until then is kept, and the next step opens another one.
 */
export class ContainerStream {
  readonly #container: Docker.Container;
  #stream: (NodeJS.ReadWriteStream & { destroy?: () => void }) | null = null;
  #splitter = new StepSplitter();
  #live = new LiveOutput();

  constructor(container: Docker.Container) {
    this.#container = container;
  }

  /** Of the newest stream. */
  get live(): LiveOutput {
    return this.#live;
  }

  get isOpen(): boolean {
    return this.#stream !== null;
  }

  /** Follows the container's output from now on, and opens its input. */
  async open(): Promise<void> {
    const stream = await this.#container.attach({ stream: true, stdin: true, stdout: true, hijack: true });
    const frames = new FrameReader();
    const splitter = new StepSplitter();
    const live = new LiveOutput();
    this.#live = live;
    this.#splitter = splitter;
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
