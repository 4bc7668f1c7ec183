import type { IncomingMessage, ServerResponse } from 'node:http';
import { hostname } from 'node:os';
import { AutogitError } from '../../protocol/errors.ts';
import { clientOf } from '../hosting/gate/client-share.ts';
import type { AgentApi } from '../local-api/agent-api.ts';
import { bodyOf } from '../local-api/http-body.ts';
import { refusal } from '../local-api/routes.ts';
import type { Log } from '../log.ts';
import { stackOf } from '../source-positions.ts';
import { SourceRates } from '../source-rates.ts';
import { places } from '../store/home.ts';
import type { DoorConnections } from './door-connections.ts';
import { PageAccess } from './page-access.ts';
import { alwaysHeaders, html, jsonOf, notSo, refused, send, tooLittle, whyNot, withRefusals } from './page-answers.ts';
import { PageApiPaths } from './page-api.ts';
import { assetOf } from './page-assets.ts';
import { cookiesNamed, isOurHost, partsOf } from './page-gate.ts';
import { pageLimits } from './page-limits.ts';
import { type AddedPath, type Caller, mayAct, type PageAnswer, type PageRequest } from './page-types.ts';
import { doorCss, doorJs, howToGetIn, noAssets, youAreIn } from './page-words.ts';

interface DoorHere {
  api: AgentApi;
  home: string;
  /** This machine's name in the mesh. */
  name: string;
  /** By which it may be reached besides its own ones. */
  names: readonly string[];
  /** Where the bundler put the page's files. */
  assets: string;
  added: readonly AddedPath[];
  connections: DoorConnections;
  wallMs(): number;
  log: Pick<Log, 'info' | 'warn' | 'error'>;
}

const cookie = 'autogit';
const streams: readonly string[] = ['/api/events', '/api/logs'];
/** For which other machines are asked. */
const asksOthers: readonly string[] = ['/api/gitlab/history', '/api/gitlab/move-plan'];
const howHint = 'type it on the machine whose page this is: autogit-node dashboard';
const keyHint = `${howHint} (for a program: autogit-node dashboard key, then in each request Authorization: Bearer KEY)`;

const notIn = (): PageAnswer =>
  jsonOf(401, refusal(401, 'not-approved', 'you are not in', keyHint).json, { 'www-authenticate': 'Bearer' });

/** One request, by whom, to what of the door; `path` is without the place of a session. */
interface Visit {
  request: IncomingMessage;
  url: URL;
  path: string;
  /** Null: who is not in. */
  caller: Caller | null;
  /** Aborted when whoever asked is gone, or is put out. */
  gone: AbortController;
}

/** Everything behind the page's listening socket. It is loaded with the first request, and knows the mesh by `AgentApi` alone. */
export class PageDoor {
  readonly #here: DoorHere;
  readonly #rates = new SourceRates(pageLimits.refusals);
  readonly #api: PageApiPaths;
  /** Answers that go on or wait, by who asked. */
  readonly #underWay = new Map<string, { streams: number; all: Set<AbortController> }>();
  readonly access: PageAccess;

