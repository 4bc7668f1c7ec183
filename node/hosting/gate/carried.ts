import { connect, type Socket } from 'node:net';
import type { Door } from './gate-files.ts';
import { heldAnswer } from './gate-words.ts';
import { HeldAnswers, type HeldRoom } from './held-answers.ts';
import { whenInOrder } from './in-order.ts';
import { holdLimits, pushesSettled, RefsWatch } from './push-hold.ts';
import { reset } from './tls-door.ts';

const limits = {
  /** Nothing moves: GitLab's own limits are shorter, but for a terminal that somebody left open. */
  idleMs: 3_600_000,
  /** A client that was refused reads why within this time, or not. */
  refusedMs: 10_000,
  chunkBytes: 64 << 10,
} as const;

/** What GitLab sends is read into it and copied at once, so that a connection that rests has no memory of its own. */
const chunk = Buffer.allocUnsafeSlow(limits.chunkBytes);

interface CarriedParts {
  client: Socket;
  door: Door;
  /** Where the container is. */
  upstream: string;
  epoch: number;
  /** Of the whole gate (SAFETY H9). */
  room: HeldRoom;
  /** Where the agent says whether a push waits. */
  pushes: string;
  /** ms of boot time. */
  now(): number;
  /** ms of boot time at which the host asked for its lease; null: the strict mode is off. */
  confirmedAt(): number | null;
  /** The lease lets GitLab's bytes of this epoch pass at this moment. */
  mayPass(): boolean;
  ended(one: Carried): void;
}

/** One client, and GitLab behind the gate: each chunk of both passes while the lease says so (SAFETY H1). */
export class Carried {
  readonly behind: Socket;
  readonly #parts: CarriedParts;
  /** Of the strict mode. */
  readonly #held: HeldAnswers;
  readonly #refs: RefsWatch | null;
  /** Refs are told once no push waits that may have changed them (SAFETY H10); refused: the gate has said why not. */
  #answer: 'passes' | 'waits' | 'refused' = 'passes';

  /**
   * Read by hand, so that each short read is followed by another one after a stop. libuv makes an end of a hang-up behind a short
   * read where it goes on reading, and a reset is a hang-up too: half an answer of a GitLab that died would be a whole one for
   * its client. Where reading was stopped and begins again, the kernel is asked, and says which it was.
   */
  constructor(parts: CarriedParts) {
    const { client, door, upstream, room, now, confirmedAt } = parts;
    this.#parts = parts;
    this.#refs = door.kind === 'http' || door.kind === 'https' ? new RefsWatch() : null;
    this.#held = new HeldAnswers({ client, kind: door.kind, room, now, confirmedAt, goOn: () => this.#readOn() });
    this.behind = connect({
      ...{ host: upstream, port: door.behind, allowHalfOpen: true, noDelay: true },
      onread: { buffer: chunk, callback: (bytes) => this.#fromGitlab(Buffer.from(chunk.subarray(0, bytes))) },
    });
  }

  get epoch(): number {
    return this.#parts.epoch;
  }

  get upstream(): string {
    return this.#parts.upstream;
  }

  /** `first`: GitLab hears it before the client. */
  begin(first: string): void {
    const { behind } = this;
    const { client } = this.#parts;
    client.setTimeout(limits.idleMs, () => this.cut());
    if (first !== '') behind.write(first);
    client.on('data', (bytes: Buffer) => this.#fromClient(bytes));
    client.on('end', () => whenInOrder(client, () => this.#end(behind)));
    behind.on('end', () => this.#held.after(() => this.#end(client)));
    client.on('drain', () => this.#readOn());
    behind.on('drain', () => client.resume());
    for (const [from, to] of [
      [client, behind],
      [behind, client],
    ] as const) {
      // A reset is handed on as one: as a clean end it would make half an answer a whole one.
      from.on('error', () => this.cut());
      from.on('close', () => {
        if (!from.readableEnded || !from.writableFinished) this.cut();
        else if (to.destroyed) this.#parts.ended(this);
      });
    }
    client.resume();
  }

  /** The lease is another one. */
  look(): void {
    this.#held.look();
  }

  cut(): void {
    this.#held.drop();
    for (const socket of [this.#parts.client, this.behind]) if (!socket.destroyed) reset(socket);
    this.#parts.ended(this);
  }

  #end(to: Socket): void {
    if (this.#parts.mayPass()) to.end();
    else this.cut();
  }

  /** A part of GitLab's answer that waits is passed by none that comes later. */
  #readOn(): void {
    if (this.#answer !== 'waits' && !this.behind.destroyed) this.behind.resume();
  }

  #fromClient(bytes: Buffer): void {
    if (!this.#parts.mayPass()) return this.cut();
    if (this.#answer === 'refused') return;
    this.#held.hears(bytes);
    if (!this.behind.write(bytes)) this.#parts.client.pause();
  }

  /** False: no more is read, for now. */
  #fromGitlab(bytes: Buffer): boolean {
    // Behind the arrival, not before it: an answer that GitLab gave in time and that is late here is late.
    if (!this.#parts.mayPass()) {
      this.cut();
      return false;
    }
    if (this.#answer === 'refused') return true;
    const part = this.#refs?.sees(bytes) ?? 'other';
    if (part !== 'other') {
      void this.#wait(bytes, part === 'first of refs');
      return false;
    }
    if (!this.#held.give(bytes)) return false;
    if (bytes.length === limits.chunkBytes) return true;
    setImmediate(() => this.#readOn());
    return false;
  }

  /** What GitLab has read of its refs is told when no push waits that had changed them by then. */
  async #wait(answer: Buffer, isFirst: boolean): Promise<void> {
    const { client, pushes, mayPass } = this.#parts;
    this.#answer = 'waits';
    const isOver = (): boolean => client.destroyed || !mayPass();
    const { isSettled, because } = await pushesSettled(pushes, isOver, holdLimits.wordsMs);
    this.#answer = because === null ? 'passes' : 'refused';
    if (because !== null && isFirst) this.#refuse(because);
    else if (!isSettled) this.cut();
    else if (this.#held.give(answer)) this.#readOn();
  }

  /** Nothing of GitLab's answer was told: this one stands in its place, and whatever GitLab says is nobody's. */
  #refuse(because: string): void {
    const { client } = this.#parts;
    const late = setTimeout(() => this.cut(), limits.refusedMs);
    client.once('close', () => clearTimeout(late));
    this.#held.after(() => client.end(heldAnswer(because)));
    this.behind.resume();
  }
}
