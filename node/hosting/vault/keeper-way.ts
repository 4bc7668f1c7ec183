import { randomBytes, timingSafeEqual } from 'node:crypto';
import { Agent, request as ask, createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { TLSSocket } from 'node:tls';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import { type DoorAt, throughDoor } from '../wire/door-call.ts';
import type { Reach } from './restic.ts';

/** A machine of the mesh that keeps backups, as the one that makes them reaches it. */
interface KeeperCall {
  /** Of that machine, for people. */
  name: string;
  /** A door for one connection; throws in words where it opens none. */
  openDoor(): Promise<DoorAt>;
  /** Returns when so many bytes may go: what is more urgent goes first. */
  ready(bytes: number, signal: AbortSignal): Promise<void>;
}

export const keeperTimings = {
  /** A machine that is away for so long will not be back soon: the backup is given up, and tried again later. */
  awayMs: 120_000,
  /** A connection on which nothing moves. */
  silentMs: 60_000,
};

/** As restic has them by default. */
const connections = 5;

/** Its connections go through doors, one each. */
class DoorAgent extends Agent {
  readonly #open: () => Promise<TLSSocket>;
  #first: TLSSocket | null;

  constructor(first: TLSSocket, open: () => Promise<TLSSocket>) {
    super({ keepAlive: true, maxSockets: connections });
    this.#first = first;
    this.#open = open;
  }

  // biome-ignore lint/suspicious/noExplicitAny: as Node declares it.
  override createConnection(_options: any, callback?: (error: Error | null, socket: any) => void): undefined {
    const first = this.#first;
    this.#first = null;
    const coming = first !== null && !first.destroyed ? Promise.resolve(first) : this.#open();
    coming.then(
      (socket) => callback?.(null, socket),
      (error: Error) => callback?.(error, undefined),
    );
  }
}

/** What restic asks, and is told, of all that HTTP says. */
const asked = ['content-length', 'content-type', 'range', 'accept'] as const;
const told = ['content-length', 'content-type', 'content-range'] as const;

const some = (headers: IncomingMessage['headers'], names: readonly string[]): Record<string, string> =>
  Object.fromEntries(names.flatMap((name) => (headers[name] === undefined ? [] : [[name, String(headers[name])]])));

/**
 * The repository on that machine, by restic's REST protocol on this machine's loopback: a port of its own for each call, with a
 * password that restic has in its environment, so that nobody else here comes in. Its bytes go on through doors.
 */
export const throughKeeper =
  (call: KeeperCall): Reach =>
  async (use) => {
    const trouble = new AbortController();
    const open = async (): Promise<TLSSocket> => throughDoor(await call.openDoor(), trouble.signal);
    const first = await open().catch((cause: unknown) => {
      throw away(call.name, cause);
    });
    const relay = new Relay(call, new DoorAgent(first, open), trouble);
    try {
      return await use({ target: await relay.listen(), trouble: trouble.signal });
    } finally {
      relay.close();
      first.destroy();
    }
  };

const away = (name: string, cause: unknown): AutogitError =>
  new AutogitError('backup', `${name}, which keeps the backups, does not take them: ${sentenceOf(cause)}`, {
    cause,
    hint: `see whether it is there: autogit-node status; it is tried again by itself`,
  });

class Relay {
  readonly #call: KeeperCall;
  readonly #agent: DoorAgent;
  readonly #trouble: AbortController;
  readonly #over = new AbortController();
  readonly #word = `autogit:${randomBytes(24).toString('hex')}`;
  readonly #secret = Buffer.from(`Basic ${Buffer.from(this.#word).toString('base64')}`);
  // A large file takes as long as the owner's limit says.
  readonly #server = createServer({ requestTimeout: 0 }, (request, response) => void this.#relayed(request, response));
  /** Until an answer comes. */
  #away: NodeJS.Timeout | null = null;
  #lastCause: unknown;

  constructor(call: KeeperCall, agent: DoorAgent, trouble: AbortController) {
    this.#call = call;
    this.#agent = agent;
    this.#trouble = trouble;
    this.#server.on('clientError', (_error, socket) => (socket as Socket).destroy());
  }

  /** As restic is told of it. */
  async listen(): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(0, '127.0.0.1', () => resolve());
    });
    return `rest:http://${this.#word}@127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  close(): void {
    this.#over.abort(new Error('restic has ended'));
    if (this.#away) clearTimeout(this.#away);
    this.#server.close();
    this.#server.closeAllConnections();
    this.#agent.destroy();
  }

  #isOurs({ headers }: IncomingMessage): boolean {
    const word = Buffer.from(headers.authorization ?? '');
    return word.length === this.#secret.length && timingSafeEqual(word, this.#secret);
  }

  async #relayed(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {});
    if (!this.#isOurs(request)) return void response.writeHead(401).end();
    try {
      const answer = await this.#answerTo(request);
      this.#heard();
      const status = answer.statusCode ?? 502;
      // It would ask again for a quarter of an hour; of what it deletes it takes a no.
      if (request.method === 'POST' && status >= 400 && status < 600 && status !== 409)
        return this.#giveUp(await textOf(answer));
      response.writeHead(status, some(answer.headers, told));
      await pipeline(answer, response);
    } catch (error) {
      // restic itself had read enough: no fault of that machine's, and it may ask nothing more for long.
      if (response.headersSent && request.socket.destroyed) return;
      this.#missed(error);
      if (response.headersSent) return void response.destroy();
      request.resume();
      // It asks again by itself, in a moment.
      response.writeHead(503).end();
    }
  }

  async #answerTo(request: IncomingMessage): Promise<IncomingMessage> {
    const { method, url, headers } = request;
    const out = ask({
      ...{ agent: this.#agent, method, path: url, host: 'vault', signal: this.#over.signal },
      headers: some(headers, asked),
      timeout: keeperTimings.silentMs,
    });
    const answer = new Promise<IncomingMessage>((resolve, reject) => {
      out.once('response', resolve);
      out.once('error', reject);
      out.once('timeout', () => out.destroy(new Error('nothing moves on its connection')));
    });
    answer.catch(() => {});
    const paced = new Transform({
      transform: (piece: Buffer, _encoding, done) => {
        this.#call.ready(piece.length, this.#over.signal).then(() => done(null, piece), done);
      },
    });
    // A refusal may come before all of it was sent.
    pipeline(request, paced, out).catch((error: Error) => out.destroy(error));
    return answer;
  }

  #heard(): void {
    if (this.#away) clearTimeout(this.#away);
    this.#away = null;
  }

  #missed(error: unknown): void {
    if (this.#over.signal.aborted) return;
    this.#lastCause = error;
    this.#away ??= setTimeout(() => this.#trouble.abort(away(this.#call.name, this.#lastCause)), keeperTimings.awayMs);
  }

  #giveUp(reason: string): void {
    this.#trouble.abort(
      new AutogitError('backup', `${this.#call.name}, which keeps the backups, does not take this one: ${reason}`, {
        hint: 'make room there, or name another place: autogit-node gitlab backup --to TARGET',
      }),
    );
  }
}

async function textOf(answer: IncomingMessage): Promise<string> {
  let text = '';
  for await (const piece of answer) text = `${text}${piece}`.slice(0, 1000);
  return text === '' ? `it answered with ${answer.statusCode}` : text;
}