  constructor(here: DoorHere) {
    this.#here = here;
    this.access = new PageAccess({
      file: places(here.home).page,
      wallMs: here.wallMs,
      onEnd: (name) => {
        for (const open of this.#underWay.get(name)?.all ?? []) open.abort();
      },
      warn: (sentence) => here.log.warn(sentence),
    });
    this.#api = new PageApiPaths(here);
  }

  /** Ends what is under way. */
  close(): void {
    for (const { all } of this.#underWay.values()) for (const one of all) one.abort();
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // He may have gone while the door was loaded: nothing tells that afterwards.
    if (request.socket.destroyed) return;
    const isInTurn = response.socket !== null;
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    response.on('error', () => {});
    for (const [name, value] of Object.entries(alwaysHeaders)) response.setHeader(name, value);
    try {
      const said = isInTurn ? await this.#said(request, gone) : this.#notInTurn(request);
      if (said === null) return void request.socket.destroy();
      await send(request, response, said, gone.signal);
    } catch (error) {
      if (response.headersSent || response.destroyed) return void response.destroy();
      this.#here.log.error(`the page's door: ${stackOf(error)}`);
      const { json } = refusal(500, 'internal', 'the agent failed at this', 'autogit-node logs');
      await send(request, response, jsonOf(500, json), gone.signal);
    }
  }

  /** Null: it is worth no answer. */
  async #said(request: IncomingMessage, gone: AbortController): Promise<PageAnswer | null> {
    const from = request.socket.remoteAddress ?? '';
    const { name, names } = this.#here;
    const url = urlOf(request.url);
    const refuse = (...why: Parameters<typeof refused>): PageAnswer | null =>
      this.#mayRefuse(from) ? refused(...why) : null;
    if (!isOurHost(request.headers.host, request.socket.localAddress ?? '', [name, hostname(), ...names]))
      return refuse(
        new AutogitError('unsupported', 'this machine is not called so here', {
          hint: 'use its address or its name; where a proxy or a name of your own leads here: --dashboard-name NAME',
        }),
        421,
      );
    if (url === null) return refuse(noPath());
    const parts = partsOf(url.pathname);
    const caller = this.#callerOf(request, parts.session);
    // At once: what waits for news would be a stranger's connection until it has an answer, and give way to other strangers'.
    if (caller !== null) this.#here.connections.known(request.socket, caller.name);
    const said = await this.#route({ request, url, path: parts.path, caller, gone });
    const isRefused = caller === null && [401, 403, 404].includes(said.status);
    return isRefused && !this.#mayRefuse(from) ? null : said;
  }

  /**
   * Asked before the answer to the last question came (pipelining, as no browser does): one connection could have any number of answers
   * under way, and nothing would tell those behind the first that it is gone.
   */
  #notInTurn({ socket }: IncomingMessage): PageAnswer | null {
    const sentence = 'one question at a time is answered on a connection';
    const said = refusal(429, 'unsupported', sentence, 'ask the next one when the answer is there, or on another');
    return this.#mayRefuse(socket.remoteAddress ?? '') ? jsonOf(429, said.json) : null;
  }

