import { createHmac } from 'node:crypto';

/**
 * How the output of a container's steps is told apart. The keeper in the container writes a line before and after each
 * step; between them are the step's own bytes, exactly. Both lines are words of that step alone, and the keeper hears them
 * on its input when the step is to begin: they are in no environment, no argument list and no file before they have been
 * said, so nothing that a job can print ends its step or begins another one (security A3, official-runner F12).
 */
export interface StepMarks {
  begin: string;
  end: string;
}

/** What a container's keeper understands: 1 had one word for all steps, which the job could read. */
export type KeeperVersion = 1 | 2;

export function stepMarks(nonce: string, index: number, keeper: KeeperVersion = 2): StepMarks {
  if (keeper === 1) return { begin: `autogit-step-${nonce} begin ${index}`, end: `autogit-step-${nonce} end ${index}` };
  const word = (what: string): string =>
    createHmac('sha256', nonce).update(`${what} ${index}`).digest('hex').slice(0, 40);
  return { begin: `autogit-${word('begin')}`, end: `autogit-${word('end')}` };
}

/** The keeper's record of how a step ended: only one that knows the step's word can have written it. */
export function recordedExit(text: string | null, marks: StepMarks, keeper: KeeperVersion): number | null {
  if (text === null) return null;
  const code =
    keeper === 1 ? text.trim() : text.startsWith(`${marks.end} `) ? text.slice(marks.end.length + 1).trim() : '';
  return /^\d{1,3}$/.test(code) ? Number(code) : null;
}

export type LogPiece =
  | { kind: 'begin'; index: number }
  | { kind: 'bytes'; index: number; bytes: Buffer }
  | { kind: 'end'; index: number; exitCode: number };

/** Where a mark may begin that the end of a chunk cuts off; the chunk's length where none does. */
export function startOfMark(bytes: Buffer, mark: Buffer): number {
  const first = mark[0] as number;
  for (
    let at = bytes.indexOf(first, Math.max(0, bytes.length - mark.length + 1));
    at >= 0;
    at = bytes.indexOf(first, at + 1)
  )
    if (mark.compare(bytes, at, bytes.length, 0, bytes.length - at) === 0) return at;
  return bytes.length;
}

/** Longest rest of a line that can be one of ours, after the mark. */
const longestRest = 8;

/**
 * Finds one step in a container's output, however the chunks fall. It looks for one word at a time, the step's first and
 * then its last, so what else looks like a mark costs nothing. What lies outside the step is dropped.
 */
export class StepSplitter {
  #step: { index: number; begin: Buffer; end: Buffer } | null = null;
  #isOpen = false;
  #held: Buffer = Buffer.alloc(0);

  /** From here on this step is looked for, and no other. */
  expect(index: number, marks: StepMarks): void {
    this.#step = { index, begin: Buffer.from(marks.begin, 'latin1'), end: Buffer.from(marks.end, 'latin1') };
    this.#isOpen = false;
    this.#held = Buffer.alloc(0);
  }

  push(chunk: Uint8Array): LogPiece[] {
    const pieces: LogPiece[] = [];
    let rest = this.#held.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#held, chunk]);
    this.#held = Buffer.alloc(0);
    while (rest.length > 0 && this.#step !== null) {
      const mark = this.#isOpen ? this.#step.end : this.#step.begin;
      const at = rest.indexOf(mark);
      if (at < 0) {
        const held = startOfMark(rest, mark);
        this.#take(rest.subarray(0, held), pieces);
        this.#held = Buffer.from(rest.subarray(held));
        break;
      }
      this.#take(rest.subarray(0, at), pieces);
      const line = rest.subarray(at + mark.length, at + mark.length + longestRest);
      const newline = line.indexOf(10);
      if (newline < 0 && line.length < longestRest) {
        this.#held = Buffer.from(rest.subarray(at));
        break;
      }
      const isMark = this.#mark(newline < 0 ? null : line.toString('latin1', 0, newline), pieces);
      if (!isMark) this.#take(mark, pieces);
      rest = rest.subarray(at + mark.length + (isMark ? newline + 1 : 0));
    }
    return pieces;
  }

  /** What was held back because it could have become a mark: asked when the stream has ended. */
  flush(): LogPiece[] {
    const pieces: LogPiece[] = [];
    this.#take(this.#held, pieces);
    this.#held = Buffer.alloc(0);
    return pieces;
  }

  #mark(rest: string | null, pieces: LogPiece[]): boolean {
    const said = rest === null || this.#step === null ? null : /^(?: (\d{1,3}))?$/.exec(rest);
    if (!said || this.#step === null || this.#isOpen !== (said[1] !== undefined)) return false;
    const { index } = this.#step;
    if (this.#isOpen) {
      pieces.push({ kind: 'end', index, exitCode: Number(said[1]) });
      this.#step = null;
    } else pieces.push({ kind: 'begin', index });
    this.#isOpen = !this.#isOpen;
    return true;
  }

  #take(bytes: Buffer, pieces: LogPiece[]): void {
    if (bytes.length > 0 && this.#isOpen && this.#step !== null)
      pieces.push({ kind: 'bytes', index: this.#step.index, bytes });
  }
}

/** Takes the engine's frames apart: 8 bytes of head (stream, 0, 0, 0, length), then that many bytes. */
export class FrameReader {
  readonly #streams: readonly number[];
  #held: Buffer = Buffer.alloc(0);

  /** Of standard output (1), unless it is to read standard error (2) as well. */
  constructor(streams: readonly number[] = [1]) {
    this.#streams = streams;
  }

  /** Payloads of whole frames, each by itself, in order. */
  push(chunk: Uint8Array): Buffer[] {
    const payloads: Buffer[] = [];
    this.#walk(chunk, (bytes, from, to) => payloads.push(bytes.subarray(from, to)));
    return payloads;
  }

  /** The same in one piece. What a program writes is a frame each time: a job that prints short lines makes thousands of one chunk, and each would be looked through, kept and masked by itself. */
  joined(chunk: Uint8Array): Buffer {
    const out = Buffer.allocUnsafe(this.#held.length + chunk.length);
    let size = 0;
    this.#walk(chunk, (bytes, from, to) => {
      size += bytes.copy(out, size, from, to);
    });
    return out.subarray(0, size);
  }

  #walk(chunk: Uint8Array, take: (bytes: Buffer, from: number, to: number) => void): void {
    const bytes = this.#held.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#held, chunk]);
    let at = 0;
    while (bytes.length - at >= 8) {
      const end = at + 8 + bytes.readUInt32BE(at + 4);
      if (end > bytes.length) break;
      if (end > at + 8 && this.#streams.includes(bytes[at] as number)) take(bytes, at + 8, end);
      at = end;
    }
    this.#held = Buffer.from(bytes.subarray(at));
  }
}
