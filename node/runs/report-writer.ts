import { createGzip, gzipSync } from 'node:zlib';
import type { ByteName } from '../executors/byte-names.ts';
import { PackProblem, type Range, type SpoolFile } from './spool-file.ts';
import { wholeBody } from './whole-body.ts';
import { writeAll } from './write-all.ts';
import { deflateFor, type FileFacts } from './zip-writer.ts';

const smallBytes = 256 << 10;

/** Reports go up as gzip (one member a file, as gitlab-runner does), `raw` as the one file itself. Throws PackProblem for a second one. */
export class ReportWriter {
  readonly #out: SpoolFile;
  readonly #isGzip: boolean;
  readonly #files = new Map<ByteName, Range>();

  constructor(out: SpoolFile, isGzip: boolean) {
    this.#out = out;
    this.#isGzip = isGzip;
  }

  folder(): void {}
  symlink(): void {}

  /** As it is, one file is all that there can be: nobody could tell where another begins. */
  #beginOne(): void {
    if (!this.#isGzip && this.#files.size > 0) throw new PackProblem('only one file can be sent as raw', true);
  }

  small(facts: FileFacts, bytes: Uint8Array): void {
    this.#beginOne();
    const offset = this.#out.size;
    this.#out.append(this.#isGzip ? gzipSync(bytes, deflateFor(bytes.length)) : bytes);
    this.#files.set(facts.name, { offset, length: this.#out.size - offset });
  }

  async file(facts: FileFacts, size: number, body: AsyncIterable<Uint8Array>): Promise<void> {
    if (size <= smallBytes) return this.small(facts, await wholeBody(body));
    this.#beginOne();
    const offset = this.#out.size;
    if (this.#isGzip) await this.#large(body);
    else for await (const chunk of body) this.#out.append(chunk);
    this.#files.set(facts.name, { offset, length: this.#out.size - offset });
  }

  again({ name }: FileFacts, earlier: ByteName): boolean {
    const range = this.#files.get(earlier);
    if (range === undefined) return false;
    this.#beginOne();
    const offset = this.#out.size;
    this.#out.copy(range);
    this.#files.set(name, { offset, length: range.length });
    return true;
  }

  end(): void {
    this.#out.flush();
  }

  async #large(body: AsyncIterable<Uint8Array>): Promise<void> {
    const gzip = createGzip();
    const feed = async (): Promise<void> => {
      for await (const chunk of body) await writeAll(gzip, chunk);
      gzip.end();
    };
    const fed = feed().catch((error: Error) => {
      gzip.destroy(error);
    });
    for await (const chunk of gzip) this.#out.append(chunk as Uint8Array);
    await fed;
  }
}
