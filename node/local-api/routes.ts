import { createHash } from 'node:crypto';
import { z } from 'zod';
import { decode } from '../../protocol/codec.ts';
import { AutogitError, type ErrorCode } from '../../protocol/errors.ts';
import { asSentence } from '../../protocol/ids.ts';
import { limits } from '../../protocol/limits.ts';
import { actingAs } from './acting.ts';
import type {
  ActsApi,
  AgentApi,
  CachesApi,
  GitlabApi,
  HistoryApi,
  HostingApi,
  JobsApi,
  LogsApi,
  MembershipApi,
  MetricsApi,
  NoticeApi,
  OwnerApi,
  PageApi,
  PhaseApi,
  RehearsalApi,
  StatusApi,
  WebhookApi,
} from './agent-api.ts';
import { notApproved } from './not-approved.ts';
import type { bodies, Failure } from './socket-protocol.ts';
import { queries } from './socket-queries.ts';

/** One request, whatever brought it. */
interface ApiRequest {
  method: string;
  path: string;
  query: URLSearchParams;
  /** All of it, within limits.socketRequestBytes. Throws `frame-too-large`. */
  body(): Promise<Uint8Array>;
  /** Aborted when the caller hangs up. */
  signal: AbortSignal;
  /** Who asks, for what is written down of what people do; asked of a POST only. */
  who?(): string;
}

/** What is said to it. `tag`: changes when something in the answer did that is not merely its age. */
export type ApiAnswer =
  | { status: number; json: unknown; tag?: string; allow?: string }
  | { status: number; text: AsyncIterable<string> };

interface Route {
  method: 'GET' | 'POST';
  /** May be asked while the machine waits for its approval. */
  early?: boolean;
  answer(request: ApiRequest): Promise<ApiAnswer>;
}
export type Routes = Readonly<Record<string, Route>>;

const httpStatus: Partial<Record<ErrorCode, number>> = {
  'bad-message': 400,
  'bad-flag': 400,
  'no-job': 404,
  'frame-too-large': 413,
  'not-approved': 409,
  'no-leader': 503,
  'timed-out': 504,
};

/** Never throws an AutogitError: a refusal is an answer. Anything else is a fault of ours, for the server to log. */
export async function answerRequest(
  phases: PhaseApi & ActsApi,
  routes: Routes,
  request: ApiRequest,
): Promise<ApiAnswer> {
  const route = Object.hasOwn(routes, request.path) ? routes[request.path] : undefined;
  if (route === undefined) return refusal(404, 'bad-message', `the agent has nothing at ${request.path.slice(0, 100)}`);
  if (request.method !== route.method)
    return { ...refusal(405, 'bad-message', `${request.path} takes ${route.method}`), allow: route.method };
  try {
    const phase = phases.phase();
    if (!route.early && phase.phase !== 'joined') throw notApproved(phase);
    if (request.who === undefined || route.method === 'GET') return await route.answer(request);
    return await actingAs(request.who(), async () => noted(phases, request.path, await route.answer(request)));
  } catch (error) {
    if (!(error instanceof AutogitError)) throw error;
    return refusalOf(error);
  }
}

/** What people do that is no change of the ledger, and so has to be told to it; by its own sentence where there is one. */
const actsAt: Readonly<Record<string, string | null>> = {
  ...{ '/v1/pause': null, '/v1/resume': null, '/v1/wish': null, '/v1/reconcile': null, '/v1/caches/clear': null },
  ...{ '/v1/gitlab/backup': null, '/v1/gitlab/restore': null, '/v1/gitlab/drill': null, '/v1/gitlab/adopt': null },
  ...{ '/v1/gitlab/bring-fenced': null, '/v1/gitlab/drop-fenced': null, '/v1/gitlab/rehearse': null },
  ...{ '/v1/rehearse/leader-loss': null, '/v1/page/key-remove': null },
  '/v1/page/link': 'a one-time link for the page was made',
  '/v1/page/key': "a key for the page's API was made",
  '/v1/gitlab/password': "a password of GitLab's was shown or made",
  '/v1/gitlab/recovery-key': 'the key that opens the backups was shown',
};

/** Nobody waits until it is written down: without a leader that may be never. */
function noted(api: ActsApi, path: string, answer: ApiAnswer): ApiAnswer {
  const sentence = Object.hasOwn(actsAt, path) ? actsAt[path] : undefined;
  if (sentence === undefined || !('json' in answer) || answer.status !== 200) return answer;
  const said = sentence ?? (answer.json as { said?: unknown }).said;
  if (typeof said === 'string') api.acted(path.slice('/v1/'.length), said).catch(() => undefined);
  return answer;
}

