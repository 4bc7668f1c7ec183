import type { Socket } from 'node:net';
import type { Door } from './gate-files.ts';

/** Of one connection; GitLab is not read on while so much of its answers waits here. */
const mostBytes = 1 << 20;
/** Of a whole gate; then each connection keeps one piece at most. */
const mostOfAllBytes = 64 << 20;

/** What all connections of a gate have here together. */
export interface HeldRoom {
  bytes: number;
}

interface HeldParts {
  client: Socket;
  kind: Door['kind'];
  room: HeldRoom;
  /** ms of boot time. */
  now(): number;
  /** ms of boot time at which the host asked for the lease that it has; null: the strict mode is off. */
  confirmedAt(): number | null;
  /** GitLab may be read on. */
  goOn(): void;
}

const reads = /^(?:GET|HEAD|OPTIONS) /;
/** Of a repository, whose path ends so; a file that is called so is written below `/-/`, or by the API. */
const fetches = /^POST (?![^ ?]*\/-\/)[^ ?]*\.git\/git-upload-pack(?:\?[^ ]*)? /;
/** In the line of each request. */
const requestMark = ' HTTP/1.';
/** A method in capitals, or what there is of one. */
const begins = /^[A-Z]{1,16}(?: |$)/;

/**
 * SAFETY H9, for one connection. In the strict mode GitLab's answers to whoever may have written wait for a lease that was asked for after they
 * came from GitLab: its order counts, and no clock. What only reads (GET, a fetch of git) passes; whatever is not known to is taken for a
 * write, and from then on the connection's answers wait, in their order. What ssh carries nobody can read: all of it waits.
 */
export class HeldAnswers {
  readonly #parts: HeldParts;
  readonly #pieces: { at: number; bytes: Buffer }[] = [];
  #size = 0;
  #mayHaveWritten: boolean;
  #isFetch = false;
  /** Of what came before, where a request's line may be cut. */
  #tail = Buffer.alloc(0);
  #whenEmpty: (() => void) | null = null;

  constructor(parts: HeldParts) {
    this.#parts = parts;
    this.#mayHaveWritten = parts.kind !== 'http' && parts.kind !== 'https';
  }

  /** What the client sends, before GitLab has it. */
  hears(chunk: Buffer): void {
    if (this.#mayHaveWritten) return;
    const line = chunk.subarray(0, 4096).toString('latin1');
    const isOne = reads.test(line) || fetches.test(line);
    if (isOne) this.#isFetch = fetches.test(line);
    // What a fetch asks for comes in several pieces.
    else if (!this.#isFetch || begins.test(line)) this.#mayHaveWritten = true;
    // Behind its own line there is no other one: who asks ahead may ask for anything.
    const text = Buffer.concat([this.#tail, chunk]);
    this.#tail = Buffer.from(text.subarray(-requestMark.length + 1));
    const own = isOne ? text.indexOf(requestMark) : -1;
    if (text.includes(requestMark, own + 1)) this.#mayHaveWritten = true;
  }

  /** GitLab's answer, or a part of it. False: nothing more is read of it for now. */
  give(bytes: Buffer): boolean {
    const { client, room, now, confirmedAt } = this.#parts;
    if (this.#size === 0 && (!this.#mayHaveWritten || confirmedAt() === null)) return client.write(bytes);
    this.#pieces.push({ at: now(), bytes });
    this.#count(bytes.length);
    return this.#size < mostBytes && room.bytes < mostOfAllBytes;
  }

  /** The lease is another one: what came before it was asked for passes. */
  look(): void {
    const confirmedAt = this.#parts.confirmedAt() ?? Number.POSITIVE_INFINITY;
    let passed = false;
    // In one step of the clock either may have been first.
    for (let one = this.#pieces[0]; one !== undefined && one.at < confirmedAt; one = this.#pieces[0]) {
      this.#pieces.shift();
      this.#count(-one.bytes.length);
      this.#parts.client.write(one.bytes);
      passed = true;
    }
    // A client that reads slower than leases come would have all of GitLab's answer in this process: it says itself when it has read.
    const isNext = passed && !this.#parts.client.writableNeedDrain;
    if (this.#size > 0) return void (isNext && this.#parts.goOn());
    const then = this.#whenEmpty;
    this.#whenEmpty = null;
    then?.();
    if (isNext) this.#parts.goOn();
  }

  /** Behind all that waits. */
  after(then: () => void): void {
    if (this.#size === 0) then();
    else this.#whenEmpty = then;
  }

  /** The connection is cut. */
  drop(): void {
    this.#count(-this.#size);
    this.#pieces.length = 0;
    this.#whenEmpty = null;
  }

  #count(bytes: number): void {
    this.#size += bytes;
    this.#parts.room.bytes += bytes;
  }
}
