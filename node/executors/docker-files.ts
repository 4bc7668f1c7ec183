import { posix } from 'node:path';
import { Readable } from 'node:stream';
import type Docker from 'dockerode';
import { AutogitError } from '../../protocol/errors.ts';
import { byteName, plainName } from './byte-names.ts';
import { renameTar } from './tar-names.ts';

/** Tar streams into and out of one container, by the engine's archive calls: they also work while it stands still. */
export class DockerFiles {
  readonly #container: Docker.Container;
  readonly #run: string;

  constructor(container: Docker.Container, run: string) {
    this.#container = container;
    this.#run = run;
  }

  /** Entries count from `/`. */
  async put(tar: Readable, target: string): Promise<void> {
    // The client waits for ever for a body whose source broke.
    const stop = new AbortController();
    let broken: Error | null = null;
    tar.once('error', (error) => {
      broken = error;
      stop.abort();
    });
    try {
      await this.#container.putArchive(tar, { path: '/', abortSignal: stop.signal });
    } catch (error) {
      const cause = broken ?? error;
      const because = `cannot put files into ${target} of run ${this.#run}: ${(cause as Error).message}`;
      throw new AutogitError('executor-failed', because, { cause });
    }
  }

  /** As the engine gives it, names from the path's last part on; null when it is not there. */
  async get(path: string): Promise<Readable | null> {
    try {
      return Readable.from(await this.#container.getArchive({ path }));
    } catch (cause) {
      if ((cause as { statusCode?: number }).statusCode === 404) return null;
      throw new AutogitError('executor-failed', `cannot read ${path} of run ${this.#run}`, { cause });
    }
  }

  /** Names count from `from`. */
  async getBelow(path: string, from: string): Promise<Readable | null> {
    const stream = await this.get(path);
    if (stream === null) return null;
    const name = byteName(plainName(posix.relative(from, path)));
    return renameTar(stream, (entry) => {
      const below = plainName(entry).split('/').slice(1);
      const whole = [...(name === '' ? [] : [name]), ...below].join('/');
      return whole === '' ? null : whole;
    });
  }
}
