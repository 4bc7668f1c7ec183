import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { AutogitError } from '../../protocol/errors.ts';
import type { Route } from './api-call.ts';
import { bootPage } from './boot-page.ts';
import { ciLintRoutes } from './ci-lint-api.ts';
import { environmentRoutes, followEnvironments } from './environments.ts';
import { followRefs, gitHttp } from './git-http.ts';
import { graphqlRoutes } from './graphql-api.ts';
import { hookRoutes } from './hooks-api.ts';
import { httpDoor } from './http-door.ts';
import { createToken, instanceRoutes, monitoringList } from './instance-api.ts';
import { JobLifecycle } from './job-lifecycle.ts';
import { timeoutSeconds } from './job-payload.ts';
import { jobRequestRoutes } from './job-request-api.ts';
import { jobUpdateRoutes } from './job-update-api.ts';
import { pageRoutes, projectPage } from './pages.ts';
import { createUser, peopleRoutes } from './people-api.ts';
import { jobRoutes, pipelineRoutes } from './pipelines-api.ts';
import { type PracticeClock, practiceClock } from './practice-clock.ts';
import { defaultLimits, type Faults, type Limits, type PracticeContext } from './practice-context.ts';
import { practiceVersion, standInSentence } from './practice-identity.ts';
import { State } from './practice-state.ts';
import { projectVariableRoutes } from './project-variables.ts';
import { projectRoutes } from './projects-api.ts';
import { RateLimit } from './rate-limit.ts';
import type { Job, Project } from './records.ts';
import { Refusal } from './refusal.ts';
import { RunnerQueue } from './runner-queue.ts';
import { runnerRoutes } from './runners-api.ts';
import { Webhooks } from './webhooks.ts';

/**
 * A stand-in for GitLab 19: a real HTTP server with its state on disk that speaks as GitLab does to runners, to REST,
 * GraphQL and Git clients, so that the mesh can be tried and tested without the 8 GB of a GitLab. It is not GitLab, and
 * says so everywhere. Facts: docs/gitlab-contract.md.
 */
export interface PracticeOptions {
  /** Created when missing (0700). The same folder again = the same GitLab. */
  dataDir: string;
  /** 0 = any free one. */
  port?: number;
  /** Address to listen on; 127.0.0.1 by default. */
  host?: string;
  /** What job payloads call this server; default: its address, or the request's Host header behind a wildcard. */
  externalUrl?: string;
  /** `real` answers as slowly as GitLab does (API 80 ms, GraphQL 250 ms, job requests 120 ms). */
  pace?: 'none' | 'real';
  /** Clock, ms since the epoch. */
  now?: () => number;
  /** Workhorse's long poll; 50 s by default, 0 = off. */
  longPollMs?: number;
  /** CIDR ranges that may ask the probes; this machine by default. */
  monitoring?: string[];
  limits?: Partial<Limits>;
  /** Hooks that fail in a row are switched off, as on gitlab.com (`auto_disabling_web_hooks`; elsewhere its administrator decides). */
  switchesHooksOff?: boolean;
  log?: (line: string) => void;
}

export interface PracticeGitlab {
  readonly url: string;
  readonly adminToken: string;
  readonly clock: PracticeClock;
  readonly faults: Faults;
  readonly instanceUuid: string;
  /** For this long, as while Rails boots, every call gets 502 with an HTML page. */
  boot(ms: number): void;
  /** Closes the port (connections are refused) until `up`. State stays. */
  down(): Promise<void>;
  up(): Promise<void>;
  /** GitLab's hourly sweep, now, on the practice clock. */
  sweep(): void;
  /** The next call with that job's token fails the job, as GitLab does when a token is over. */
  endJobToken(id: number): void;
  createUser(
    username: string,
    options?: { admin?: boolean; scopes?: string[]; expiresOn?: string },
  ): { id: number; token: string };
  /** Records as stored, for tests and pages: never change them. */
  job(id: number): Readonly<Job> | null;
  jobsOf(pipelineId: number): readonly Readonly<Job>[];
  project(id: number): Readonly<Project> | null;
  stop(): Promise<void>;
}

