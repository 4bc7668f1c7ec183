import { createHmac, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { NoticeRoom } from '../../node/notices/notice-room.ts';
import { checkTarget } from '../../node/notices/notice-target.ts';
import type { AddedPath } from '../../node/page/page-types.ts';
import type { Change } from '../../protocol/changes.ts';
import { abilities, Ledger } from '../../protocol/ledger.ts';
import type { Attention } from '../../protocol/status.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { noticeTimings } from '../../scheduler/notices/notice-timings.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { statusWith } from '../fixtures/status-with.ts';

export interface Heard {
  method: string;
  path: string;
  headers: IncomingMessage['headers'];
  body: string;
}

/** A server on a socket, that keeps what came and answers as it is told. */
export class TestServer {
  readonly heard: Heard[] = [];
  answer: (heard: Heard, response: ServerResponse) => void = (_heard, response) => void response.end('ok');
  #server: Server | null = null;
  port = 0;

  async open(): Promise<this> {
    const server = createServer((request, response) => void this.#hear(request, response));
    this.#server = server;
    server.listen(this.port, '127.0.0.1');
    await once(server, 'listening');
    this.port = (server.address() as AddressInfo).port;
    return this;
  }
  async #hear(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    request.setEncoding('utf8');
    for await (const part of request) body += part;
    const heard = { method: request.method ?? '', path: request.url ?? '', headers: request.headers, body };
    this.heard.push(heard);
    this.answer(heard, response);
  }
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    server?.closeAllConnections();
    if (server) await new Promise((resolve) => server.close(resolve));
  }
}

/** As a receiver of Standard Webhooks checks it: throws on anything that it would refuse. */
export function verified({ headers, body }: Heard, key: Buffer): Record<string, unknown> {
  const { 'webhook-id': id, 'webhook-timestamp': at, 'webhook-signature': signature } = headers;
  if (Math.abs(Date.now() / 1000 - Number(at)) > 300) throw new Error(`its time is ${at}`);
  const mac = createHmac('sha256', key).update(`${id}.${at}.${body}`).digest();
  const given = Buffer.from(/^v1,(.+)$/.exec(String(signature))?.[1] ?? '', 'base64');
  if (given.length !== mac.length || !timingSafeEqual(given, mac)) throw new Error(`its signature is ${signature}`);
  const said = JSON.parse(body) as Record<string, unknown>;
  if (said.id !== id) throw new Error(`its id is ${said.id}, and ${id} in the header`);
  return said;
}

const usual = { ...noticeTimings.againMs };
/** What a server is given until it was told. */
export const soon = { timeout: 40_000, interval: 20 };

/** One ledger, and the rooms of the machines that may lead. Time is the test's: a look is asked for. */
export class NoticesRig {
  ledger: Ledger;
  at = 1_800_000_000_000;
  leader = 'a';
  attention: Attention[] = [];
  waiting: { node: string; id: string; address: string; words: string; since: string }[] = [];
  answersChanges = true;
  jobsWaiting = 0;
  /** Where others reach the page of the machine that leads. */
  outside: string | null = null;
  /** The same of the other machines; null: none answers. */
  elsewhere: string | null = null;
  readonly paths: AddedPath[] = [];
  readonly performed: unknown[] = [];
  readonly changes: Change[] = [];
  readonly logged: string[] = [];
  readonly rooms: NoticeRoom[] = [];

  constructor() {
    const founded = foundedMesh();
    this.ledger = { ...founded, nodes: { K: { ...founded.nodes.K!, can: [...abilities] } } };
  }

  /** Not sealed by a real key here: what a room may see is another test's. */
  add(
    kind: string,
    given: { url?: string; secret?: string; file?: string; more?: Record<string, unknown> } = {},
    name = kind,
  ): void {
    const { file, ...said } = given;
    const { way, shown } = checkTarget(kind, { url: null, secret: null, ...said, ...given.more }, false);
    const secret = Buffer.from(JSON.stringify(way)).toString('base64');
    this.change({
      kind: 'notice-target',
      name,
      target: { kind, secret, shown },
      ...(file && { file }),
      because: 'test',
    });
  }
  change(change: Change): { state: 'done' | 'refused' | 'unknown'; because: string } {
    if (!this.answersChanges) return { state: 'unknown', because: 'the leader changed' };
    const after = applyChange(this.ledger, change, this.at);
    if ('refused' in after) return { state: 'refused', because: String(after.refused) };
    this.changes.push(change);
    this.ledger = Ledger.parse(JSON.parse(JSON.stringify(after)));
    return { state: 'done', because: '' };
  }
  room(name = 'a'): NoticeRoom {
    const room = new NoticeRoom({
      ledger: () => this.ledger,
      leads: () => this.leader === name,
      status: async () =>
        statusWith(['kang', 'desktop-1'], {
          attention: this.attention,
          waiting: this.waiting,
          mesh: this.ledger.mesh,
          queue: { waiting: this.jobsWaiting, running: 0, doneToday: 0, failedToday: 0 },
        }),
      change: async (change) => this.change(change),
      unseal: (sealed) => Buffer.from(sealed, 'base64').toString(),
      wallMs: () => this.at,
      page: { outside: () => this.outside, add: (path) => void this.paths.push(path) },
      can: (act) => act.act === 'approve' || act.node === 'kang',
      linkElsewhere: async ({ node }) => {
        if (this.elsewhere === null) throw new Error('it does not answer');
        return `${this.elsewhere}/n/${node}`;
      },
      perform: async (act) => {
        this.performed.push(act);
        return 'it is done';
      },
      log: {
        info: (sentence) => void this.logged.push(sentence),
        warn: (sentence) => void this.logged.push(sentence),
        event: ({ event, because, fields }) => void this.logged.push(`${event} ${because} ${JSON.stringify(fields)}`),
      },
    });
    this.rooms.push(room);
    return room;
  }
  /** Looks every 15 s for so long. */
  async live(room: NoticeRoom, seconds: number): Promise<void> {
    for (let at = 0; at <= seconds; at += 15) {
      await room.look();
      this.at += 15_000;
    }
  }
  /** Whom could not be told is tried again after so many ms, until this rig stops. */
  triesAgain(least: number, most: number): void {
    Object.assign(noticeTimings.againMs, { least, most });
  }
  async stop(): Promise<void> {
    Object.assign(noticeTimings.againMs, usual);
    for (const room of this.rooms) await room.stop();
  }
}
