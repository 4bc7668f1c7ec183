import { createGitlabAdmin } from '../../gitlab-bridge/gitlab-admin.ts';
import { verifyRunner } from '../../gitlab-bridge/gitlab-runner.ts';
import type { Answer, Ask } from '../../protocol/asks.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { asSentence, type NodeId } from '../../protocol/ids.ts';
import type { JobWish, Misfit } from '../../protocol/job-asks.ts';
import type { JobRow, WhyAnswer } from '../../protocol/job-rows.ts';
import { type defaultSettings, inSyncGraceMs, type Ledger, movesByItself, silentMs } from '../../protocol/ledger.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { whyNotDisconnect } from '../../scheduler/disconnecting.ts';
import { underWay } from '../../scheduler/job-wish.ts';
import { misfitLine } from '../../scheduler/snapshot-attention.ts';
import { fencedThere } from '../../scheduler/snapshot-fenced.ts';
import { lacksSudoSentence } from '../../scheduler/token-scopes.ts';
import { leaderOf, recoveryOf } from '../../scheduler/views.ts';
import { newInviteCode, writeInviteCode } from '../enrol/invite-code.ts';
import { History } from '../history/mesh-history.ts';
import type { AgentApi } from '../local-api/agent-api.ts';
import { notApproved } from '../local-api/not-approved.ts';
import type { PausePlan } from '../local-api/socket-protocol.ts';
import type { Log } from '../log.ts';
import type { Network } from '../ports.ts';
import type { GiveWay, Way } from '../settings/give-way.ts';
import { CacheRequests } from './cache-requests.ts';
import { jobRowsOf, pulseOf, statusOf, viewInput, whyOf } from './core-views.ts';
import { GivingWay } from './giving-way.ts';
import { HostingRequests } from './hosting-requests.ts';
import { LeadersMisfits, misfitsAskMs } from './leaders-misfits.ts';
import { LogRequests } from './log-requests.ts';
import type { Member } from './member.ts';
import { MetricsRequests } from './metrics-requests.ts';
import { NoticeRequests } from './notice-requests.ts';
import { type OtherMesh, otherMeshLines } from './other-meshes.ts';
import type { OwedRetries } from './owed-retries.ts';
import { givenUpLines, slowGitlabLines, withOwnAttention } from './own-attention.ts';
import type { OwnPage } from './own-page.ts';
import type { OwnWebhook } from './own-webhook.ts';
import type { PauseSwitch } from './pause.ts';
import { RehearsalRequests } from './rehearsal-requests.ts';
import { askHolders } from './token-holders.ts';
import { WebhookRequests } from './webhook-requests.ts';

const askMs = 3_000;
const gitlabMs = 10_000;

interface ApiOptions {
  home: string;
  network: Network;
  pause: PauseSwitch;
  owed: OwedRetries;
  clock: { wallMs(): number; bootMs(): number };
  member(): Member | null;
  /** While waiting for approval. */
  words(): { words: string | null; mesh: string | null };
  /** Hands over and ends the agent; the sentence is for the caller. */
  leave(): Promise<string>;
  /** What becomes of jobs that are in this machine's owner's way. */
  giveWay: GiveWay;
  log: Pick<Log, 'info' | 'warn'>;
  /** Other meshes of this LAN. */
  others(): readonly OtherMesh[];
  webhook(): OwnWebhook | null;
}

const withoutSudo = (outcome: ChangeOutcome): ChangeOutcome => ({
  ...outcome,
  because: asSentence(`${outcome.because}; warning: ${lacksSudoSentence}`),
});

/** What agent.sock offers, answered from the core's state or by asking the leader. */
export class LocalApi implements AgentApi {
  readonly #options: ApiOptions;
  readonly #misfits: LeadersMisfits;
  readonly #logs: LogRequests;

