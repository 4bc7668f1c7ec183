import type { Socket } from 'node:net';

/** So much of a client's is passed before the gate has said that it has taken it. */
const mostBytes = 64 << 10;

/**
 * What a client says before the gate has taken it: passed on at once, as that gate has shown already who it is, and kept until then. What
 * was passed is passed to nobody else, as GitLab may have it; where the gate did not take it the client has said nothing yet, and is
 * told so.
 */
export class EarlyBytes {
  readonly #client: Socket;
  #kept: Buffer[] = [];
  #bytes = 0;
  #more: ((chunk: Buffer) => void) | null = null;

  constructor(client: Socket) {
    this.#client = client;
  }

  /** Some of it has left. */
  get isSaid(): boolean {
    return this.#bytes > 0;
  }

  passTo(behind: Socket): void {
    this.#more = (chunk) => {
      this.#kept.push(chunk);
      this.#bytes += chunk.length;
      behind.write(chunk);
      if (this.#bytes >= mostBytes) this.#client.pause();
    };
    this.#client.on('data', this.#more).resume();
  }

  /** The gate has taken it. */
  end(): void {
    if (this.#more !== null) this.#client.off('data', this.#more).pause();
    this.#more = null;
    this.#kept = [];
  }

  /** Nobody has: read again, by whoever says why. */
  giveBack(): void {
    const said = Buffer.concat(this.#kept);
    this.end();
    if (said.length > 0 && !this.#client.readableEnded) this.#client.unshift(said);
  }
}
