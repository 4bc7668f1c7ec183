import { createServer as createPages, type Server as Pages } from 'node:http';
import { createServer, type Socket } from 'node:net';
import type { SecureContext } from 'node:tls';
import type { Clock } from '../../clock.ts';
import type { Client } from '../forward/hand-over.ts';
import { Carried } from './carried.ts';
import { ClientShare, clientOf } from './client-share.ts';
import { type Door, pushSocketIn } from './gate-files.ts';
import { type GateLease, newerLease, type Passage, passage, readLease } from './gate-lease.ts';
import { answerPage, answerSsh, proxyLine } from './gate-words.ts';
import { type Entrances, MemberDoor, toldClient } from './member-door.ts';
import { leadToTls } from './plain-http.ts';
import { speakTls } from './tls-door.ts';

const limits = {
  /** At one door, those included that read a page. */
  connections: 4096,
  connectMs: 5000,
  /** How old the gate's knowledge of the lease may be. That it has run out is seen at once, by the clock. */
  lookMs: 50,
  /** What the gate says itself it says within this time, or not: whoever sends no whole request may not stay. */
  pageMs: 10_000,
  /** A client whose machine lost its power is found out by the kernel's questions. */
  keepAliveMs: 60_000,
  dropsSaidMs: 60_000,
} as const;

interface Entrance {
  tls: SecureContext | null;
  /** Of one that another machine hands on. */
  from: Client | null;
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
  readonly #passing = new Set<Carried>();
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
      if (now.kind !== 'open' || one.epoch !== now.epoch || one.upstream !== now.upstream) one.cut();
      else one.look();
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
    for (const one of this.#passing) one.cut();
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
    const one = this.#reach(client, door, { upstream, epoch });
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
      if (!this.#mayPass(epoch)) return one.cut();
      this.#passing.add(one);
      one.begin(door.proxy && tellsClient ? proxyLine(from === null ? client : toldClient(from)) : '');
    });
  }

  #reach(client: Socket, door: Door, { upstream, epoch }: { upstream: string; epoch: number }): Carried {
    return new Carried({
      ...{ client, door, upstream, epoch, room: this.#heldRoom, pushes: pushSocketIn(this.#folder) },
      now: () => this.#clock.bootMs(),
      confirmedAt: () => this.#lease?.confirmedAt ?? null,
      mayPass: () => this.#mayPass(epoch),
      ended: (one) => {
        this.#passing.delete(one);
        this.#seeWhetherEmpty();
      },
    });
  }

  #turnAway(client: Socket, { kind }: Door, because: string): void {
    const late = setTimeout(() => client.destroy(), limits.pageMs);
    client.once('close', () => clearTimeout(late));
    if (kind === 'http' || kind === 'https') this.#pages.emit('connection', client);
    else if (kind === 'ssh') answerSsh(client, because);
    else client.resetAndDestroy();
    client.resume();
  }
}