  readonly hosting: HostingRequests;
  readonly caches = new CacheRequests(() => this.#member().runs.caches);
  readonly rehearsals: RehearsalRequests;
  readonly webhooks: WebhookRequests;
  /** Set before anybody can ask. */
  page!: OwnPage;
  readonly metrics = new MetricsRequests({
    view: () => this.#options.member()?.view() ?? null,
    status: () => this.status(),
    oldestQueuedAt: () => this.#misfits.oldestQueuedAt,
  });
  readonly notices = new NoticeRequests(() => this.#member());
  /** To be started with the member. */
  readonly history: History;
  /** To be started with the member. */
  readonly givingWay: GivingWay;

  constructor(options: ApiOptions) {
    this.#options = options;
    const ask = (node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer> =>
      node === options.network.self ? this.#member().answer(node, ask) : options.network.ask(node, ask, timeoutMs);
    this.rehearsals = new RehearsalRequests({
      ask,
      ledger: () => this.#ledger(),
      view: () => viewInput(this.#member().view()),
    });
    const unseal = (sealed: string): string | null => this.#member().box.opened(sealed);
    this.webhooks = new WebhookRequests(() => this.#ledger(), unseal, options.webhook);
    this.hosting = new HostingRequests({
      self: options.network.self,
      wallMs: () => options.clock.wallMs(),
      ledger: () => this.#ledger(),
      ask,
      change: (change) => this.change(change),
      nodeNamed: (name) => this.#nodeNamed(name),
      addressOf: (node) => options.network.addressOf(node),
      others: () => options.others(),
      fenced: () => fencedThere(viewInput(this.#member().view()), this.#ledger()),
      unseal,
      sealFor: (node, text) => this.#member().box.sealForVoters(text, node),
    });
    this.givingWay = new GivingWay({
      rules: options.giveWay,
      pause: () => options.pause.state(),
      measured: () => options.member()?.measured ?? null,
      runs: () => options.member()?.runs.runs() ?? [],
      holdOf: (run) => options.member()?.runs.ownerHoldOf(run),
      end: (run, because) => options.member()?.runs.end(run, because, 'owner'),
      owed: options.owed,
      retry: (job) => this.wish({ wish: 'retry', job, force: false }),
      warn: (sentence) => options.log.warn(sentence),
      info: (sentence) => options.log.info(sentence),
    });
    this.history = new History({
      ...{ self: options.network.self, home: options.home, clock: options.clock, log: options.log },
      view: () => {
        const member = options.member();
        return member && viewInput(member.view());
      },
      status: () => this.#seen(),
    });
    this.#logs = new LogRequests({
      ...{ home: options.home, network: options.network, wallMs: () => options.clock.wallMs() },
      member: () => this.#member(),
      ledger: () => this.#ledger(),
      nodeNamed: (name) => this.#nodeNamed(name),
      askHolders: (ask) => this.#askHolders(ask),
    });
    this.#misfits = new LeadersMisfits(
      (ask) => this.#askLeader(ask, misfitsAskMs),
      () => options.clock.bootMs(),
    );
  }

  phase(): ReturnType<AgentApi['phase']> {
    return this.#options.member() ? { phase: 'joined' } : { phase: 'waiting', ...this.#options.words() };
  }

  async status(): Promise<StatusSnapshot> {
    const leads = leaderOf(this.#member().view().state)?.node === this.#options.network.self;
    const misfits = leads ? [] : await this.#misfits.read();
    return this.#seen(misfits);
  }

  /** What this machine knows by itself, and `misfits`. */
  #seen(misfits: readonly Misfit[] = []): StatusSnapshot {
    const leads = leaderOf(this.#member().view().state)?.node === this.#options.network.self;
    const status = statusOf(this.#member().view());
    const { network } = this.#options;
    for (const row of status.nodes)
      row.address = (row.self ? ownAddress(network.addresses()) : network.addressOf(row.id)) ?? row.address;
    const page = this.page.url();
    if (page !== null) status.page = { url: page };
    const others = otherMeshLines(this.#member().ledger(), this.#options.others());
    const slow = leads ? slowGitlabLines(this.#member().gitlab.queueAnswersMs) : [];
    const webhook = this.#options.webhook();
    const seen = webhook?.seen();
    if (seen) status.gitlab.webhook = seen;
    const own = [...this.#member().hosting.attention(), ...(webhook?.attention() ?? []), ...this.page.attention()];
    const more = [...own, ...others, ...givenUpLines(this.#member().givenUp), ...slow, ...misfits.map(misfitLine)];
    status.attention = withOwnAttention(status, network.diagnosis.problems(), more);
    return status;
  }

  async jobs(all: boolean): Promise<JobRow[]> {
    const answer = await this.#askLeader({ kind: 'jobs', canceling: true });
    const rows = answer?.kind === 'jobs' ? answer.rows : jobRowsOf(this.#member().view()).rows;
    return all ? rows : rows.filter((row) => underWay.has(row.state));
  }

  async why(job: number): Promise<WhyAnswer | null> {
    const answer = await this.#askLeader({ kind: 'why', job });
    return answer?.kind === 'why' ? answer.why : whyOf(this.#member().view(), job);
  }

  settings(): typeof defaultSettings {
    return { silentMs: silentMs.least, inSyncGraceMs, failover: movesByItself, ...this.#ledger().settings };
  }

  pulse = (): readonly unknown[] => pulseOf(this.#options.member()?.loop.state);

  nextCommit(withinMs: number, signal: AbortSignal): Promise<void> {
    return this.#member().nextCommit.wait(withinMs, signal);
  }

  nextNews(withinMs: number, signal: AbortSignal): Promise<void> {
    return this.#member().nextNews.wait(withinMs, signal);
  }

  async change(change: Change): Promise<ChangeOutcome> {
    return this.#member().changes.ask(change);
  }

  async acted(what: string, sentence: string): Promise<void> {
    // What changes nothing, and that leaders of before know.
    const change = { kind: 'close-approval', node: this.#options.network.self } as const;
    await this.#options.member()?.changes.ask(change, { what, sentence: sentence.slice(0, 200) });
  }

  async invite(ttlMs: number): Promise<{ code: string; expiresAt: number }> {
    const { network, clock } = this.#options;
    const code = newInviteCode(new Set(Object.keys(this.#ledger().invites)));
    const expiresAt = clock.wallMs() + ttlMs;
    const sealed = this.#member().box.seal(code.secret);
    const outcome = await this.change({
      kind: 'make-invite',
      invite: code.id,
      code: sealed,
      expiresAt,
      by: network.self,
    });
    if (outcome.state !== 'done') throw new AutogitError('no-leader', `no invite was made: ${outcome.because}`);
    return { code: writeInviteCode(code), expiresAt };
  }

  /** Checks everything that was given at GitLab itself, before it goes into the ledger. */
  async gitlabConnect(request: Parameters<AgentApi['gitlabConnect']>[0]): Promise<ChangeOutcome> {
    if (this.#ledger().gitlab.mode === 'hosted')
      return { state: 'refused', because: 'this mesh runs its own GitLab: autogit-node gitlab uninstall' };
    const url = baseUrl(request.url);
    if (request.token === null && request.runnerTokens.length === 0)
      throw new AutogitError('bad-flag', 'a GitLab needs an admin token, or runner tokens with their tags', {
        hint: 'autogit-node gitlab connect URL --token-env VAR',
      });
    let instance: string | null = null;
    let lacksSudo = false;
    if (request.token !== null) {
      const facts = await createGitlabAdmin({ url, token: request.token, timeoutMs: gitlabMs }).check();
      if (!facts.isAdmin)
        throw new AutogitError('gitlab-refused', `the token belongs to ${facts.user}, who is no administrator`, {
          hint: 'use a token of an administrator (scope api), or runner tokens: --runner-token-env VAR --tags a,b',
        });
      instance = facts.instance;
      lacksSudo = facts.maySudo === false;
    }
    for (const { token } of request.runnerTokens) await verifyRunner(url, token, 'autogit-connect', gitlabMs);
    const { box } = this.#member();
    const outcome = await this.change({
      kind: 'connect-gitlab',
      url,
      token: request.token === null ? null : box.sealForVoters(request.token),
      instance,
      ...(lacksSudo && { lacksSudo }),
      runnerTokens: request.runnerTokens.map(({ tags, token }) => ({ tags, token: box.seal(token) })),
    });
    return lacksSudo && outcome.state === 'done' ? withoutSudo(outcome) : outcome;
  }

  async gitlabDisconnect(request: { now: boolean; force: boolean }): Promise<ChangeOutcome> {
    // Before it is asked of a leader that may not know such a change.
    const refused = whyNotDisconnect(this.#ledger());
    if (refused !== null) return { state: 'refused', because: refused };
    return this.change({ kind: 'disconnect-gitlab', ...request });
  }

  async wish(wish: JobWish): Promise<{ said: string; next: number | null }> {
    const answer = await this.#askHolders({ kind: 'wish', wish });
    if (answer.kind !== 'wished') throw new AutogitError('bad-message', `another machine answered with ${answer.kind}`);
    return { said: answer.because, next: answer.next };
  }

  logs(...asked: Parameters<AgentApi['logs']>): AsyncIterable<string> {
    return this.#logs.logs(...asked);
  }

  async pause(what: 'gpu' | 'all', forMs: number | null, now: true | Way | null): Promise<string> {
    const sentence = await this.#options.pause.pause(what, forMs, now);
    await this.#options.member()?.measure();
    const done = now === null ? [] : await this.givingWay.lookSoon('what runs makes way');
    return asSentence([sentence, ...done].join('; '));
  }

  pausePlan(what: 'gpu' | 'all', now: true | Way): PausePlan {
    return { jobs: this.givingWay.plan(what, now === true ? null : now) };
  }

  async resume(what: 'gpu' | 'all'): Promise<string> {
    const sentence = await this.#options.pause.resume(what);
    this.#options.member()?.loop.feed({ kind: 'jobs-trusted' });
    await this.#options.member()?.measure();
    // What it had begun before is awaited too: what moves out of a GPU has to be there before it moves back.
    return asSentence([sentence, ...(await this.givingWay.lookSoon('what stood still goes on'))].join('; '));
  }

  recovery(): { refused: string | null; off: string[] } {
    const { state, at } = this.#member().view();
    return recoveryOf(state, at);
  }

  async recover(off: string[]): Promise<ChangeOutcome> {
    return this.#member().changes.recover(off);
  }

  leave(): Promise<string> {
    return this.#options.leave();
  }

  #member(): Member {
    const member = this.#options.member();
    if (!member) throw notApproved(this.#options.words());
    return member;
  }

  #ledger(): Ledger {
    const ledger = this.#member().ledger();
    if (!ledger) throw new AutogitError('no-leader', 'this node has not got the ledger yet');
    return ledger;
  }

  /** Null when this node leads, or the leader cannot be asked: then this node's own view has to do. */
  async #askLeader(ask: Ask, timeoutMs = askMs) {
    const leader = leaderOf(this.#member().view().state);
    const { network } = this.#options;
    if (!leader || leader.node === network.self) return null;
    return network.ask(leader.node, ask, timeoutMs).catch(() => null);
  }

  #askHolders(ask: Ask): Promise<Answer> {
    const member = this.#member();
    const { network } = this.#options;
    const leader = leaderOf(member.view().state)?.node ?? null;
    return askHolders(ask, {
      ledger: this.#ledger(),
      leader,
      self: network.self,
      own: (own) => member.answer(network.self, own),
      ask: (node, asked, timeoutMs) => network.ask(node, asked, timeoutMs),
    });
  }

  #nodeNamed(name: string): NodeId {
    const entry = Object.entries(this.#ledger().nodes).find(([id, node]) => id === name || node.name === name);
    if (!entry)
      throw new AutogitError('bad-flag', `no machine is called ${name}`, {
        hint: 'they are listed by: autogit-node status',
      });
    return entry[0];
  }
}

/** host:port that others can use to reach this node. */
function ownAddress(addresses: readonly string[]): string | null {
  const first = addresses.find((address) => address.startsWith('/ip'));
  const [, , host, , port] = first?.split('/') ?? [];
  return host && port ? `${host}:${port}` : null;
}

function baseUrl(text: string): string {
  let url: URL;
  try {
    url = new URL(text);
  } catch (cause) {
    throw new AutogitError('bad-flag', `${text} is no URL`, { cause, hint: 'for example http://kang.lan:8080' });
  }
  if (!['http:', 'https:'].includes(url.protocol) || url.username !== '' || url.password !== '')
    throw new AutogitError('bad-flag', 'a GitLab URL is http:// or https://, without a user or password in it');
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
}
