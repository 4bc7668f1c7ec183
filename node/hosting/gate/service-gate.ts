import { createServer as createPages, type Server as Pages } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import type { SecureContext } from 'node:tls';
import type { Clock } from '../../clock.ts';
import type { Client } from '../forward/hand-over.ts';
import { ClientShare, clientOf } from './client-share.ts';
import { type Door, pushSocketIn } from './gate-files.ts';
import { type GateLease, newerLease, type Passage, passage, readLease } from './gate-lease.ts';
import { answerPage, answerSsh, heldAnswer, proxyLine } from './gate-words.ts';
import { HeldAnswers } from './held-answers.ts';
import { whenInOrder } from './in-order.ts';
import { type Entrances, MemberDoor, toldClient } from './member-door.ts';
import { leadToTls } from './plain-http.ts';
import { holdLimits, PushWatch, pushesSettled } from './push-hold.ts';
import { reset, speakTls } from './tls-door.ts';

const limits = {
  /** At one door, those included that read a page. */
  connections: 4096,
  connectMs: 5000,
  /** How old the gate's knowledge of the lease may be. That it has run out is seen at once, by the clock. */
  lookMs: 50,
  /** What the gate says itself it says within this time, or not: whoever sends no whole request may not stay. */
  pageMs: 10_000,
  /** Nothing moves: GitLab's own limits are shorter, but for a terminal that somebody left open. */
  idleMs: 3_600_000,
  /** A client whose machine lost its power is found out by the kernel's questions. */
  keepAliveMs: 60_000,
  chunkBytes: 64 << 10,
  dropsSaidMs: 60_000,
} as const;

/** What GitLab sends is read into it and copied at once, so that a connection that rests has no memory of its own. */
const room = Buffer.allocUnsafeSlow(limits.chunkBytes);

interface Entrance {
  tls: SecureContext | null;
  /** Of one that another machine hands on. */
  from: Client | null;
}

interface Passing {
  client: Socket;
  from: Client | null;
  behind: Socket;
  /** What GitLab answers to the first request of a push is held while another push waits for its copy: each part, until its client goes on. */
  answer: 'passes' | 'to be held' | 'held' | 'refused';
  /** A part of that answer has passed. */
  isTold: boolean;
  /** Of the strict mode (SAFETY H9). */
  held: HeldAnswers;
  /** Where the container was. */
  upstream: string;
  epoch: number;
}

interface OpenDoor {
  door: Door;
  host: string | undefined;
  enter(client: Socket): void;
  dropped(): void;
  say(sentence: string): void;
}

/** Rejects where its port is taken, with it. */
async function openDoor(servers: { close(): void }[], { door, host, enter, dropped, say }: OpenDoor): Promise<void> {
  const ways = { allowHalfOpen: true, pauseOnConnect: door.kind !== 'https', noDelay: true, keepAlive: true };
  const server = createServer({ ...ways, keepAliveInitialDelay: limits.keepAliveMs }, enter);
  server.maxConnections = limits.connections;
  server.on('drop', dropped);
  servers.push(server);
  await new Promise<void>((listening, failed) => {
    server.once('error', (error) => failed(Object.assign(error, { port: door.port })));
    server.listen(door.port, host, () => listening());
  });
  // Out of descriptors, for one: said, and not the end of what passes.
  server.on('error', (error) => say(`port ${door.port}: ${error.message}`));
}

/**
 * The gate (SAFETY H1): GitLab is reached through it alone, and it asks the lease at every accept and at every chunk, both
 * ways, with a fresh clock. So an agent that is killed or stopped ends GitLab's traffic with its lease, and no answer that
 * GitLab gave too late leaves the machine, however long this process itself slept. It decides nothing: it reads a file.
 */