const realPace: Record<Route['kind'], number> = { api: 80, graphql: 250, request: 0, page: 80 };
const realRequestMs = 120;
const realHookMs = 300;
const sweepCheckMs = 30_000;
const hourMs = 3_600_000;
const watchedMs = 60_000;

const listen = async (server: Server, port: number, host: string): Promise<void> => {
  server.listen(port, host);
  try {
    await once(server, 'listening');
  } catch (cause) {
    const busy = (cause as NodeJS.ErrnoException).code === 'EADDRINUSE';
    throw new AutogitError('port-taken', `practice GitLab cannot listen on ${host}:${port}`, {
      cause,
      ...(busy ? { hint: 'choose another one: --port N' } : {}),
    });
  }
};

class Practice implements PracticeGitlab {
  readonly clock: PracticeClock;
  readonly faults: Faults = { contended: 0, backoff: 0, broken: 0, lostAnswers: 0 };
  url = '';
  private readonly options: PracticeOptions;
  private readonly state: State;
  private readonly context: PracticeContext;
  private readonly stopping = new AbortController();
  private readonly looked = new Map<number, number>();
  private readonly handler: ReturnType<typeof httpDoor>;
  private server: Server | null = null;
  private bootingUntil = 0;
  private sweeping: NodeJS.Timeout | null = null;

  constructor(options: PracticeOptions) {
    this.options = options;
    this.clock = practiceClock(options.now ?? Date.now);
    this.state = new State(options.dataDir, this.clock, options.log ?? (() => {}));
    const real = options.pace === 'real';
    this.context = {
      state: this.state,
      life: new JobLifecycle(this.state),
      queue: new RunnerQueue(this.state),
      rate: new RateLimit(() => this.clock.now()),
      limits: { ...defaultLimits, ...options.limits },
      faults: this.faults,
      longPollMs: options.longPollMs ?? 50_000,
      requestPaceMs: real ? realRequestMs : 0,
      leased: new Set(),
    };
    new Webhooks(this.state, () => this.url, this.stopping.signal, {
      ...{ lateMs: real ? realHookMs : 0, switchesOff: options.switchesHooksOff === true },
    });
    followEnvironments(this.state, () => this.base(null));
    this.handler = this.makeHandler(real);
  }

  get adminToken(): string {
    return this.state.user(1)?.tokens[0]?.token ?? '';
  }
  get instanceUuid(): string {
    return this.state.instance.uuid;
  }

  boot(ms: number): void {
    this.bootingUntil = performance.now() + ms;
  }

  async up(): Promise<void> {
    if (this.server !== null) return;
    const host = this.options.host ?? '127.0.0.1';
    const server = createServer((request, response) => {
      if (performance.now() < this.bootingUntil) bootPage(response);
      else this.handler(request, response);
    });
    // Longer than a long poll; a client that trickles its headers is cut off by Node's own limit.
    server.requestTimeout = 300_000;
    server.keepAliveTimeout = 65_000;
    await listen(server, this.url === '' ? (this.options.port ?? 0) : Number(new URL(this.url).port), host);
    this.server = server;
    const { port } = server.address() as AddressInfo;
    const shown = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
    this.url = `http://${shown}:${port}`;
  }

  async down(): Promise<void> {
    const server = this.server;
    this.server = null;
    if (server === null) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
    this.state.flush();
  }

  async start(): Promise<void> {
    await this.up();
    // A push whose pipeline was not made before a crash: its refs are newer than what we knew.
    const root = this.state.user(1);
    for (const project of this.state.projects())
      if (root !== undefined)
        await followRefs(this.context, project, root, this.base(null)).catch((error: unknown) =>
          this.state.log(String(error)),
        );
    this.state.flush();
    this.sweeping = setInterval(() => this.sweepWhenDue(), sweepCheckMs);
    this.sweeping.unref();
    this.state.log(`${standInSentence}, ${practiceVersion}, at ${this.url}`);
  }

  async stop(): Promise<void> {
    if (this.sweeping !== null) clearInterval(this.sweeping);
    this.stopping.abort();
    await this.down();
    this.state.close();
  }

