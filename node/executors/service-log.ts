import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { isEngineAway, statusOf, withLimit } from './docker-engine.ts';
import { FrameReader } from './docker-log.ts';

/** A line of a service's log, as the engine gives it: its time (RFC 3339, nine digits), a space, the text. */
const timed = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})(?:Z|[+-]\d\d:\d\d)/;
const mostLineBytes = 16 << 10;
const againMs = 1000;
const lookMs = 10_000;

/** The engine's disk keeps no more of one service. */
export const serviceLog = { Type: 'json-file', Config: { 'max-size': '8m', 'max-file': '2' } };

/** Seconds with nine digits behind the point, as the engine wants `since`; null for what is no such time. */
export function sinceOf(time: string): string | null {
  const [, second, rest] = timed.exec(time) ?? [];
  return second === undefined ? null : `${Date.parse(`${second}Z`) / 1000}.${rest}`;
}

/** Whole lines of chunks; a line that is very long is cut. */
export class LineReader {
  #held = Buffer.alloc(0);

  push(bytes: Uint8Array): string[] {
    const all = Buffer.concat([this.#held, bytes]);
    const lines: string[] = [];
    let at = 0;
    for (let end = all.indexOf(10, at); end >= 0; end = all.indexOf(10, at)) {
      lines.push(textOf(all.subarray(at, end)));
      at = end + 1;
    }
    this.#held = Buffer.from(all.subarray(at, at + mostLineBytes));
    return lines;
  }

  flush(): string[] {
    const last = this.#held;
    this.#held = Buffer.alloc(0);
    return last.length === 0 ? [] : [textOf(last)];
  }
}

const textOf = (line: Buffer): string => line.subarray(0, mostLineBytes).toString('utf8').replace(/\r$/, '');

/** Of a log that is shown, as gitlab-runner has it. */
const mostShown = 64 << 10;

/** Its newest lines, without their times; none where the engine does not say. */
export async function lastLines(container: Docker.Container, count: number): Promise<string[]> {
  try {
    const log = await withLimit(container.logs({ stdout: true, stderr: true, tail: count }), lookMs);
    const reader = new LineReader();
    const lines = new FrameReader([1, 2]).push(log as unknown as Buffer).flatMap((payload) => reader.push(payload));
    return newest([...lines, ...reader.flush()]);
  } catch {
    return [];
  }
}

function newest(lines: string[]): string[] {
  let chars = 0;
  const first = lines.findLastIndex((line) => {
    chars += line.length + 1;
    return chars > mostShown;
  });
  return lines.slice(first + 1);
}

/**
 * All lines after `since`, as they come, with their times, until the container has ended or is gone, or on abort. Waits for an
 * engine that is away.
 */
export async function followLog(
  container: Docker.Container,
  since: string | null,
  onLines: (lines: string[]) => void,
  signal: AbortSignal,
): Promise<void> {
  let known = since ?? '';
  while (!signal.aborted) {
    // The engine counts from a time on, that time included; what comes by two ways is not sorted by it.
    const from = known;
    try {
      for await (const lines of newLines(container, from, signal)) {
        const news = lines.filter((line) => timeOf(line) > from);
        for (const line of news) if (timeOf(line) > known) known = timeOf(line);
        if (news.length > 0) onLines(news);
      }
      if (!(await container.inspect()).State.Running) return;
    } catch (cause) {
      if (statusOf(cause) === 404 || (!isEngineAway(cause) && !signal.aborted)) return;
    }
    await sleep(againMs, undefined, { signal }).catch(() => undefined);
  }
}

const timeOf = (line: string): string => line.slice(0, 30);

async function* newLines(container: Docker.Container, known: string, signal: AbortSignal): AsyncGenerator<string[]> {
  const from = sinceOf(known);
  const asked = { follow: true, stdout: true, stderr: true, timestamps: true, ...(from !== null && { since: from }) };
  const stream = (await container.logs(asked as unknown as { follow: true })) as NodeJS.ReadableStream & {
    destroy(): void;
  };
  const stop = (): void => stream.destroy();
  signal.addEventListener('abort', stop, { once: true });
  const frames = [new FrameReader([1]), new FrameReader([2])];
  const readers = frames.map(() => new LineReader());
  try {
    if (signal.aborted) return;
    for await (const chunk of stream)
      for (const [at, frame] of frames.entries()) {
        const lines = frame.push(chunk as Buffer).flatMap((payload) => (readers[at] as LineReader).push(payload));
        if (lines.length > 0) yield lines;
      }
    yield readers.flatMap((reader) => reader.flush());
  } finally {
    signal.removeEventListener('abort', stop);
    stream.destroy();
  }
}
