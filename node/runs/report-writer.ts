import { once } from 'node:events';
import { createGzip, gzipSync } from 'node:zlib';
import type { ByteName } from '../executors/byte-names.ts';
import type { Range, SpoolFile } from './spool-file.ts';
import type { FileFacts } from './zip-writer.ts';

const smallBytes = 256 << 10;

/** Reports go up as gzip (one member a file, as gitlab-runner does), `raw` as the one file itself. */
export class ReportWriter {
  readonly #out: SpoolFile;
  readonly #isGzip: boolean;
  readonly #files = new Map<ByteName, Range>();

  constructor(out: SpoolFile, isGzip: boolean) {
    this.#out = out;
    this.#isGzip = isGzip;
  }

  async folder(): Promise<void> {}
  async symlink(): Promise<void> {}

  async file({ name }: FileFacts, size: number, body: AsyncIterable<Uint8Array>): Promise<void> {
    const offset = this.#out.size;
    if (!this.#isGzip) for await (const chunk of body) await this.#out.append(chunk);
    else if (size <= smallBytes) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of body) chunks.push(chunk);
      await this.#out.append(gzipSync(Buffer.concat(chunks)));
    } else await this.#large(body);
    this.#files.set(name, { offset, length: this.#out.size - offset });
  }

  async again({ name }: FileFacts, earlier: ByteName): Promise<boolean> {
    const range = this.#files.get(earlier);
    if (range === undefined) return false;
    const offset = this.#out.size;
    await this.#out.copy(range);
    this.#files.set(name, { offset, length: range.length });
    return true;
  }

  async end(): Promise<void> {
    await this.#out.flush();
  }

  async #large(body: AsyncIterable<Uint8Array>): Promise<void> {
    const gzip = createGzip();
    const feed = async (): Promise<void> => {
      for await (const chunk of body) if (!gzip.write(chunk)) await once(gzip, 'drain');
      gzip.end();
    };
    const fed = feed().catch((error: Error) => {
      gzip.destroy(error);
    });
    for await (const chunk of gzip) await this.#out.append(chunk as Uint8Array);
    await fed;
  }
}
