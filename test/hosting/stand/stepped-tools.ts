import { Transform } from 'node:stream';
import type { ReplicaTools } from '../../../node/hosting/replica/replica-ports.ts';
import { replicaTools } from '../../../node/hosting/replica/replica-tools.ts';

/** The real tools, with a place to stand between any two of their calls, and within a stream. */
export class SteppedTools implements ReplicaTools {
  /** Called before each step with its words; the step begins when it returns. */
  before: (step: string) => Promise<void> = async () => {};
  #isMarked = false;
  /** ms of each call, by its words. */
  readonly took = new Map<string, number[]>();
  /** Of the stream: how many bytes went through before this piece. */
  within: (bytes: number) => Promise<void> = async () => {};

  async run(file: string, args: readonly string[]): Promise<string> {
    const words = [file, ...args.filter((arg) => !arg.includes('/') && !arg.startsWith('-'))].join(' ');
    const step = words === 'sync' && this.#isMarked ? 'sync the marker' : words;
    if (words === 'sync') this.#isMarked = false;
    await this.before(step);
    return this.#timed(step, replicaTools.run(file, args));
  }

  read(file: string, args: readonly string[]) {
    return replicaTools.read(file, args);
  }

  async feed(...[file, args, stream]: Parameters<ReplicaTools['feed']>): Promise<void> {
    await this.before(`${file} ${args[0]}`);
    let bytes = 0;
    const held = new Transform({
      transform: (data: Buffer, _encoding, done) => {
        bytes += data.length;
        this.within(bytes).then(() => done(null, data), done);
      },
    });
    stream.on('error', (error) => held.destroy(error));
    return this.#timed(`${file} ${args[0]}`, replicaTools.feed(file, args, stream.pipe(held)));
  }

  async #timed<T>(step: string, done: Promise<T>): Promise<T> {
    const began = performance.now();
    const result = await done;
    this.took.set(step, [...(this.took.get(step) ?? []), performance.now() - began]);
    return result;
  }

  async write(path: string, text: string): Promise<void> {
    await this.before('write and fsync');
    return replicaTools.write(path, text);
  }

  async rename(from: string, to: string): Promise<void> {
    const isMarker = from.endsWith('.new');
    await this.before(isMarker ? 'rename the marker' : 'rename the folder');
    this.#isMarked ||= isMarker;
    return replicaTools.rename(from, to);
  }

  async syncFolder(path: string): Promise<void> {
    await this.before(`fsync the folder ${path.split('/').at(-1)}`);
    return replicaTools.syncFolder(path);
  }
}
