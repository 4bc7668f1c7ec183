import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { freshMask, Mask, type MaskState } from '../../gitlab-bridge/mask.ts';
import { traceLimits } from '../../gitlab-bridge/trace.ts';
import { sentenceOf } from '../../protocol/errors.ts';

/**
 * A run's trace on disk. `trace.log` holds the masked bytes, exactly as GitLab gets them; `trace.pos` one line for each
 * append: how long the log then was, and which byte of which step's output comes next. A line counts once its newline
 * is there, and only counted bytes are ever sent: so an agent that is killed at any point goes on from the last line,
 * reads the step's output from there, and the trace has neither gap nor repetition.
 * Secrets are masked before anything reaches the disk. When the disk is full, what follows is kept in memory.
 */
interface Position {
  length: number;
  step: number;
  offset: number;
  mask: MaskState;
  isCut: boolean;
  /** Lines of the agent's own that are in it: each is said once, however often the agent is killed meanwhile. */
  said: string[];
}

const cutSentence = `\n\u001b[31;1mThe trace of this job is longer than ${traceLimits.traceBytes >> 20} MiB: autogit-node leaves out the rest.\u001b[0m\n`;
/** Bytes kept in memory when the disk takes no more: enough for the sentence that says so. */
const memoryBytes = 256 << 10;

export class TraceLog {
  readonly #log: number;
  readonly #positions: number;
  readonly #secrets: readonly string[];
  readonly #prefixes: readonly string[];
  readonly #limit: number;
  #at: Position;
  #mask: Mask;
  #fileLength: number;
  #isSealed = false;
  #memory: Buffer = Buffer.alloc(0);
  /** Why the disk took no more; null while all is well. */
  failure: string | null = null;
  /** Called when there are more bytes to send. */
  onGrow: () => void = () => undefined;

  /** Never throws: where the disk cannot be used, `failure` says so and the trace is in memory. */
  constructor(folder: string, secrets: readonly string[], prefixes: readonly string[], limitBytes?: number) {
    this.#secrets = secrets;
    this.#prefixes = prefixes;
    this.#limit = limitBytes ?? traceLimits.traceBytes;
    const opened = open(folder);
    this.failure = opened.failure;
    this.#at = opened.at;
    this.#log = opened.log;
    this.#positions = opened.positions;
    this.#fileLength = this.#at.length;
    this.#mask = new Mask(secrets, prefixes, this.#at.mask);
  }

  /** Bytes that may be sent. */
  get length(): number {
    return this.#at.length;
  }

  /** Where the output of a step goes on: its byte that comes next. */
  offsetOf(step: number): number {
    return this.#at.step === step ? this.#at.offset + this.#mask.heldBytes : 0;
  }

  /** Adds output bytes of a step, in order. */
  output(step: number, bytes: Uint8Array): void {
    if (this.#at.step !== step) {
      this.#mask = new Mask(this.#secrets, this.#prefixes, freshMask);
      this.#at = { ...this.#at, step, offset: 0, mask: freshMask };
    }
    const heldBefore = this.#mask.heldBytes;
    if (this.#at.isCut) return this.#leaveOut(heldBefore + bytes.byteLength);
    const certain = this.#mask.push(bytes);
    const consumed = this.#at.offset + heldBefore + bytes.byteLength - this.#mask.heldBytes;
    this.#append(certain, { offset: consumed, mask: this.#mask.state });
  }

  /** Counted as read; nobody sees it, so nothing in it is looked for. */
  #leaveOut(bytes: number): void {
    this.#mask = new Mask(this.#secrets, this.#prefixes, freshMask);
    this.#append(Buffer.alloc(0), { offset: this.#at.offset + bytes, mask: freshMask });
  }