/** 500 is a fault of ours and nothing else: what is refused may be asked again later (503), or not as it is (409). */
export const refusalOf = ({ code, message, hint, retriable }: AutogitError): ReturnType<typeof refusal> =>
  refusal(httpStatus[code] ?? (retriable ? 503 : 409), code, message, hint);

/** What those may read who may only look: the page's door asks these. */
export const readRoutes = (api: PhaseApi & StatusApi & LogsApi & { readonly history: HistoryApi }): Routes => ({
  ...phaseRoutes(api),
  ...historyRoutes(api.history),
  ...statusRoutes(api),
  ...logsRoutes(api),
});

/** Everything, for callers who may do everything here: those who may open agent.sock. */
export const allRoutes = (api: AgentApi): Routes => ({
  ...readRoutes(api),
  ...jobsRoutes(api),
  ...membershipRoutes(api),
  ...gitlabRoutes(api),
  ...webhookRoutes(api.webhooks),
  ...noticeRoutes(api.notices),
  ...hostingRoutes(api.hosting),
  ...ownerRoutes(api),
  ...cacheRoutes(api.caches),
  ...rehearsalRoutes(api.rehearsals),
  ...pageRoutes(api.page),
  ...metricsRoutes(api.metrics),
  ...auditRoutes(api.history),
});

const json = (value: unknown): ApiAnswer => ({ status: 200, json: value });

const get = <S extends z.ZodType>(
  schema: S,
  look: (query: z.output<S>, request: ApiRequest) => unknown | Promise<unknown>,
): Route => ({
  method: 'GET',
  answer: async (request) => json(await look(queryOf(schema, request), request)),
});

type Bodies = typeof bodies;

/** Their schemas are a fifth of all that an agent could have, and most agents are asked for nothing: they are made when somebody asks. */
const post = <K extends keyof Bodies>(name: K, act: (body: z.output<Bodies[K]>) => Promise<unknown>): Route => ({
  method: 'POST',
  answer: async ({ body }) => {
    const { bodies: known } = await import('./socket-protocol.ts');
    const schema: z.ZodType = known[name];
    return json(await act(asked(schema, await body()) as z.output<Bodies[K]>));
  },
});

/** What was typed is the likelier cause than another version of the command. */
function asked<S extends z.ZodType>(schema: S, body: Uint8Array): z.output<S> {
  try {
    return decode(schema, body, limits.socketRequestBytes);
  } catch (cause) {
    if (!(cause instanceof AutogitError) || cause.code !== 'bad-message') throw cause;
    throw new AutogitError('bad-message', cause.message.replace(/^a message is/, 'what was asked for is'), {
      cause,
      hint: 'look at what was typed; where that is right, the agent is of another version and has to be started anew',
    });
  }
}

const early = (route: Route): Route => ({ ...route, early: true });

const phaseRoutes = (api: PhaseApi): Routes => ({
  '/v1/phase': early(get(queries.phase, () => api.phase())),
});

/** A blocked `status` looks every 100 ms whether something changed: not all that it shows is told by an event. */
const lookAgain = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 100));

const statusRoutes = (api: StatusApi): Routes => ({
  '/v1/status': early(news(queries.status, () => api.status(), lookAgain)),
  '/v1/jobs': get(queries.jobs, ({ all }) => api.jobs(all)),
  '/v1/why': get(queries.why, async ({ job }) => ({ why: await api.why(job) })),
  '/v1/settings': news(
    queries.settings,
    () => api.settings(),
    (leftMs, signal) => api.nextCommit(leftMs, signal),
  ),
});

const logsRoutes = (api: LogsApi): Routes => ({
  '/v1/logs': {
    method: 'GET',
    answer: async (request) => {
      const { job, node, all, follow } = queryOf(queries.logs, request);
      return { status: 200, text: api.logs({ job: job ?? null, node: node ?? null, all, follow }, request.signal) };
    },
  },
});

const jobsRoutes = (api: JobsApi): Routes => ({
  '/v1/wish': post('wish', (wish) => api.wish(wish)),
});

const membershipRoutes = (api: MembershipApi): Routes => ({
  '/v1/change': post('change', ({ change }) => api.change(change)),
  '/v1/invite': post('invite', ({ ttlMs }) => api.invite(ttlMs)),
});

const gitlabRoutes = (api: GitlabApi): Routes => ({
  '/v1/gitlab/connect': post('gitlabConnect', (request) => api.gitlabConnect(request)),
  '/v1/gitlab/disconnect': post('gitlabDisconnect', (request) => api.gitlabDisconnect(request)),
});

