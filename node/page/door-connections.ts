import type { Socket } from 'node:net';

/**
 * Who holds a connection to the page's door. Connections that have shown no session and no key are few, and so are those of one session or
 * key; the oldest gives way to the newest: whoever opens a thousand keeps nobody out, and costs no more than those few.
 */
export class DoorConnections {
  readonly #most: { strangers: number; ofOne: number };
  /** In the order in which they came; null: strangers. */
  readonly #held = new Map<string | null, Set<Socket>>();
  readonly #whose = new Map<Socket, string | null>();

  constructor(most: { strangers: number; ofOne: number }) {
    this.#most = most;
  }

  entered(socket: Socket): void {
    socket.on('error', () => {});
    socket.once('close', () => this.#leave(socket));
    this.#put(socket, null);
  }

  /** It has shown that it may be here. */
  known(socket: Socket, name: string): void {
    const whose = this.#whose.get(socket);
    if (whose === undefined || whose === name) return;
    this.#leave(socket);
    this.#put(socket, name);
  }

  get strangers(): number {
    return this.#held.get(null)?.size ?? 0;
  }

  #put(socket: Socket, name: string | null): void {
    const held = this.#held.get(name) ?? new Set();
    this.#held.set(name, held.add(socket));
    this.#whose.set(socket, name);
    const most = name === null ? this.#most.strangers : this.#most.ofOne;
    for (const oldest of held) {
      if (held.size <= most) return;
      this.#leave(oldest);
      oldest.destroy();
    }
  }

  #leave(socket: Socket): void {
    const whose = this.#whose.get(socket);
    if (whose === undefined) return;
    this.#whose.delete(socket);
    const held = this.#held.get(whose);
    held?.delete(socket);
    if (held?.size === 0) this.#held.delete(whose);
  }
}