  /** The step's output has ended: what the mask held back is no secret. What is said next begins on a line of its own. */
  endOutput(step: number): void {
    if (this.#at.step !== step) return;
    const held = this.#mask.heldBytes;
    this.#append(this.#mask.flush(), { offset: this.#at.offset + held, mask: freshMask });
    const last = this.read(this.length - 1, this.length);
    if (last.length > 0 && last[0] !== 0x0a && last[0] !== 0x0d) this.say('\n', `line-${step}`);
  }

  /**
   * Adds a text of the agent's own, between steps; with `once`, only the first time in the whole life of the run. It is
   * masked too: a failing git may quote an address.
   */
  say(text: string, once?: string): void {
    if (once !== undefined && this.#at.said.includes(once)) return;
    const mask = new Mask(this.#secrets, this.#prefixes);
    this.#append(
      Buffer.concat([mask.push(Buffer.from(text)), mask.flush()]),
      once === undefined ? {} : { said: [...this.#at.said, once] },
      true,
    );
  }

  read(from: number, to: number): Buffer {
    const end = Math.min(to, this.#at.length);
    if (from >= end) return Buffer.alloc(0);
    const inFile = Math.max(0, Math.min(end, this.#fileLength) - from);
    const buffer = Buffer.alloc(inFile);
    for (let done = 0; done < inFile; ) {
      const got = readSync(this.#log, buffer, done, inFile - done, from + done);
      if (got === 0) throw new Error(`trace.log is shorter than ${from + inFile} bytes`);
      done += got;
    }
    const memory = this.#memory.subarray(Math.max(0, from - this.#fileLength), Math.max(0, end - this.#fileLength));
    return memory.length === 0 ? buffer : Buffer.concat([buffer, memory]);
  }

  /** What the final update says of the whole trace. */
  sum(): { checksum: string; bytesize: number } {
    let sum = 0;
    for (let at = 0; at < this.length; at += 1 << 20) sum = crc32(this.read(at, at + (1 << 20)), sum);
    return { checksum: `crc32:${sum.toString(16).padStart(8, '0')}`, bytesize: this.length };
  }

  /** Its last word is said: what was abandoned and comes back later adds nothing. */
  seal(): void {
    this.#isSealed = true;
  }

  close(): void {
    this.seal();
    for (const file of [this.#log, this.#positions]) if (file !== -1) closeSync(file);
  }

  #append(bytes: Buffer, place: Partial<Position>, isOwn = false): void {
    if (this.#isSealed) return;
    const room = Math.max(0, this.#limit - this.#at.length);
    const isOver = !isOwn && (this.#at.isCut || bytes.length > room);
    // What is left out is counted as read all the same; the agent's own last words always fit.
    let out = bytes;
    if (isOver)
      out = this.#at.isCut ? Buffer.alloc(0) : Buffer.concat([bytes.subarray(0, room), Buffer.from(cutSentence)]);
    const next: Position = {
      ...this.#at,
      ...place,
      length: this.#at.length + out.length,
      isCut: this.#at.isCut || isOver,
    };
    // Nothing new to say: after a crash the same bytes are read again, and say nothing again.
    if (out.length > 0) this.#write(out, next);
    this.#at = next;
    if (out.length > 0) this.onGrow();
  }

  #write(out: Buffer, next: Position): void {
    if (this.failure === null)
      try {
        writeAll(this.#log, out, this.#fileLength);
        writeAll(this.#positions, Buffer.from(`${JSON.stringify(next)}\n`), null);
        this.#fileLength = next.length;
        return;
      } catch (error) {
        this.failure = `the trace cannot be written: ${sentenceOf(error)}`;
      }
    const room = Math.max(0, memoryBytes - this.#memory.length);
    const kept = out.subarray(0, room);
    this.#memory = Buffer.concat([this.#memory, kept]);
    next.length = this.#fileLength + this.#memory.length;
  }
}

interface Opened {
  log: number;
  positions: number;
  at: Position;
  failure: string | null;
}

const start: Position = { length: 0, step: -1, offset: 0, mask: freshMask, isCut: false, said: [] };

function open(folder: string): Opened {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const logPath = join(folder, 'trace.log');
    const path = join(folder, 'trace.pos');
    const at = lastPosition(path, existsSync(logPath) ? statSync(logPath).size : 0);
    const log = openSync(logPath, existsSync(logPath) ? 'r+' : 'w+', 0o600);
    ftruncateSync(log, at.length);
    const positions = openSync(path, 'a', 0o600);
    // A torn last line must not swallow the next one.
    if (statSync(path).size > 0) writeSync(positions, '\n');
    return { log, positions, at, failure: null };
  } catch (error) {
    return { log: -1, positions: -1, at: start, failure: `the trace cannot be kept: ${sentenceOf(error)}` };
  }
}

function writeAll(file: number, bytes: Buffer, at: number | null): void {
  for (let done = 0; done < bytes.length; )
    done += writeSync(file, bytes, done, bytes.length - done, at === null ? null : at + done);
}

function lastPosition(path: string, logSize: number): Position {
  if (!existsSync(path)) return start;
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
  for (const line of lines.toReversed())
    try {
      const found = JSON.parse(line) as Position;
      if (typeof found.length === 'number' && found.length <= logSize) return found;
    } catch {
      // Torn by a crash: the line before it counts.
    }
  return start;
}
