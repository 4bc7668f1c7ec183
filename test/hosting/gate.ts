import { createServer as createPages, type Server as Pages } from 'node:http';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Clock } from '../../node/clock.ts';
import { type GateLease, newerLease, type Passage, passage, readLease } from './gate-lease.ts';
import { answerPage, answerSsh, proxyLine } from './gate-words.ts';

/** One port of GitLab as the LAN sees it. */
export interface Door {
  /** `http` can show a page, `ssh` a sentence; `tls` can only be cut. */
  kind: 'http' | 'ssh' | 'tls';
  port: number;
  /** The port of GitLab's container behind it. */
  behind: number;
  /** GitLab is told who the client is (PROXY protocol): nginx understands it, the image's OpenSSH does not. */
  proxy: boolean;
}

const limits = {
  connections: 4096,
  connectMs: 5000,
  /** How old the gate's knowledge of the lease may be. That it has run out is seen at once, by the clock. */
  lookMs: 50,
} as const;

const noBytes = Buffer.alloc(0);

/**
 * Calls back if the other side has ended and not reset. Of a reset that comes behind a short read libuv makes an end, as it
 * reads no further; the error waits in the socket, and the next write gets it: of no bytes, or what waits to be written. Then
 * the socket has its 'error'. Where nothing may be written any more, since the end was handed on there, both look the same.
 */
function whenInOrder(from: Socket, then: () => void): void {
  if (from.writableEnded) then();
  else if (from.writableLength === 0) from.write(noBytes, (error) => error ?? then());
  else setImmediate(() => from.destroyed || then());
}

interface Passing {
  client: Socket;
  behind: Socket;
  epoch: number;
}

/**
 * The gate (SAFETY H1): GitLab is reached through it alone, and it asks the lease at every accept and at every chunk, both
 * ways, with a fresh clock. So an agent that is killed or stopped ends GitLab's traffic with its lease, and no answer that
 * GitLab gave too late leaves the machine, however long this process itself slept. It decides nothing: it reads a file.
 */
export class Gate {
  readonly #home: string;
  readonly #clock: Clock;
  readonly #bootId: string;
  readonly #say: (sentence: string) => void;
  readonly #heard: (lease: GateLease) => void;
  readonly #passing = new Set<Passing>();
  readonly #waiting = new Set<Socket>();
  readonly #servers: Server[] = [];
  readonly #pages: Pages;
  #lease: GateLease | null = null;
  #wasOpen = false;
  #timer: NodeJS.Timeout | null = null;

  constructor(
    home: string,
    clock: Clock,
    { say, heard }: { say: (sentence: string) => void; heard: (lease: GateLease) => void },
  ) {
    this.#home = home;
    this.#clock = clock;
    this.#bootId = clock.bootId();
    this.#say = say;
    this.#heard = heard;
    this.#pages = createPages((request, response) => {
      const now = this.#passage();
      answerPage(request, response, now.kind === 'page' ? now.because : 'GitLab has just come back');
    });
    this.#pages.headersTimeout = 10_000;
    this.#pages.requestTimeout = 30_000;
    this.#pages.on('clientError', (_, socket) => socket.destroy());
  }

  /** Listens at every door; rejects when one is taken. `host` is an address of this machine; by default all of them. */
  async listen(doors: readonly Door[], host?: string): Promise<void> {
    for (const door of doors) {
      const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) =>
        this.#accept(socket, door),
      );
      server.maxConnections = limits.connections;
      this.#servers.push(server);
      await new Promise<void>((listening, failed) => {
        server.once('error', failed);
        server.listen(door.port, host, () => listening());
      });
    }
    this.look();
    this.#timer = setInterval(() => this.look(), limits.lookMs);
  }

  /** Reads the lease; what may pass no more is cut. */
  look(): void {
    this.#read();
    const now = this.#passage();
    for (const one of this.#passing) if (now.kind !== 'open' || one.epoch !== now.epoch) this.#cut(one);
    if ((now.kind === 'open') === this.#wasOpen) return;
    this.#wasOpen = now.kind === 'open';
    this.#say(now.kind === 'open' ? `open, epoch ${now.epoch}` : `shut: ${now.because}`);
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    for (const server of this.#servers) server.close();
    for (const one of this.#passing) this.#cut(one);
    for (const socket of this.#waiting) socket.destroy();
    this.#pages.closeAllConnections();
  }

  #read(): void {
    const before = this.#lease?.id;
    this.#lease = newerLease(this.#lease, readLease(this.#home));
    if (this.#lease !== null && this.#lease.id !== before) this.#heard(this.#lease);
  }

  /** At this moment, by a fresh clock; before it says no it looks whether the agent has written a newer lease. */
  #passage(): Passage {
    const now = passage(this.#lease, this.#clock.bootMs(), this.#bootId);
    if (now.kind === 'open') return now;
    this.#read();
    return passage(this.#lease, this.#clock.bootMs(), this.#bootId);
  }

  #mayPass(epoch: number): boolean {
    const now = this.#passage();
    return now.kind === 'open' && now.epoch === epoch;
  }

  #accept(client: Socket, door: Door): void {
    client.on('error', () => client.destroy());
    const now = this.#passage();
    if (now.kind === 'page') {
      this.#turnAway(client, door, now.because);
      return;
    }
    this.#waiting.add(client);
    client.on('close', () => this.#waiting.delete(client));
    const behind = connect({ host: now.upstream, port: door.behind, allowHalfOpen: true, noDelay: true });
    behind.setTimeout(limits.connectMs, () => behind.destroy(new Error('no answer')));
    const failed = (error: Error): void => {
      this.#waiting.delete(client);
      if (!client.destroyed) this.#turnAway(client, door, `GitLab does not answer its gate (${error.message})`);
    };
    behind.once('error', failed);
    client.once('close', () => behind.destroy());
    behind.once('connect', () => {
      behind.off('error', failed);
      behind.setTimeout(0);
      this.#waiting.delete(client);
      this.#carry({ client, behind, epoch: now.epoch }, door);
    });
  }

  #turnAway(client: Socket, { kind }: Door, because: string): void {
    if (kind === 'http') this.#pages.emit('connection', client);
    else if (kind === 'ssh') answerSsh(client, because);
    else client.resetAndDestroy();
    client.resume();
  }

  #carry(one: Passing, { proxy }: Door): void {
    const { client, behind, epoch } = one;
    if (!this.#mayPass(epoch)) {
      this.#cut(one);
      return;
    }
    this.#passing.add(one);
    if (proxy) behind.write(proxyLine(client));
    for (const [from, to] of [
      [client, behind],
      [behind, client],
    ] as const) {
      from.on('data', (chunk: Buffer) => {
        // Behind the arrival, not before it: an answer that GitLab gave in time and that is late here is late.
        if (!this.#mayPass(epoch)) this.#cut(one);
        else if (!to.write(chunk)) from.pause();
      });
      to.on('drain', () => from.resume());
      from.on('end', () =>
        whenInOrder(from, () => {
          if (this.#mayPass(epoch)) to.end();
          else this.#cut(one);
        }),
      );
      // A reset is handed on as one: as a clean end it would make half an answer a whole one.
      from.on('error', () => this.#cut(one));
      from.on('close', () => {
        if (!from.readableEnded || !from.writableFinished) this.#cut(one);
        else if (to.destroyed) this.#passing.delete(one);
      });
    }
    client.resume();
  }

  #cut(one: Passing): void {
    this.#passing.delete(one);
    for (const socket of [one.client, one.behind]) if (!socket.destroyed) socket.resetAndDestroy();
  }
}
