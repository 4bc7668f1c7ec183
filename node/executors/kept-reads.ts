import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const bufferBytes = 256 << 10;
/** A read of so much is one of a stream in full flow, whose reader is faster than who writes it: a moment later more lies there at once. */
const isFlow = (count: number): boolean => count >= 16 << 10 && count < 128 << 10;
const momentMs = 1;

/**
 * What a socket brings, by one buffer that is used again. A stream's chunks have memory of their own each, and V8 lets some 32 MiB of
 * them lie before it collects them. To be given to `connect` as `onread`; until `bytes` is called it goes to who listens for 'data',
 * in memory of its own.
 */
export class KeptReads {
  readonly onread: { buffer: Uint8Array; callback(count: number): boolean };
  readonly #buffer = Buffer.allocUnsafeSlow(bufferBytes);
  #socket: Socket | null = null;
  #isTaken = false;
  #count = 0;
  /** Of the end: none yet, a good one, or why. */
  #end: { error: Error | null } | null = null;
  #wake = (): void => undefined;

  constructor() {
    this.onread = { buffer: this.#buffer, callback: (count) => this.#came(count) };
  }

  /** Whose reads these are, as soon as it is there. */
  of(socket: Socket): Socket {
    this.#socket = socket;
    const over = (error: Error | null): void => {
      this.#end ??= { error };
      this.#wake();
    };
    socket.once('end', () => over(null));
    socket.once('error', over);
    socket.once('close', () => over(new Error('the connection was cut')));
    return socket;
  }

  /** What comes from now on, after `head`; a chunk is the reader's until it asks for the next one. The socket is gone when this ends. */
  bytes(head: Uint8Array): AsyncGenerator<Uint8Array> {
    this.#isTaken = true;
    return this.#read(head);
  }

  async *#read(head: Uint8Array): AsyncGenerator<Uint8Array> {
    const socket = this.#socket as Socket;
    try {
      if (head.length > 0) yield head;
      for (;;) {
        if (this.#count > 0) {
          const count = this.#count;
          yield this.#buffer.subarray(0, count);
          this.#count = 0;
          // Each read costs some kilobytes of promises in all who hand it on: of many small ones V8's young generation grows by 14 MiB.
          if (isFlow(count)) await sleep(momentMs);
        } else if (this.#end !== null) {
          if (this.#end.error !== null) throw this.#end.error;
          return;
        } else
          await new Promise<void>((come) => {
            this.#wake = come;
            socket.resume();
          });
      }
    } finally {
      socket.destroy();
    }
  }

  /** False: no more is read until it is asked for. */
  #came(count: number): boolean {
    if (!this.#isTaken) {
      this.#socket?.emit('data', Buffer.from(this.#buffer.subarray(0, count)));
      // Whoever heard it may have taken what follows.
      return !this.#isTaken;
    }
    this.#count = count;
    this.#wake();
    return false;
  }
}