const webhookRoutes = (api: WebhookApi): Routes => ({
  '/v1/webhook/test': post('webhookTest', async () => ({ rows: await api.webhookTest() })),
});

const noticeRoutes = (api: NoticeApi): Routes => ({
  '/v1/notify': get(queries.notify, () => api.noticeTargets()),
  '/v1/notify/add': post('notifyAdd', (request) => api.noticeAdd(request)),
  '/v1/notify/remove': post('notifyRemove', ({ name }) => api.noticeRemove(name)),
  '/v1/notify/test': post('notifyTest', async ({ name }) => ({ rows: await api.noticeTest(name) })),
});

const hostingRoutes = (api: HostingApi): Routes => ({
  '/v1/gitlab/plan': post('gitlabDeploy', (wish) => api.gitlabPlan(wish)),
  '/v1/gitlab/deploy': post('gitlabDeploy', (wish) => api.gitlabDeploy(wish)),
  '/v1/gitlab/copies': post('gitlabCopies', async () => api.gitlabCopies()),
  '/v1/gitlab/copy-plan': post('gitlabCopyPlan', ({ node }) => api.gitlabCopyPlan(node)),
  '/v1/gitlab/certificate': post('gitlabCertificate', (request) => api.gitlabCertificate(request)),
  '/v1/gitlab/agree': post('gitlabAgree', (request) => api.gitlabAgree(request)),
  '/v1/gitlab/uninstall': post('gitlabUninstall', (request) => api.gitlabUninstall(request)),
  '/v1/gitlab/password': post('gitlabPassword', (wish) => api.gitlabPassword(wish)),
  '/v1/gitlab/vault': post('gitlabVault', (request) => api.gitlabVault(request)),
  '/v1/gitlab/protection': post('gitlabProtection', (request) => api.gitlabProtection(request)),
  '/v1/gitlab/protect': post('gitlabProtect', (request) => api.gitlabProtect(request)),
  '/v1/gitlab/unprotect': post('gitlabUnprotect', () => api.gitlabUnprotect()),
  '/v1/gitlab/adopt-plan': post('gitlabAdopt', (request) => api.gitlabAdoptPlan(request)),
  '/v1/gitlab/adopt': post('gitlabAdopt', async (request) => ({ said: await api.gitlabAdopt(request) })),
  '/v1/gitlab/adoption': post('gitlabAdoption', ({ on }) => api.gitlabAdoption(on)),
  '/v1/gitlab/regain-plan': post('gitlabRegain', (request) => api.gitlabRegainPlan(request)),
  '/v1/gitlab/regain': post('gitlabRegain', (request) => api.gitlabRegain(request)),
  '/v1/gitlab/backup': post('gitlabBackup', async () => ({ said: await api.gitlabBackup() })),
  '/v1/gitlab/backups': post('gitlabBackups', () => api.gitlabBackups()),
  '/v1/gitlab/compare': post('gitlabCompare', (request) => api.gitlabCompare(request)),
  '/v1/gitlab/bring-fenced': post('gitlabBringFenced', async (request) => ({
    said: await api.gitlabBringFenced(request),
  })),
  '/v1/gitlab/drop-fenced': post('gitlabDropFenced', async (request) => ({
    said: await api.gitlabDropFenced(request),
  })),
  '/v1/gitlab/restore': post('gitlabRestore', async (request) => ({ said: await api.gitlabRestore(request) })),
  '/v1/gitlab/drill': post('gitlabDrill', ({ on }) => api.gitlabDrill(on)),
  '/v1/gitlab/upgrade-plan': post('gitlabUpgrade', (request) => api.gitlabUpgradePlan(request)),
  '/v1/gitlab/upgrade': post('gitlabUpgrade', (request) => api.gitlabUpgrade(request)),
  '/v1/gitlab/move-plan': post('gitlabMove', ({ node }) => api.gitlabMovePlan(node)),
  '/v1/gitlab/move': post('gitlabMove', ({ node }) => api.gitlabMove(node)),
  '/v1/gitlab/move-cancel': post('gitlabMoveCancel', ({ node }) => api.gitlabMoveCancel(node)),
  '/v1/gitlab/rehearse': post('gitlabRehearse', async ({ image }) => ({ said: await api.gitlabRehearse(image) })),
  '/v1/gitlab/recovery-key': post('gitlabRecoveryKey', async () => ({ key: api.gitlabRecoveryKey() })),
  '/v1/reconcile': post('reconcile', async () => ({ said: await api.reconcile() })),
});