export class ServiceGate {
  readonly #folder: string;
  readonly #clock: Clock;
  readonly #bootId: string;
  readonly #say: (sentence: string) => void;
  readonly #heard: (lease: GateLease) => void;
  readonly #passing = new Set<Passing>();
  /** Clients that GitLab has not answered yet, and those that read what the gate says. */
  readonly #waiting = new Set<Socket>();
  readonly #servers: { close(): void }[] = [];
  readonly #pages: Pages;
  /** By its port, for what other machines hand on. */
  readonly #entrances: Entrances = new Map();
  readonly #heldRoom = { bytes: 0 };
  #lease: GateLease | null = null;
  #wasOpen = false;
  #droppedAtMs = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | null = null;
  #emptied: (() => void) | null = null;

  constructor(
    folder: string,
    clock: Clock,
    { say, heard }: { say: (sentence: string) => void; heard: (lease: GateLease) => void },
  ) {
    this.#folder = folder;
    this.#clock = clock;
    this.#bootId = clock.bootId();
    this.#say = say;
    this.#heard = heard;
    this.#pages = createPages((request, response) => {
      const now = this.#passage();
      answerPage(request, response, now.kind === 'page' ? now.because : 'GitLab has just come back');
    });
    this.#pages.on('clientError', (_, socket) => socket.destroy());
  }

  /**
   * Listens at every door; rejects when one is taken, with its port. `host` is an address of this machine; by default all of
   * them, of IPv6 and IPv4. `tls`: the certificate of a door of `https`. `members`: one door more, for what other machines of the
   * mesh hand on; its port is told there.
   */
  async listen(
    doors: readonly Door[],
    { host, tls = null, members }: { host?: string; tls?: SecureContext | null; members?: (port: number) => void } = {},
  ): Promise<void> {
    for (const door of doors) {
      const share = new ClientShare(limits.connections);
      this.#entrances.set(door.port, (client, from) => this.#enter(client, door, share, { tls, from }));
      const enter = (client: Socket): void => this.#enter(client, door, share, { tls, from: null });
      await openDoor(this.#servers, { door, host, enter, dropped: () => this.#sayDropped(door), say: this.#say });
    }
    if (members !== undefined) {
      const door = new MemberDoor({ folder: this.#folder, entrances: this.#entrances, say: this.#say });
      this.#servers.push(door);
      members(await door.listen(host));
    }
    this.look();
    this.#timer = setInterval(() => this.look(), limits.lookMs);
  }

  /** Reads the lease; what may pass no more is cut. */
  look(): void {
    this.#read();
    const now = this.#passage();
    for (const one of this.#passing)
      if (now.kind !== 'open' || one.epoch !== now.epoch || one.upstream !== now.upstream) this.#cut(one);
      else one.held.look();
    if ((now.kind === 'open') === this.#wasOpen) return;
    this.#wasOpen = now.kind === 'open';
    this.#say(now.kind === 'open' ? `open, epoch ${now.epoch}` : `shut: ${now.because}`);
  }

  /** Another gate takes the doors: what passes goes on, by the same lease. Resolves when nothing is left. */
  retire(): Promise<void> {
    this.#say(`retired, with ${this.#passing.size} connections that go on`);
    for (const server of this.#servers) server.close();
    return new Promise((done) => {
      this.#emptied = done;
      this.#seeWhetherEmpty();
    });
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    for (const server of this.#servers) server.close();
    for (const one of this.#passing) this.#cut(one);
    for (const socket of this.#waiting) socket.destroy();
  }

  #seeWhetherEmpty(): void {
    if (this.#passing.size + this.#waiting.size === 0) this.#emptied?.();
  }

  #sayDropped({ port }: Door, whose = ''): void {
    const now = this.#clock.bootMs();
    if (now - this.#droppedAtMs < limits.dropsSaidMs) return;
    this.#droppedAtMs = now;
    this.#say(
      whose === ''
        ? `port ${port} has ${limits.connections} connections: more are turned away`
        : `port ${port}: connections are turned away${whose}`,
    );
  }

  #read(): void {
    const before = this.#lease?.id;
    this.#lease = newerLease(this.#lease, readLease(this.#folder));
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

  #enter(client: Socket, door: Door, share: ClientShare, { tls, from }: Entrance): void {
    const who = clientOf(from?.address ?? client.remoteAddress ?? '');
    if (!share.enter(who)) {
      client.on('error', () => undefined);
      client.resetAndDestroy();
      return this.#sayDropped(door, ` of ${who}, which has as many as are left for all others`);
    }
    client.once('close', () => share.leave(who));
    if (door.kind === 'redirect') {
      this.#wait(client);
      leadToTls(client, door.behind);
    } else if (door.kind !== 'https') this.#accept(client, door, from);
    else if (tls === null) client.resetAndDestroy();
    else this.#secure(client, tls, door, from);
  }

  #secure(raw: Socket, tls: SecureContext, door: Door, from: Client | null): void {
    this.#wait(raw);
    speakTls(raw, tls, {
      ready: (client) => this.#accept(client, door, from),
      inTheClear: (client) => leadToTls(client, door.port),
    });
    // What was handed on had its first lines read, and was stopped behind them.
    raw.resume();
  }

  #wait(client: Socket): void {
    client.on('error', () => client.destroy());
    this.#waiting.add(client);
    client.on('close', () => {
      this.#waiting.delete(client);
      this.#seeWhetherEmpty();
    });
  }

  #accept(client: Socket, door: Door, from: Client | null): void {
    this.#wait(client);
    const now = this.#passage();
    if (now.kind === 'page') {
      this.#turnAway(client, door, now.because);
      return;
    }
    const { upstream, epoch, tellsClient } = now;
    const behindIt = this.#reach(upstream, door.behind, () => one);
    const held = new HeldAnswers({
      ...{ client, kind: door.kind, room: this.#heldRoom },
      now: () => this.#clock.bootMs(),
      confirmedAt: () => this.#lease?.confirmedAt ?? null,
      goOn: () => void (one.answer === 'held' || behindIt.destroyed || behindIt.resume()),
    });
    const one: Passing = { client, from, behind: behindIt, answer: 'passes', isTold: false, held, upstream, epoch };
    const { behind } = one;
    behind.setTimeout(limits.connectMs, () => behind.destroy(new Error('no answer')));
    const failed = (error: Error): void => {
      if (!client.destroyed) this.#turnAway(client, door, `GitLab does not answer its gate (${error.message})`);
    };
    behind.once('error', failed);
    client.once('close', () => behind.destroy());
    behind.once('connect', () => {
      behind.off('error', failed);
      behind.setTimeout(0);
      this.#waiting.delete(client);
      this.#carry(one, { ...door, proxy: door.proxy && tellsClient });
    });
  }

  /**
   * Read by hand, so that each short read is followed by another one after a stop. libuv makes an end of a hang-up behind a short
   * read where it goes on reading, and a reset is a hang-up too: half an answer of a GitLab that died would be a whole one for
   * its client. Where reading was stopped and begins again, the kernel is asked, and says which it was.
   */
  #reach(host: string, port: number, passing: () => Passing): Socket {
    return connect({
      host,
      port,
      allowHalfOpen: true,
      noDelay: true,
      onread: { buffer: room, callback: (bytes) => this.#fromBehind(passing(), bytes) },
    });
  }

  /** False: no more is read, for now. */
  #fromBehind(one: Passing, bytes: number): boolean {
    const { behind, epoch } = one;
    // Behind the arrival, not before it: an answer that GitLab gave in time and that is late here is late.
    if (!this.#mayPass(epoch)) {
      this.#cut(one);
      return false;
    }
    if (one.answer === 'refused') return true;
    if (one.answer === 'to be held') {
      void this.#hold(one, Buffer.from(room.subarray(0, bytes)));
      return false;
    }
    if (!one.held.give(Buffer.from(room.subarray(0, bytes)))) return false;
    if (bytes === room.length) return true;
    setImmediate(() => behind.destroyed || behind.resume());
    return false;
  }

  #turnAway(client: Socket, { kind }: Door, because: string): void {
    const late = setTimeout(() => client.destroy(), limits.pageMs);
    client.once('close', () => clearTimeout(late));
    if (kind === 'http' || kind === 'https') this.#pages.emit('connection', client);
    else if (kind === 'ssh') answerSsh(client, because);
    else client.resetAndDestroy();
    client.resume();
  }

  #carry(one: Passing, { proxy, kind }: Door): void {
    const { client, behind, epoch } = one;
    if (!this.#mayPass(epoch)) {
      this.#cut(one);
      return;
    }
    this.#passing.add(one);
    client.setTimeout(limits.idleMs, () => this.#cut(one));
    if (proxy) behind.write(proxyLine(one.from === null ? client : toldClient(one.from)));
    const pushes = kind === 'http' || kind === 'https' ? new PushWatch() : null;
    client.on('data', (chunk: Buffer) => {
      if (!this.#mayPass(epoch)) this.#cut(one);
      else if (one.answer !== 'refused') {
        const begins = pushes?.begins(chunk) ?? false;
        // Nobody asks again before an answer; whose part is whose could not be told.
        if (begins && (one.answer === 'held' || (one.answer === 'to be held' && !one.isTold))) return this.#cut(one);
        if (begins || (one.answer === 'to be held' && one.isTold)) {
          one.answer = begins ? 'to be held' : 'passes';
          one.isTold = false;
        }
        one.held.hears(chunk);
        if (!behind.write(chunk)) client.pause();
      }
    });
    const end = (to: Socket) => (): void => {
      if (this.#mayPass(epoch)) to.end();
      else this.#cut(one);
    };
    client.on('end', () => whenInOrder(client, end(behind)));
    behind.on('end', () => one.held.after(end(client)));
    for (const [from, to] of [
      [client, behind],
      [behind, client],
    ] as const) {
      to.on('drain', () => (from === behind && one.answer === 'held') || from.resume());
      // A reset is handed on as one: as a clean end it would make half an answer a whole one.
      from.on('error', () => this.#cut(one));
      from.on('close', () => {
        if (!from.readableEnded || !from.writableFinished) this.#cut(one);
        else if (to.destroyed) this.#passed(one);
      });
    }
    client.resume();
  }

  /** What GitLab has read of its refs is told when no push waits that had changed them by then. */
  async #hold(one: Passing, answer: Buffer): Promise<void> {
    const { client, behind, epoch } = one;
    one.answer = 'held';
    const isOver = (): boolean => client.destroyed || !this.#mayPass(epoch);
    const { isSettled, because } = await pushesSettled(pushSocketIn(this.#folder), isOver, holdLimits.wordsMs);
    const wasTold = one.isTold;
    one.answer = because === null ? 'to be held' : 'refused';
    one.isTold = true;
    if (because !== null && !wasTold) this.#refuse(one, because);
    else if (because !== null || !isSettled) this.#cut(one);
    else if (one.held.give(answer)) behind.resume();
  }

  /** Nothing of GitLab's answer was told: this one stands in its place, and whatever GitLab says is nobody's. */
  #refuse(one: Passing, because: string): void {
    const late = setTimeout(() => this.#cut(one), limits.pageMs);
    one.client.once('close', () => clearTimeout(late));
    one.held.after(() => one.client.end(heldAnswer(because)));
    one.behind.resume();
  }

  #passed(one: Passing): void {
    this.#passing.delete(one);
    this.#seeWhetherEmpty();
  }

  #cut(one: Passing): void {
    one.held.drop();
    for (const socket of [one.client, one.behind]) if (!socket.destroyed) reset(socket);
    this.#passed(one);
  }
}