  sweep(): void {
    this.context.life.sweep((job) => {
      const project = this.state.project(job.projectId);
      return project === undefined ? 0 : timeoutSeconds(job, project, this.state.runner(job.runnerId ?? 0));
    });
    this.state.saveInstance(Object.assign(this.state.instance, { lastSweepAt: this.clock.now() }));
    this.state.flush();
  }

  /** `expiresOn`: YYYY-MM-DD, the day at whose beginning its token ends; absent: never. */
  createUser(
    username: string,
    options: { admin?: boolean; scopes?: string[]; expiresOn?: string } = {},
  ): { id: number; token: string } {
    const user = createUser(this.context, { username, name: username, admin: options.admin ?? false });
    const { scopes = ['api'], expiresOn } = options;
    const token = createToken(this.context, user, {
      ...{ name: 'practice', scopes },
      ...(expiresOn !== undefined && { expiresOn }),
    });
    this.state.flush();
    return { id: user.id, token };
  }

  job = (id: number): Readonly<Job> | null => this.state.job(id) ?? null;

  endJobToken(id: number): void {
    const job = this.state.job(id);
    if (job) this.state.saveJob(Object.assign(job, { hasTokenEnded: true }));
    this.state.flush();
  }
  jobsOf = (pipelineId: number): readonly Readonly<Job>[] => this.state.jobsOf(pipelineId);
  project = (id: number): Readonly<Project> | null => this.state.project(id) ?? null;

  private sweepWhenDue(): void {
    const hour = (at: number): number => Math.floor(at / hourMs);
    if (hour(this.clock.now()) > hour(this.state.instance.lastSweepAt)) this.sweep();
  }

  private base(request: IncomingMessage | null): string {
    if (this.options.externalUrl !== undefined) return this.options.externalUrl.replace(/\/+$/, '');
    const wildcard = this.options.host === '0.0.0.0' || this.options.host === '::';
    const host = request?.headers.host;
    return wildcard && host !== undefined && /^[\w.-]+(:\d+)?$|^\[[\da-f:.]+\](:\d+)?$/i.test(host)
      ? `http://${host}`
      : this.url;
  }

  private makeHandler(real: boolean): ReturnType<typeof httpDoor> {
    const { context } = this;
    const monitors = monitoringList(this.options.monitoring ?? ['127.0.0.0/8', '::1/128']);
    const local = monitoringList(['127.0.0.0/8', '::1/128']);
    const watched = (job: Job): boolean =>
      performance.now() - (this.looked.get(job.id) ?? Number.NEGATIVE_INFINITY) < watchedMs;
    const gitAnswer = gitHttp(context);
    const routes = [
      ...jobRequestRoutes(context),
      ...jobUpdateRoutes(context, watched),
      ...runnerRoutes(context),
      ...projectRoutes(context),
      ...pipelineRoutes(context),
      ...jobRoutes(context, (job) => this.looked.set(job.id, performance.now())),
      ...hookRoutes(context),
      ...projectVariableRoutes(context),
      ...environmentRoutes(context),
      ...ciLintRoutes(context),
      ...instanceRoutes(context, monitors),
      ...peopleRoutes(context),
      ...graphqlRoutes(context),
      ...pageRoutes(context, local),
    ];
    return httpDoor({
      routes: routes.map((entry) => ({ ...entry, handler: (call) => this.unlessBroken(entry, call) })),
      paceMs: (kind) => (real ? realPace[kind] : 0),
      base: (request) => this.base(request),
      flush: () => this.state.flush(),
      log: (line) => this.state.log(line),
      fallback: async (call) => (await gitAnswer(call)) ?? projectPage(context, call, local),
      stopping: this.stopping.signal,
    });
  }

  private unlessBroken(entry: Route, call: Parameters<Route['handler']>[0]): ReturnType<Route['handler']> {
    if (this.faults.broken > 0 && entry.pattern.startsWith('/api/')) {
      this.faults.broken -= 1;
      throw new Refusal(500, { message: '500 Internal Server Error' });
    }
    return entry.handler(call);
  }
}

/** Starts one. Throws AutogitError `port-taken` when the port is not free. */
export async function startPractice(options: PracticeOptions): Promise<PracticeGitlab> {
  const practice = new Practice(options);
  await practice.start();
  return practice;
}