const ownerRoutes = (api: OwnerApi): Routes => ({
  '/v1/pause': post('pause', async ({ what, forMs, now = null }) => ({
    said: await api.pause(what, forMs, now),
  })),
  '/v1/pause/plan': post('pausePlan', async ({ what, now }) => api.pausePlan(what, now)),
  '/v1/resume': post('resume', async ({ what }) => ({ said: await api.resume(what) })),
  '/v1/leave': early(post('leave', async () => ({ said: await api.leave() }))),
  '/v1/recovery': get(queries.recovery, () => api.recovery()),
  '/v1/recover': post('recover', ({ off }) => api.recover(off)),
});

const cacheRoutes = (api: CachesApi): Routes => ({
  '/v1/caches': get(queries.caches, () => api.caches()),
  '/v1/caches/clear': post('clearCaches', async ({ project }) => ({ said: await api.clearCaches(project) })),
});

const rehearsalRoutes = (api: RehearsalApi): Routes => ({
  '/v1/rehearse/plan': post('rehearsalPlan', ({ what }) => api.rehearsalPlan(what)),
  '/v1/rehearse/leader-loss': post('rehearseLeaderLoss', async () => ({ said: await api.rehearseLeaderLoss() })),
  '/v1/rehearse/seen': post('rehearsal', async () => ({ seen: await api.rehearsal() })),
});

/** Also while the machine waits: its page shows the words. */
const pageRoutes = (api: PageApi): Routes => ({
  '/v1/page/link': early(post('pageLink', ({ role, forMs }) => api.pageLink(role, forMs))),
  '/v1/page/key': early(post('pageKey', ({ role, name }) => api.pageKey(role, name))),
  '/v1/page/keys': early(get(queries.pageKeys, async () => ({ rows: await api.pageKeys() }))),
  '/v1/page/key-remove': early(post('pageKeyRemove', async ({ name }) => ({ said: await api.pageKeyRemove(name) }))),
});

const metricsRoutes = (api: MetricsApi): Routes => ({
  '/v1/metrics': early(get(queries.metrics, async () => ({ text: await api.metricsText() }))),
});

/** Not for all who may look: it has names of people. */
const auditRoutes = (api: HistoryApi): Routes => ({ '/v1/audit': get(queries.audit, () => api.audit()) });

const historyRoutes = (api: HistoryApi): Routes => ({
  '/v1/timeline': get(queries.timeline, ({ since, wait }, { signal }) => api.timeline(since ?? null, wait, signal)),
  '/v1/usage': get(queries.usage, () => api.usage()),
});

/** What `look` finds, as soon as it is not what the caller has already, or when the caller's wait is over. */
function news(
  schema: typeof queries.status,
  look: () => unknown | Promise<unknown>,
  pause: (leftMs: number, signal: AbortSignal) => Promise<void>,
): Route {
  return {
    method: 'GET',
    answer: async (request) => {
      const { wait = 0, tag } = queryOf(schema, request);
      const end = performance.now() + wait;
      let value = await look();
      while (tag !== undefined && tagOf(value) === tag && performance.now() < end && !request.signal.aborted) {
        await pause(end - performance.now(), request.signal);
        value = await look();
      }
      return { status: 200, json: value, tag: tagOf(value) };
    },
  };
}

/**
 * What only ages, as JSON has it: no name in a text can look like one of these, as a quote within a text is written with a backslash.
 * Taken out of what was written, which takes a quarter of the time of a look at each part of it. `since` is made of two clocks, of which one
 * is read in hundredths, and somebody else who leads has another term.
 */
const ages = /"(?:at|ageMs|lastHeardMs|since)":(?:"[^"\\]*"|null|[-+.\deE]+),?/g;

/** Of all of it but its age, as JSON writes it. */
export const tagOfText = (text: string): string =>
  createHash('sha256').update(text.replace(ages, '')).digest('base64url').slice(0, 22);

export const tagOf = (value: unknown): string => tagOfText(JSON.stringify(value));

function queryOf<S extends z.ZodType>(schema: S, { query }: ApiRequest): z.output<S> {
  const parsed = schema.safeParse(Object.fromEntries(query));
  if (parsed.success) return parsed.data;
  throw new AutogitError(
    'bad-message',
    `the query is not of the agreed form: ${z.prettifyError(parsed.error).slice(0, 300)}`,
  );
}

/** A refusal or failure, in the form that every one of them has. */
export function refusal(
  status: number,
  code: ErrorCode | 'internal',
  message: string,
  hint = 'the command and the agent may be of different versions',
): { status: number; json: Failure } {
  return { status, json: { error: { code, message: asSentence(message), hint: asSentence(hint) } } };
}
