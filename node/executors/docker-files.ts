import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { posix } from 'node:path';
import type { Readable } from 'node:stream';
import type Docker from 'dockerode';
import { extract } from 'tar-stream';
import { z } from 'zod';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { TreeRead } from '../ports.ts';
import { archiveOutput } from './archive-output.ts';
import { type ByteName, byteName, bytesOf, plainName, textOf } from './byte-names.ts';
import { statusOf, withLimit } from './docker-engine.ts';
import { execOutput } from './exec-output.ts';
import { quote } from './job-shell.ts';
import { type TarEntry, writeTar } from './tar-format.ts';
import { packFiles, renamed, renameTar, type TarOwner } from './tar-names.ts';
import { complaintOf, tarOfNames, usualCodes } from './tree-read.ts';

/** What the engine says of a path; `mode` as Go has it, a folder by its highest bit. */
const PathStat = z.object({ mode: z.int().nonnegative() });
const goFolder = 2 ** 31;
const mostTalk = 2000;
/** For a small file, from its first byte to its last. */
const textMs = 10_000;
/** The engine is asked for single files up to so many; each costs some milliseconds. */
const mostSingles = 1000;

/** Tar streams into and out of one container, by the engine's archive calls: they also work while it stands still. */
export class DockerFiles {
  readonly #container: Docker.Container;
  readonly #run: string;

  constructor(container: Docker.Container, run: string) {
    this.#container = container;
    this.#run = run;
  }

  /** Entries count from `from`, a folder that is there. */
  async put(tar: NodeJS.ReadableStream, target: string, from = '/'): Promise<void> {
    // The client waits for ever for a body whose source broke.
    const stop = new AbortController();
    let broken: Error | null = null;
    tar.once('error', (error) => {
      broken = error;
      stop.abort();
    });
    try {
      await this.#container.putArchive(tar, { path: from, abortSignal: stop.signal });
    } catch (error) {
      const cause = broken ?? error;
      const because = `cannot put files into ${target} of run ${this.#run}: ${sentenceOf(cause)}`;
      throw new AutogitError('executor-failed', because, { cause });
    }
  }

  /** A tree's files below a path, all of them the owner's; `isPlain` as `Workspace.putTar` has it. */
  async putTree(tar: NodeJS.ReadableStream, target: string, owner: TarOwner, isPlain: boolean): Promise<void> {
    // As it is: to take each entry apart and make it anew costs more than unpacking it.
    const isAsItIs = isPlain && owner.uid === 0 && owner.gid === 0 && (await this.#hasFolder(target));
    if (isAsItIs) return this.put(tar, target, target);
    await this.put(
      renameTar(tar, (name) => plainName(`${byteName(target)}/${name}`), owner),
      target,
    );
  }

  /** Whether it is a folder, and no link to one. */
  async #hasFolder(path: string): Promise<boolean> {
    const answer = (await this.#container.infoArchive({ path }).catch(() => null)) as IncomingMessage | null;
    answer?.resume();
    const said = answer?.headers['x-docker-container-path-stat'];
    if (typeof said !== 'string') return false;
    try {
      const { mode } = PathStat.parse(JSON.parse(Buffer.from(said, 'base64').toString('utf8')));
      return mode >= goFolder;
    } catch {
      return false;
    }
  }

  /** What reads it as the engine gives it, names from the path's last part on; null when it is not there. */
  async #get<T>(path: string, read: () => Promise<T>): Promise<T | null> {
    try {
      return await read();
    } catch (cause) {
      if (statusOf(cause) === 404) return null;
      throw new AutogitError('executor-failed', `cannot read ${path} of run ${this.#run}`, { cause });
    }
  }

  /** Of a small file, cut off after so much; null when it is not there. */
  async text(path: string, mostChars = 4096): Promise<string | null> {
    const stream = await this.#get(path, async () => (await this.#container.getArchive({ path })) as Readable);
    if (stream === null) return null;
    const reader = extract();
    stream.once('error', (error) => reader.destroy(error)).pipe(reader);
    const read = async (): Promise<string> => {
      let text = '';
      for await (const entry of reader)
        for await (const chunk of entry) if (text.length < mostChars) text += String(chunk);
      return text;
    };
    return withLimit(read(), textMs).finally(() => stream.destroy());
  }

