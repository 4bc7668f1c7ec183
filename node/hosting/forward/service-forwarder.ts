import { createServer as createPages, type Server as Pages } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import { sentenceOf } from '../../../protocol/errors.ts';
import type { Clock } from '../../clock.ts';
import { ClientShare, clientOf } from '../gate/client-share.ts';
import { answerPage, answerSsh } from '../gate/gate-words.ts';
import { whenInOrder } from '../gate/in-order.ts';
import { EarlyBytes } from './early-bytes.ts';
import {
  type ForwardDoor,
  type ForwardSeen,
  type ForwardTarget,
  type PortProblem,
  readTarget,
} from './forward-files.ts';
import { GateCall, GateRefuses, NotReached } from './gate-call.ts';
import { bareAddress, type Client } from './hand-over.ts';
import { SpareCalls } from './spare-calls.ts';

const limits = {
  /** At one door, those included that read a page. */
  connections: 1024,
  /** While nobody was reached so long ago, whoever comes reads why at once. */
  restMs: 2000,
  /** How old the knowledge of the target may be; and for a time where that has no gate yet, as GitLab has just moved. */
  lookMs: 250,
  lookSoonMs: 50,
  soonMs: 30_000,
  pageMs: 10_000,
  /** As the gate's. */
  idleMs: 3_600_000,
  keepAliveMs: 60_000,
} as const;

type Gate = NonNullable<ForwardTarget['gate']>;

/** A gate did not say that it took a client of whom it has heard something: GitLab may have it, so that nobody is told it again. */
class Unsure extends Error {}

/**
 * Listens on GitLab's ports on a machine that does not host it, and hands on what comes, byte for byte, to the gate of the one that
 * does. It decides nothing: the host's gate looks at its lease, so one that knows an earlier host leads to a page, never to a GitLab
 * that may not be served. It ends with its agent, a minute later.
 */
export class ServiceForwarder {
  readonly #folder: string;
  readonly #clock: Clock;
  readonly #bootId: string;
  readonly #say: (sentence: string) => void;
  readonly #seen: (id: string, seen: ForwardSeen) => void;
  readonly #servers: Server[] = [];
  readonly #clients = new Set<Socket>();
  readonly #pages: Pages;
  readonly #spares = new SpareCalls();
  readonly #pageFor = new WeakMap<Socket, string>();
  #target: ForwardTarget | null = null;
  /** ms of boot time since when it is that one. */
  #newAtMs = 0;
  #problem: { atMs: number; because: string; of: string } | null = null;
  #timer: NodeJS.Timeout | null = null;
  #emptied: (() => void) | null = null;

  constructor(
    folder: string,
    clock: Clock,
    { say, seen }: { say: (sentence: string) => void; seen: (id: string, seen: ForwardSeen) => void },
  ) {
    this.#folder = folder;
    this.#clock = clock;
    this.#bootId = clock.bootId();
    this.#say = say;
    this.#seen = seen;
    this.#pages = createPages((request, response) =>
      answerPage(request, response, this.#pageFor.get(request.socket) ?? 'GitLab is not reached from this machine'),
    );
    this.#pages.on('clientError', (_, socket) => socket.destroy());
  }

  /** The agent's last word is older than it may be. */
  get isAlone(): boolean {
    const target = this.#target;
    return target === null || target.bootId !== this.#bootId || this.#clock.bootMs() >= target.until;
  }

  /** At each door that is free; resolves with those that are not. `host`: by default all addresses, of IPv6 and IPv4. */
  async listen(doors: readonly ForwardDoor[], host?: string): Promise<PortProblem[]> {
    this.look();
    const problems: PortProblem[] = [];
    for (const door of doors) {
      const error = await this.#listenAt(door, host);
      if (error !== null) problems.push({ port: door.port, code: error.code ?? '', message: error.message });
    }
    this.#lookOn();
    return problems;
  }

  #listenAt(door: ForwardDoor, host: string | undefined): Promise<NodeJS.ErrnoException | null> {
    const share = new ClientShare(limits.connections);
    const ways = { allowHalfOpen: true, pauseOnConnect: true, noDelay: true };
    const server = createServer({ ...ways, keepAlive: true, keepAliveInitialDelay: limits.keepAliveMs }, (socket) =>
      this.#enter(socket, door, share),
    );
    server.maxConnections = limits.connections;
    return new Promise((done) => {
      server.once('error', done);
      server.listen(door.port, host, () => {
        server.off('error', done);
        server.on('error', (error) => this.#say(`port ${door.port}: ${error.message}`));
        this.#servers.push(server);
        done(null);
      });
    });
  }

