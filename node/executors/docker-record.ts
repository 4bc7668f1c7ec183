import { randomBytes } from 'node:crypto';
import type { Duplex, Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { extract } from 'tar-stream';
import { AutogitError } from '../../protocol/errors.ts';
import { isEngineAway, statusOf } from './docker-engine.ts';
import { FrameReader, type StepMarks, StepSplitter, startOfMark } from './docker-log.ts';

const slowestMs = 500;
/** A reader that has not answered so long after the step's end is none: the job owns the container's sh. */
const silentMs = 2000;

interface RecordAsks {
  isOver(): boolean;
  /** By the files of its control group, of which the engine does not know. */
  isFrozen(): boolean;
}

interface RecordedStep {
  container: Docker.Container;
  /** The keeper's record of all steps. */
  path: string;
  step: { index: number; marks: StepMarks };
  /** Bytes of the step that are known already. */
  offset: number;
  asks: RecordAsks;
  signal: AbortSignal;
}

/** One step's bytes of the record that the keeper writes of all steps. */
export async function* recordedOutput(of: RecordedStep): AsyncGenerator<Uint8Array> {
  const splitter = new StepSplitter();
  splitter.expect(of.step.index, of.step.marks);
  let skip = of.offset;
  for await (const chunk of readRecord(of.container, of.path, of.asks, of.signal)) {
    for (const piece of splitter.push(chunk)) {
      if (piece.kind === 'end') return;
      if (piece.kind === 'begin') continue;
      if (piece.bytes.length > skip) yield piece.bytes.subarray(skip);
      skip = Math.max(0, skip - piece.bytes.length);
    }
  }
  for (const piece of of.signal.aborted ? [] : splitter.flush())
    if (piece.kind === 'bytes' && piece.bytes.length > skip) yield piece.bytes.subarray(skip);
}

/**
 * The bytes of a growing file in a container, from its beginning, as they come. While the container runs, one small
 * reader in it answers questions "from byte n on" (the archive API can only give whole files, and fails on growing ones);
 * it ends with our connection. Of a stopped container, and of a step that is over, the file is read once. Waits while the
 * engine is away. Ends without error on abort, when the container is gone, and when `isOver` says that nothing more will
 * come and all is read.
 */
async function* readRecord(
  container: Docker.Container,
  path: string,
  { isOver, isFrozen }: RecordAsks,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  let at = 0;
  while (!signal.aborted) {
    const state = await stateOf(container);
    if (state === 'gone') return;
    // A frozen container takes no reader; nothing new comes of it either.
    if (state === 'running' && !isFrozen() && !isOver()) {
      for await (const bytes of growingFile(container, path, at, isOver, signal)) {
        at += bytes.length;
        yield bytes;
      }
      if (!isOver()) await sleep(slowestMs, undefined, { signal }).catch(() => undefined);
      continue;
    }
    if (state === 'stopped' || (state !== 'away' && isOver())) {
      // The step's end is known a moment before its last bytes are in the file.
      await sleep(50);
      yield* wholeFile(container, path, at);
      return;
    }
    if (state === 'away' && isOver()) return;
    await sleep(slowestMs, undefined, { signal }).catch(() => undefined);
  }
}

async function stateOf(container: Docker.Container): Promise<'running' | 'paused' | 'stopped' | 'gone' | 'away'> {
  try {
    const { Running, Paused } = (await container.inspect()).State;
    return !Running ? 'stopped' : Paused ? 'paused' : 'running';
  } catch (cause) {
    if (statusOf(cause) === 404) return 'gone';
    if (isEngineAway(cause)) return 'away';
    throw new AutogitError('executor-failed', 'the engine does not answer', { cause });
  }
}

/** Ends when the connection breaks or the container stops. */
async function* growingFile(
  container: Docker.Container,
  path: string,
  from: number,
  isOver: () => boolean,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const word = `autogit-read-${randomBytes(16).toString('hex')}`;
  const mark = Buffer.from(`${word}\n`, 'latin1');
  const stream = await openReader(container, path, word);
  if (stream === null) return;
  const abort = (): void => void stream.destroy();
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  const frames = new FrameReader();
  let held: Buffer = Buffer.alloc(0);
  let at = from;
  let isNews = false;
  // The reader's first word: what comes before it is somebody else's, e.g. the engine's own sentence that it cannot exec.
  let isReader = false;
  let waitMs = 20;
  let overSince: number | null = null;
  const watch = setInterval(() => {
    overSince ??= isOver() ? performance.now() : null;
    if (overSince !== null && performance.now() - overSince > silentMs && !isReader) stream.destroy();
  }, slowestMs);
  const ask = (): void => void stream.write(`${at + 1}\n`);
  try {
    for await (const chunk of stream) {
      let rest = Buffer.concat([held, frames.joined(chunk as Buffer)]);
      for (;;) {
        const end = rest.indexOf(mark);
        const ready = rest.subarray(0, end < 0 ? startOfMark(rest, mark) : end);
        rest = rest.subarray(end < 0 ? ready.length : end + mark.length);
        if (ready.length > 0 && isReader) {
          at += ready.length;
          isNews = true;
          yield ready;
        }
        if (end < 0) break;
        if (isReader) {
          // The answer is complete: ask again, at once while there is news, slower while there is none.
          waitMs = isNews ? 20 : Math.min(waitMs * 1.5, slowestMs);
          if (!isNews && isOver()) return;
          if (!isNews) await sleep(waitMs, undefined, { signal });
          isNews = false;
        }
        isReader = true;
        ask();
      }
      held = Buffer.from(rest);
    }
  } catch (cause) {
    // Aborted, or the connection broke: the caller looks again.
    if (!signal.aborted && !stream.destroyed && !isEngineAway(cause))
      throw new AutogitError('executor-failed', 'the output broke off', { cause });
  } finally {
    clearInterval(watch);
    signal.removeEventListener('abort', abort);
    stream.destroy();
  }
}

async function openReader(container: Docker.Container, path: string, word: string): Promise<Duplex | null> {
  // It counts as a keeper: ending the job's processes may cut one answer short, but not end the reader.
  const script = `echo $$ >>"\${0%/*}/keep"; echo ${word}; while read -r n; do tail -c "+$n" "$0"; echo ${word}; done`;
  try {
    const exec = await container.exec({
      Cmd: ['sh', '-c', script, path],
      User: '0',
      AttachStdin: true,
      AttachStdout: true,
    });
    return await exec.start({ hijack: true, stdin: true });
  } catch (cause) {
    if (statusOf(cause) === 404 || statusOf(cause) === 409 || isEngineAway(cause)) return null;
    throw new AutogitError('executor-failed', 'cannot read the output of a container', { cause });
  }
}

async function* wholeFile(container: Docker.Container, path: string, from: number): AsyncGenerator<Buffer> {
  let skip = from;
  try {
    const reader = extract();
    ((await container.getArchive({ path })) as unknown as Readable).pipe(reader);
    for await (const entry of reader)
      for await (const chunk of entry as AsyncIterable<Buffer>) {
        if (chunk.length > skip) yield chunk.subarray(skip);
        skip = Math.max(0, skip - chunk.length);
      }
  } catch (cause) {
    if (statusOf(cause) !== 404 && !isEngineAway(cause))
      throw new AutogitError('executor-failed', 'cannot read a stopped container', { cause });
  }
}