  /** All that lies at a path, itself first; names count from `from`. Nothing when it is not there. */
  async *#below(path: string, from: string, signal: AbortSignal): AsyncGenerator<TarEntry> {
    const tar = await this.#get(path, () => archiveOutput(this.#container, path, signal));
    if (tar === null) return;
    const name = byteName(plainName(posix.relative(from, path)));
    yield* renamed(tar, (entry) => {
      const below = plainName(entry).split('/').slice(1);
      const whole = [...(name === '' ? [] : [name]), ...below].join('/');
      return whole === '' ? null : whole;
    });
  }

  /** By `find` in the container; where that is missing, or the container stands still, by the engine's archives. */
  async list(projectDir: string, paths: string[]): Promise<TreeRead> {
    const roots = paths.map((path) => `./${plainName(path)}`);
    const archives = (signal: AbortSignal) => this.#archives(projectDir, paths, signal);
    async function* names(signal: AbortSignal): AsyncGenerator<Uint8Array> {
      for await (const { name } of archives(signal)) yield Buffer.from(`${name}\0`, 'latin1');
    }
    // Of a program that is missing the engine says so where the program's output comes; a shell says it beside it.
    return this.#asked(['sh', '-c', 'exec find "$@" -print0', 'sh', ...roots], projectDir, names);
  }

  /** By `tar` in the container, else whole archives of the paths. The names go in as a file: they may be many. */
  async read(projectDir: string, names: Uint8Array, paths: string[], controlDir: string): Promise<TreeRead> {
    const list = `${controlDir}/names`;
    const content = Buffer.from(names.buffer, names.byteOffset, names.length);
    await this.put(packFiles([{ name: plainName(list), mode: 0o600, content, uid: 0, gid: 0 }]), controlDir);
    const script = `exec <${quote(list)}\n${tarOfNames}`;
    const wanted = content.toString('latin1').split('\0').slice(0, -1).map(plainName);
    const isAskable = wanted.length <= mostSingles && wanted.every((name) => isUtf8(bytesOf(name)));
    const instead = (signal: AbortSignal) =>
      writeTar(isAskable ? this.#singles(projectDir, wanted, signal) : this.#archives(projectDir, paths, signal));
    return this.#asked(['sh', '-c', script, 'sh', projectDir], projectDir, instead);
  }

  /** One archive a name, of which the first entry is the thing itself: nothing beside it is read. */
  async *#singles(projectDir: string, names: ByteName[], signal: AbortSignal): AsyncGenerator<TarEntry> {
    for (const name of names)
      for await (const entry of this.#below(`${projectDir}/${textOf(name)}`, projectDir, signal)) {
        yield entry;
        break;
      }
  }

  async *#archives(projectDir: string, paths: string[], signal: AbortSignal): AsyncGenerator<TarEntry> {
    for (const path of paths) yield* this.#below(posix.resolve(projectDir, path), projectDir, signal);
  }

  /** What a command in the container prints, as its root; `instead` when it cannot be run there. */
  #asked(command: string[], cwd: string, instead: (signal: AbortSignal) => AsyncIterable<Uint8Array>): TreeRead {
    const container = this.#container;
    const run = this.#run;
    const stop = new AbortController();
    let talk = '';
    async function* bytes(): AsyncGenerator<Uint8Array> {
      let hasCome = false;
      const code = yield* (async function* (): AsyncGenerator<Uint8Array, number> {
        try {
          const exec = await container.exec({
            Cmd: command,
            User: '0',
            WorkingDir: cwd,
            Env: ['LC_ALL=C'],
            AttachStdout: true,
            AttachStderr: true,
          });
          for await (const { isError, payload } of framesOf(await execOutput(exec, stop.signal))) {
            if (isError && talk.length < mostTalk) talk += payload.toString('latin1');
            if (isError) continue;
            hasCome = true;
            yield payload;
          }
          return (await exec.inspect()).ExitCode ?? 128;
        } catch (cause) {
          if (hasCome || stop.signal.aborted)
            throw new AutogitError('executor-failed', `cannot read the files of run ${run}`, { cause });
          return 127;
        }
      })();
      if (usualCodes.has(code)) return;
      if (hasCome) throw new AutogitError('executor-failed', `cannot read the files of run ${run} (${code}): ${talk}`);
      talk = '';
      yield* instead(stop.signal);
    }
    return { bytes: bytes(), complaint: async () => complaintOf(talk), close: () => stop.abort() };
  }
}

/** The two outputs of a command, as they come: what one chunk has of an output is one piece, put together in the chunk's own memory. */
export async function* framesOf(
  stream: AsyncIterable<Uint8Array>,
): AsyncGenerator<{ isError: boolean; payload: Buffer }> {
  const head = Buffer.alloc(8);
  let headBytes = 0;
  let left = 0;
  let isError = false;
  for await (const bytes of stream) {
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    const errors: Buffer[] = [];
    let [from, to] = [0, 0];
    for (let at = 0; at < chunk.length; ) {
      if (left === 0) {
        const copied = chunk.copy(head, headBytes, at, at + head.length - headBytes);
        [at, headBytes] = [at + copied, headBytes + copied];
        if (headBytes < head.length) break;
        headBytes = 0;
        isError = head[0] === 2;
        left = head.readUInt32BE(4);
        continue;
      }
      const end = Math.min(chunk.length, at + left);
      left -= end - at;
      if (isError) errors.push(Buffer.from(chunk.subarray(at, end)));
      else if (from === to) [from, to] = [at, end];
      else {
        chunk.copyWithin(to, at, end);
        to += end - at;
      }
      at = end;
    }
    if (errors.length > 0) yield { isError: true, payload: Buffer.concat(errors) };
    if (to > from) yield { isError: false, payload: chunk.subarray(from, to) };
  }
}
