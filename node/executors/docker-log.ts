/**
 * How the output of a container's steps is told apart. Process 1 of the container writes a line before and after each
 * step; between them are the step's own bytes, exactly. The lines hold a number that nobody can print by accident (a job
 * that prints it on purpose cheats only itself).
 */
export const stepMark = (nonce: string): string => `autogit-step-${nonce}`;

export type LogPiece =
  | { kind: 'begin'; index: number }
  | { kind: 'bytes'; index: number; bytes: Buffer }
  | { kind: 'end'; index: number; exitCode: number };

/** Where a mark may begin that the end of a chunk cuts off; the chunk's length where none does. */
export function startOfMark(bytes: Buffer, mark: Buffer): number {
  for (let at = Math.max(0, bytes.length - mark.length + 1); at < bytes.length; at++)
    if (mark.subarray(0, bytes.length - at).equals(bytes.subarray(at))) return at;
  return bytes.length;
}

/** Longest line that can be one of ours, after the mark. */
const longestLine = 40;

/** Splits a container's output into steps, however the chunks fall. What lies between steps is dropped. */
export class StepSplitter {
  readonly #mark: Buffer;
  #held: Buffer = Buffer.alloc(0);
  #index: number | null = null;

  constructor(nonce: string) {
    this.#mark = Buffer.from(stepMark(nonce), 'latin1');
  }

  push(chunk: Uint8Array): LogPiece[] {
    const pieces: LogPiece[] = [];
    let rest = this.#held.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#held, chunk]);
    while (rest.length > 0) {
      const at = rest.indexOf(this.#mark);
      if (at < 0) {
        const held = startOfMark(rest, this.#mark);
        this.#take(rest.subarray(0, held), pieces);
        rest = rest.subarray(held);
        break;
      }
      const newline = rest.indexOf(10, at);
      if (newline < 0 && rest.length - at <= this.#mark.length + longestLine) {
        this.#take(rest.subarray(0, at), pieces);
        rest = rest.subarray(at);
        break;
      }
      const line = newline < 0 ? '' : rest.subarray(at + this.#mark.length, newline).toString('latin1');
      const said = /^ (begin|end) (\d{1,6})(?: (\d{1,3}))?$/.exec(line);
      if (!said) {
        this.#take(rest.subarray(0, at + this.#mark.length), pieces);
        rest = rest.subarray(at + this.#mark.length);
        continue;
      }
      this.#take(rest.subarray(0, at), pieces);
      const index = Number(said[2]);
      if (said[1] === 'begin') {
        this.#index = index;
        pieces.push({ kind: 'begin', index });
      } else {
        this.#index = null;
        pieces.push({ kind: 'end', index, exitCode: Number(said[3] ?? 0) });
      }
      rest = rest.subarray(newline + 1);
    }
    this.#held = Buffer.from(rest);
    return pieces;
  }

  /** What was held back because it could have become a mark: asked when the stream has ended. */
  flush(): LogPiece[] {
    const pieces: LogPiece[] = [];
    this.#take(this.#held, pieces);
    this.#held = Buffer.alloc(0);
    return pieces;
  }

  #take(bytes: Buffer, pieces: LogPiece[]): void {
    if (bytes.length > 0 && this.#index !== null) pieces.push({ kind: 'bytes', index: this.#index, bytes });
  }
}

/** Takes the engine's frames apart: 8 bytes of head (stream, 0, 0, 0, length), then that many bytes. */
export class FrameReader {
  #held: Buffer = Buffer.alloc(0);

  /** Payloads of standard output, whole frames or parts of them as they come. */
  push(chunk: Uint8Array): Buffer[] {
    const payloads: Buffer[] = [];
    let rest = this.#held.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#held, chunk]);
    while (rest.length >= 8) {
      const length = rest.readUInt32BE(4);
      if (rest.length < 8 + length) break;
      if (rest[0] === 1 && length > 0) payloads.push(rest.subarray(8, 8 + length));
      rest = rest.subarray(8 + length);
    }
    this.#held = Buffer.from(rest);
    return payloads;
  }
}
