import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { decode } from '../../protocol/codec.ts';
import { limits } from '../../protocol/limits.ts';
import { actingAs } from '../local-api/acting.ts';
import type { AgentApi } from '../local-api/agent-api.ts';
import { bodyOf } from '../local-api/http-body.ts';
import { type ApiAnswer, answerRequest, type Routes, readRoutes, refusal, tagOfText } from '../local-api/routes.ts';
import { type BackupList, bodies } from '../local-api/socket-protocol.ts';
import type { Log } from '../log.ts';
import { version } from '../version.ts';
import { acts, besideLedger, byOf } from './page-acts.ts';
import { jsonOf, notSo, ofSocket, tooLittle, whyNot, withRefusals } from './page-answers.ts';
import { PageEvents } from './page-events.ts';
import { pageLimits } from './page-limits.ts';
import { openApi } from './page-openapi.ts';
import { summaryOf } from './page-summary.ts';
import { type AddedPath, type Caller, mayAct, type PageAnswer } from './page-types.ts';
import { SharedLook } from './shared-look.ts';

/** What `/api/…` answers as agent.sock does. */
const sameAsSocket: Readonly<Record<string, string>> = {
  '/api/status': '/v1/status',
  '/api/why': '/v1/why',
  '/api/settings': '/v1/settings',
  '/api/logs': '/v1/logs',
  '/api/timeline': '/v1/timeline',
  '/api/usage': '/v1/usage',
};

interface ApiHere {
  api: AgentApi;
  name: string;
  added: readonly AddedPath[];
  wallMs(): number;
  log: Pick<Log, 'info' | 'warn'>;
}

/** What is below `/api/`: what agent.sock answers, for those who came in. */
export class PageApiPaths {
  readonly #here: ApiHere;
  readonly #routes: Routes;
  readonly #events: PageEvents;
  readonly #history: SharedLook<BackupList>;

  constructor(here: ApiHere) {
    this.#here = here;
    this.#routes = readRoutes(here.api);
    this.#history = new SharedLook(() => here.api.hosting.gitlabBackups(), pageLimits.historyMs);
    this.#events = new PageEvents({
      status: async () => here.api.status(),
      jobs: () => here.api.jobs(true),
      happened: (since) => here.api.history.timeline(since, 1_000),
      tagOfText,
      pulse: () => here.api.pulse(),
      happening: async (withinMs) => {
        const over = new AbortController();
        const timer = setTimeout(() => over.abort(), withinMs);
        try {
          await here.api.nextNews(withinMs, over.signal);
        } catch {
          // Where a machine still waits to be let in nothing is decided: then the time alone counts.
          if (!over.signal.aborted) await once(over.signal, 'abort');
        } finally {
          clearTimeout(timer);
        }
      },
      warn: (sentence) => here.log.warn(sentence),
    });
  }

  async answer(
    request: IncomingMessage,
    query: URLSearchParams,
    path: string,
    caller: Caller,
    signal: AbortSignal,
  ): Promise<PageAnswer> {
    if (path.startsWith('/api/acts/')) return this.#act(request, path.slice('/api/acts/'.length), caller);
    if (request.method !== 'GET') return notSo(['GET']);
    const ask = (to: string): Promise<ApiAnswer> =>
      answerRequest(this.#here.api, this.#routes, {
        ...{ method: 'GET', path: to, query, signal },
        body: () => bodyOf(request),
      });
    if (path === '/api/jobs') {
      const said = await ask('/v1/jobs');
      return 'text' in said || said.status !== 200 ? ofSocket(said) : jsonOf(200, { rows: said.json });
    }
    const socket = Object.hasOwn(sameAsSocket, path) ? sameAsSocket[path] : undefined;
    if (socket === undefined || !Object.hasOwn(this.#routes, socket)) return this.#own(path, query, caller, signal);
    // An agent's own log is for those who may do what its owner may; a job's trace is for all who may look.
    if (path === '/api/logs' && !query.has('job') && !mayAct(caller.role, 'owner')) return tooLittle(caller, 'owner');
    return ofSocket(await ask(socket));
  }

  /** What only the page asks. */
  async #own(path: string, query: URLSearchParams, caller: Caller, signal: AbortSignal): Promise<PageAnswer> {
    const { api, name, added, wallMs } = this.#here;
    if (path === '/api/me') {
      const mesh = api.phase().phase === 'joined' ? (await api.status()).mesh.name : null;
      const until = caller.until === null ? null : new Date(caller.until).toISOString();
      return jsonOf(200, { node: name, mesh, role: caller.role, name: caller.name, version, until });
    }
    if (path === '/api/events')
      return { status: 200, type: 'text/event-stream; charset=utf-8', body: this.#events.watch(signal) };
    // Asked of the machines that have it, and only when somebody wants to see it.
    if (path === '/api/gitlab/history') return withRefusals(async () => jsonOf(200, await this.#history.ask()));
    // It asks other machines, an engine and a registry: for those alone who may do what it is about.
    if (path === '/api/gitlab/move-plan') {
      if (!mayAct(caller.role, 'owner')) return tooLittle(caller, 'owner');
      return withRefusals(async () => {
        const wish = Buffer.from(JSON.stringify({ node: query.get('to') }));
        const { node } = decode(bodies.gitlabMove, wish, limits.socketRequestBytes);
        return jsonOf(200, await api.hosting.gitlabMovePlan(node));
      });
    }
    if (path === '/api/summary') return withRefusals(async () => jsonOf(200, summaryOf(await api.status(), wallMs())));
    if (path === '/api/openapi.json') return jsonOf(200, openApi(version, added));
    return jsonOf(404, refusal(404, 'bad-message', `the agent has nothing at ${path.slice(0, 100)}`).json);
  }

  async #act(request: IncomingMessage, name: string, caller: Caller): Promise<PageAnswer> {
    const act = Object.hasOwn(acts, name) ? acts[name] : undefined;
    if (act === undefined)
      return jsonOf(404, refusal(404, 'bad-message', `the page has no act called ${name.slice(0, 40)}`).json);
    if (request.method !== 'POST') return notSo(['POST']);
    const foreign = whyNot(request, caller);
    if (foreign !== null) return foreign;
    if (!mayAct(caller.role, act.role)) return tooLittle(caller, act.role);
    const { api, name: self, log } = this.#here;
    return withRefusals(async () => {
      const phase = api.phase();
      if (phase.phase !== 'joined') await api.status();
      const body = decode(act.body, await bodyOf(request), limits.socketRequestBytes);
      const by = byOf(caller, self);
      log.info(`${name} is asked for by ${by}`);
      const said = await actingAs(by, async () => {
        const done = await act.run(api, body, by);
        // What is a change of the ledger is written down with it.
        if (besideLedger.has(name)) api.acted(`page: ${name}`, done).catch(() => undefined);
        return done;
      });
      return jsonOf(200, { said });
    });
  }
}