  #mayRefuse(from: string): boolean {
    return this.#rates.take(clientOf(from), performance.now());
  }

  /** A key counts before a session: a program says what it is. */
  #callerOf({ headers }: IncomingMessage, session: string | null): Caller | null {
    const [, key] = /^Bearer +(\S{1,200})$/i.exec(headers.authorization ?? '') ?? [];
    if (key !== undefined) return this.access.key(key);
    return session === null ? null : this.access.session(session, cookiesNamed(cookie, headers.cookie));
  }

  async #route(visit: Visit): Promise<PageAnswer> {
    const { request, url, path, caller, gone } = visit;
    const method = request.method ?? '';
    const looks = method === 'GET' || method === 'HEAD';
    if (looks && path === '/enter') return this.#enter(request, url);
    if (looks && path === '/door.css') return { status: 200, type: 'text/css; charset=utf-8', body: doorCss };
    if (looks && path === '/door.js') return { status: 200, type: 'text/javascript; charset=utf-8', body: doorJs };
    if (looks && (path === '/' || path === '')) return this.#index(request, url, caller);
    const added = this.#here.added.find((one) =>
      one.path.endsWith('/') ? path.startsWith(one.path) : one.path === path,
    );
    if (added === undefined && !path.startsWith('/api/')) {
      const { headers } = request;
      const [accepts, known] = [String(headers['accept-encoding'] ?? ''), headers['if-none-match']];
      const found = looks ? await assetOf(this.#here.assets, path.slice(1), { accepts, known }) : null;
      return found ?? jsonOf(404, refusal(404, 'bad-message', 'there is nothing at this address', howHint).json);
    }
    if (added?.role !== 'anybody' && caller === null) return notIn();
    if (added !== undefined) return this.#added(added, visit);
    const known = caller as Caller;
    const answer = () => this.#api.answer(request, url.searchParams, path, known, gone.signal);
    const isStream = streams.includes(path);
    const isLong = isStream || asksOthers.includes(path) || (method === 'GET' && url.searchParams.has('wait'));
    if (!isLong) return answer();
    const said = await this.#whileIn(known, gone, isStream, answer);
    // Who was put out meanwhile is told nothing more.
    return this.#callerOf(request, partsOf(url.pathname).session) === null ? notIn() : said;
  }

  /** An answer that goes on or waits ends when the caller is put out; one that goes on counts among the caller's streams. */
  async #whileIn(
    { name, until }: Caller,
    gone: AbortController,
    isStream: boolean,
    run: () => Promise<PageAnswer>,
  ): Promise<PageAnswer> {
    const open = this.#underWay.get(name) ?? { streams: 0, all: new Set() };
    const waits = open.all.size - open.streams;
    const [count, most, what] = isStream
      ? [open.streams, pageLimits.streams, 'streams open']
      : [waits, pageLimits.waits, 'questions that wait for an answer'];
    if (count >= most) {
      const sentence = `${name} has ${count} ${what}, and more are not begun`;
      return jsonOf(429, refusal(429, 'unsupported', sentence, 'close some of its windows').json);
    }
    this.#underWay.set(name, open);
    open.all.add(gone);
    if (isStream) open.streams += 1;
    const leftMs = until === null ? null : Math.min(until - this.#here.wallMs(), 2 ** 31 - 1);
    const over = leftMs === null ? undefined : setTimeout(() => gone.abort(), leftMs);
    gone.signal.addEventListener('abort', () => {
      clearTimeout(over);
      open.all.delete(gone);
      if (isStream) open.streams -= 1;
      if (open.all.size === 0 && this.#underWay.get(name) === open) this.#underWay.delete(name);
    });
    return run();
  }

  /** The link is used up by a browser that goes there, not by one that only looks ahead, nor by what shows previews of links. */
  #enter({ method, headers }: IncomingMessage, url: URL): PageAnswer {
    const ahead = `${headers['sec-purpose'] ?? ''} ${headers.purpose ?? ''}`.includes('prefetch');
    const isMeant = ['document', undefined].includes(headers['sec-fetch-dest'] as string | undefined);
    const code = url.searchParams.get('code') ?? '';
    const session = method === 'GET' && !ahead && isMeant && code !== '' ? this.access.enter(code) : null;
    if (session === null)
      return html(401, howToGetIn(this.#here.name, 'This link is used up, or older than ten minutes.'));
    const { id, secret, forMs, caller } = session;
    this.#here.log.info(`the page lets in ${caller.name} as ${caller.role}`);
    const place = `/s/${id}/`;
    // From a page of another site, such as a chat, the browser would go on without the cookie that it has just been given.
    const isOwnWay = ['none', 'same-origin', undefined].includes(headers['sec-fetch-site'] as string | undefined);
    return {
      ...(isOwnWay ? html(303, '') : html(200, youAreIn(this.#here.name, place))),
      headers: {
        ...(isOwnWay ? { location: place } : {}),
        'set-cookie': `${cookie}=${secret}; Path=/s/${id}; Max-Age=${Math.floor(forMs / 1000)}; HttpOnly; SameSite=Strict`,
      },
    };
  }

  async #index(request: IncomingMessage, url: URL, caller: Caller | null): Promise<PageAnswer> {
    const { name, assets } = this.#here;
    const isSession = partsOf(url.pathname).session !== null;
    if (!isSession || caller === null)
      return html(401, howToGetIn(name, isSession ? 'This browser is not in any more.' : null));
    // Files of the page are named beside it.
    if (!url.pathname.endsWith('/')) return { ...html(308, ''), headers: { location: `${url.pathname}/` } };
    const accepts = String(request.headers['accept-encoding'] ?? '');
    return (
      (await assetOf(assets, 'index.html', { accepts, known: request.headers['if-none-match'] })) ??
      html(200, noAssets(name))
    );
  }

  async #added(added: AddedPath, { request, url, path, caller, gone }: Visit): Promise<PageAnswer> {
    const method = request.method ?? '';
    if (!(added.methods as readonly string[]).includes(method)) return notSo(added.methods);
    const needed = added.role;
    if (needed !== 'anybody' && !mayAct((caller as Caller).role, needed)) return tooLittle(caller as Caller, needed);
    const foreign = needed !== 'anybody' && method === 'POST' ? whyNot(request, caller as Caller) : null;
    if (foreign !== null) return foreign;
    const asked: PageRequest = {
      ...{ method, path, query: url.searchParams, caller, origin: `http://${request.headers.host}` },
      body: () => bodyOf(request),
      signal: gone.signal,
    };
    return withRefusals(async () => added.answer(asked));
  }
}

const noPath = (): AutogitError =>
  new AutogitError('bad-message', `what is asked for is no path, or longer than ${pageLimits.pathChars} characters`, {
    hint: 'all that there is: /api/openapi.json',
  });

/** Null: no URL of ours. */
function urlOf(text: string | undefined): URL | null {
  if (text === undefined || !text.startsWith('/') || text.length > pageLimits.pathChars) return null;
  return URL.canParse(text, 'http://page') ? new URL(text, 'http://page') : null;
}