  #lookOn(): void {
    const isSoon = this.#target?.gate === null && this.#clock.bootMs() - this.#newAtMs < limits.soonMs;
    this.#timer = setTimeout(
      () => {
        this.look();
        this.#lookOn();
      },
      isSoon ? limits.lookSoonMs : limits.lookMs,
    );
  }

  look(): void {
    const read = readTarget(this.#folder);
    if (read === null) return;
    const isNew = read.id !== this.#target?.id;
    this.#target = read;
    if (!isNew) return;
    this.#newAtMs = this.#clock.bootMs();
    // Asked again whether it goes on: another door, another key.
    this.#seen(read.id, this.#problem?.of === wayOf(read.gate) ? 'unreached' : 'fine');
  }

  /** Another forwarder takes the doors: what passes goes on. Resolves when nothing is left. */
  retire(): Promise<void> {
    for (const server of this.#servers) server.close();
    this.#spares.end();
    return new Promise((done) => {
      this.#emptied = done;
      if (this.#clients.size === 0) done();
    });
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    for (const server of this.#servers) server.close();
    this.#spares.end();
    for (const client of this.#clients) client.resetAndDestroy();
  }

  #enter(client: Socket, door: ForwardDoor, share: ClientShare): void {
    const who = clientOf(client.remoteAddress ?? '');
    client.on('error', () => client.destroy());
    if (!share.enter(who)) return void client.resetAndDestroy();
    this.#clients.add(client);
    client.once('close', () => {
      share.leave(who);
      this.#clients.delete(client);
      if (this.#clients.size === 0) this.#emptied?.();
    });
    void this.#handOn(client, door);
  }

  async #handOn(client: Socket, door: ForwardDoor): Promise<void> {
    const target = this.#target;
    if (target === null || target.gate === null) return this.#turnAway(client, door, target?.because ?? '');
    const { gate, because } = target;
    const known = this.#problem;
    if (known?.of === wayOf(gate) && this.#clock.bootMs() - known.atMs < limits.restMs)
      return this.#turnAway(client, door, known.because);
    let problem = because;
    for (const address of gate.addresses)
      try {
        await this.#reach(client, door, { address, gate, node: target.node });
        this.#problem = null;
        this.#seen(target.id, 'fine');
        return;
      } catch (error) {
        if (client.destroyed) return;
        if (error instanceof Unsure) return this.#turnAway(client, door, `${because} (${error.message})`);
        problem = `${because} (${sentenceOf(error)})`;
        this.#seen(target.id, error instanceof NotReached ? 'unreached' : 'refused');
      }
    this.#problem = { atMs: this.#clock.bootMs(), because: problem, of: wayOf(gate) };
    this.#turnAway(client, door, problem);
  }

  /** Resolves once the gate has taken the client, and its bytes pass. */
  async #reach(
    client: Socket,
    { port }: ForwardDoor,
    at: { address: string; gate: Gate; node: string },
  ): Promise<void> {
    const gone = new AbortController();
    const isGone = (): void => gone.abort();
    client.once('close', isGone);
    const over = { node: at.node, door: port, client: clientAt(client) };
    const early = new EarlyBytes(client);
    const taken = async (call: GateCall): Promise<GateCall> => {
      const read = (bytes: Buffer, isWhole: boolean): boolean => {
        if (!client.write(Buffer.from(bytes))) return false;
        if (isWhole) return true;
        setImmediate(() => call.behind.destroyed || call.behind.resume());
        return false;
      };
      await call.take({ over, signal: gone.signal, read, proven: () => early.passTo(call.behind) });
      return call;
    };
    try {
      const spare = this.#spares.take(at.address, at.gate);
      // The gate may have given it up at this moment.
      const call = spare && (await taken(spare).catch((error: Error) => error));
      if (call instanceof Error) {
        // Where the gate says no it has passed nothing on, and the client can be read again unless it has ended.
        const isUnsure = early.isSaid && (client.readableEnded || !(call instanceof GateRefuses));
        early.giveBack();
        if (isUnsure) throw new Unsure(call.message);
      }
      early.end();
      this.#carry(client, (call instanceof GateCall ? call : await taken(new GateCall(at.address, at.gate))).behind);
      this.#spares.prepare(at.address, at.gate, at.node);
    } finally {
      client.off('close', isGone);
    }
  }

  #carry(client: Socket, behind: Socket): void {
    const cut = (): void => {
      for (const socket of [client, behind]) if (!socket.destroyed) socket.resetAndDestroy();
    };
    client.setTimeout(limits.idleMs, cut);
    client.on('data', (chunk: Buffer) => {
      if (!behind.write(chunk)) client.pause();
    });
    const ended = (): void => whenInOrder(client, () => behind.end());
    if (client.readableEnded) ended();
    else client.on('end', ended);
    behind.on('end', () => client.end());
    for (const [from, to] of [
      [client, behind],
      [behind, client],
    ] as const) {
      to.on('drain', () => from.resume());
      // A reset is handed on as one: as a clean end it would make half an answer a whole one.
      from.on('error', cut);
      from.on('close', () => {
        if (!from.readableEnded || !from.writableFinished) cut();
      });
    }
    client.resume();
  }

  #turnAway(client: Socket, { kind }: ForwardDoor, because: string): void {
    const late = setTimeout(() => client.destroy(), limits.pageMs);
    client.once('close', () => clearTimeout(late));
    this.#pageFor.set(client, because);
    if (kind === 'http') this.#pages.emit('connection', client);
    else if (kind === 'ssh') answerSsh(client, because);
    else client.resetAndDestroy();
    client.resume();
  }
}

const wayOf = (gate: Gate | null): string => JSON.stringify(gate);

function clientAt({ remoteAddress = '', remotePort = 0, localAddress = '', localPort = 0 }: Socket): Client {
  return { address: bareAddress(remoteAddress), port: remotePort, at: bareAddress(localAddress), atPort: localPort };
}
