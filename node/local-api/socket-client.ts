import { existsSync, statSync } from 'node:fs';
import { z } from 'zod';
import { AuditAnswer } from '../../protocol/audit.ts';
import { type Change, ChangeOutcome } from '../../protocol/changes.ts';
import { Comparison } from '../../protocol/differences.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { Timeline, Usage } from '../../protocol/history.ts';
import type { JobWish } from '../../protocol/job-asks.ts';
import { JobRow, WhyAnswer } from '../../protocol/job-rows.ts';
import { MeshSettings } from '../../protocol/ledger.ts';
import type { LeaderLossSeen } from '../../protocol/loss-seen.ts';
import { StatusSnapshot } from '../../protocol/status.ts';
import type { Way } from '../settings/give-way.ts';
import { places } from '../store/home.ts';
import { readRemoval, removedSentence } from '../store/removal.ts';
import type { PageApi } from './agent-api.ts';
import { callsOfNotices, type NoticeCalls } from './notice-calls.ts';
import { pageCalls } from './page-client.ts';
import { askOf, ofAnotherUser, openCall } from './socket-call.ts';
import {
  AdoptionAnswer,
  type AdoptionSeen,
  AdoptPlan,
  type AdoptRequest,
  type BackupList,
  BackupsAnswer,
  CachesAnswer,
  CertificateAnswer,
  CopiesAnswer,
  CopyPlan,
  DeployPlan,
  type DeployRequest,
  DoorsTested,
  DrillAnswer,
  type FencedRequest,
  InviteAnswer,
  MovePlan,
  PasswordAnswer,
  PausePlan,
  PhaseAnswer,
  type ProtectionRequest,
  ProtectPlan,
  RecoveryAnswer,
  RecoveryKeyAnswer,
  RegainPlan,
  type RegainRequest,
  RehearsalAnswer,
  RehearsalPlan,
  type RestoreRequest,
  SaidAnswer,
  UpgradePlan,
  type UpgradeRequest,
  type VaultRequest,
  WishAnswer,
} from './socket-protocol.ts';

/** Answers when what is asked differs from what had this tag, at the latest after `waitMs`. */
interface Wait {
  tag: string;
  waitMs: number;
}

/** The CLI's side of agent.sock. Every method throws `no-agent` when nobody answers, and what the agent refuses as it said it. */
export interface AgentClient extends PageApi, NoticeCalls {
  readonly home: string;
  phase(): Promise<PhaseAnswer>;
  status(wait?: Wait): Promise<{ snapshot: StatusSnapshot; tag: string }>;
  jobs(all: boolean): Promise<JobRow[]>;
  why(job: number): Promise<WhyAnswer | null>;
  settings(wait?: Wait): Promise<{ settings: MeshSettings; tag: string }>;
  change(change: Change): Promise<ChangeOutcome>;
  invite(ttlMs: number): Promise<InviteAnswer>;
  gitlabConnect(request: {
    url: string;
    token: string | null;
    runnerTokens: { tags: string[]; token: string }[];
  }): Promise<ChangeOutcome>;
  logs(
    request: { job: number | null; node: string | null; all?: boolean; follow: boolean },
    signal?: AbortSignal,
  ): AsyncIterable<string>;
  gitlabDisconnect(request: { now: boolean; force: boolean }): Promise<ChangeOutcome>;
  webhookTest(): Promise<z.infer<typeof DoorsTested>>;
  /** Looks at the machine; changes nothing. */
  gitlabPlan(wish: DeployRequest): Promise<DeployPlan>;
  gitlabDeploy(wish: DeployRequest): Promise<ChangeOutcome>;
  gitlabCopies(): Promise<{ agreed: string[] }>;
  gitlabCopyPlan(node: string): Promise<CopyPlan>;
  gitlabCertificate(wish: { given: DeployRequest['tls'] | null }): Promise<CertificateAnswer>;
  gitlabAgree(request: { node: string; agreed: boolean }): Promise<ChangeOutcome>;
  gitlabUninstall(request: { deleteData: boolean; now: boolean; force: boolean }): Promise<ChangeOutcome>;
  gitlabPassword(wish: { seen?: string; user?: string }): Promise<{ password: string | null }>;
  gitlabVault(request: VaultRequest): Promise<ChangeOutcome>;
  gitlabProtection(request: ProtectionRequest): Promise<ProtectPlan>;
  gitlabProtect(request: ProtectionRequest): Promise<ChangeOutcome>;
  gitlabUnprotect(): Promise<ChangeOutcome>;
  gitlabAdoptPlan(request: AdoptRequest): Promise<AdoptPlan>;
  gitlabAdopt(request: AdoptRequest): Promise<{ said: string }>;
  gitlabAdoption(on: string | null): Promise<AdoptionSeen>;
  gitlabRegainPlan(request: RegainRequest): Promise<RegainPlan>;
  gitlabRegain(request: RegainRequest): Promise<ChangeOutcome>;
  gitlabBackup(): Promise<{ said: string }>;
  gitlabBackups(): Promise<BackupList>;
  gitlabCompare(request: { with: string; from: number }): Promise<Comparison>;
  gitlabBringFenced(request: FencedRequest & { project: string }): Promise<{ said: string }>;
  gitlabDropFenced(request: FencedRequest): Promise<{ said: string }>;
  gitlabRestore(request: RestoreRequest): Promise<{ said: string }>;
  gitlabDrill(on: string | null): Promise<{ node: string; said: string }>;
  /** Looks at the machine; changes nothing. */
  gitlabUpgradePlan(request: UpgradeRequest): Promise<UpgradePlan>;
  gitlabUpgrade(request: UpgradeRequest): Promise<ChangeOutcome>;
  gitlabMovePlan(node: string): Promise<MovePlan>;
  gitlabMove(node: string): Promise<ChangeOutcome>;
  gitlabMoveCancel(node: string | null): Promise<ChangeOutcome>;
  gitlabRehearse(image: string): Promise<{ said: string }>;
  gitlabRecoveryKey(): Promise<{ key: string }>;
  reconcile(): Promise<{ said: string }>;
  wish(wish: JobWish): Promise<{ said: string; next: number | null }>;
  pause(what: 'gpu' | 'all', forMs: number | null, now?: true | Way | null): Promise<string>;
  pausePlan(what: 'gpu' | 'all', now: true | Way): Promise<PausePlan>;
  resume(what: 'gpu' | 'all'): Promise<string>;
  recovery(): Promise<RecoveryAnswer>;
  recover(off: string[]): Promise<ChangeOutcome>;
  leave(): Promise<string>;
  /** Waits up to `waitMs` for something that happened after `since`; null: the newest. */
  timeline(since: string | null, waitMs?: number): Promise<Timeline>;
  usage(): Promise<Usage>;
  audit(): Promise<AuditAnswer>;
  caches(): Promise<CachesAnswer>;
  clearCaches(project: string | null): Promise<{ said: string }>;
  metrics(): Promise<string>;
  /** Looks at the mesh; changes nothing. */
  rehearsalPlan(what: 'leader-loss' | 'host-loss'): Promise<RehearsalPlan>;
  rehearseLeaderLoss(): Promise<{ said: string }>;
  /** Null while nobody who could tell can be asked. */
  rehearsal(): Promise<LeaderLossSeen | null>;
}

/** A home of another user: whether an agent runs there cannot be seen, so it must not be said that none does. */
function isClosed(home: string): boolean {
  try {
    statSync(places(home).socket);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EACCES';
  }
}

/** A client of the agent in the first of these homes that has a socket. Throws `no-agent`. */
export function findAgent(homes: readonly string[]): AgentClient {
  const home = homes.find((candidate) => existsSync(places(candidate).socket));
  if (home === undefined) {
    refuseRemoved(homes);
    const closed = homes.find(isClosed);
    if (closed !== undefined) throw ofAnotherUser(closed);
    throw new AutogitError('no-agent', `no agent is running here (looked in ${homes.join(' and ')})`);
  }
  return createClient(home);
}

/** Why nobody answers: the mesh removed this machine, and its agent ended. */
function refuseRemoved(homes: readonly string[]): void {
  for (const removal of homes.map(readRemoval))
    if (removal) throw new AutogitError('removed', removedSentence(removal));
}

type Post = <S extends z.ZodType>(schema: S, path: string, body: unknown) => Promise<z.output<S>>;

/** Of a GitLab that runs without the mesh. */
const callsOfOthers = (
  post: Post,
): Pick<
  AgentClient,
  | ('gitlabProtection' | 'gitlabProtect' | 'gitlabUnprotect' | 'gitlabAdoptPlan' | 'gitlabAdopt' | 'gitlabAdoption')
  | ('gitlabRegainPlan' | 'gitlabRegain')
> => ({
  gitlabProtection: (asked) => post(ProtectPlan, '/v1/gitlab/protection', asked),
  gitlabProtect: (asked) => post(ChangeOutcome, '/v1/gitlab/protect', asked),
  gitlabUnprotect: () => post(ChangeOutcome, '/v1/gitlab/unprotect', {}),
  gitlabAdoptPlan: (asked) => post(AdoptPlan, '/v1/gitlab/adopt-plan', asked),
  gitlabAdopt: (asked) => post(SaidAnswer, '/v1/gitlab/adopt', asked),
  gitlabRegainPlan: (asked) => post(RegainPlan, '/v1/gitlab/regain-plan', asked),
  gitlabRegain: (asked) => post(ChangeOutcome, '/v1/gitlab/regain', asked),
  gitlabAdoption: (on) => post(AdoptionAnswer, '/v1/gitlab/adoption', { on }),
});

/** Of what was. */
const callsOfHistory = (ask: ReturnType<typeof askOf>): Pick<AgentClient, 'timeline' | 'usage' | 'audit'> => ({
  timeline: async (since, waitMs = 0) => {
    const query = new URLSearchParams({ wait: String(waitMs), ...(since === null ? {} : { since }) });
    return (await ask(Timeline, 'GET', `/v1/timeline?${query}`, undefined, waitMs)).value;
  },
  usage: async () => (await ask(Usage, 'GET', '/v1/usage')).value,
  audit: async () => (await ask(AuditAnswer, 'GET', '/v1/audit')).value,
});

const partsOf = (...ways: Parameters<typeof pageCalls>) => ({ ...pageCalls(...ways), ...callsOfNotices(...ways) });

export function createClient(home: string): AgentClient {
  const ask = askOf(home);
  const get = async <S extends z.ZodType>(schema: S, path: string) => (await ask(schema, 'GET', path)).value;
  const getNews = <S extends z.ZodType>(schema: S, path: string, wait?: Wait) => {
    const query = wait ? `?wait=${wait.waitMs}&tag=${encodeURIComponent(wait.tag)}` : '';
    return ask(schema, 'GET', `${path}${query}`, undefined, wait?.waitMs);
  };
  const post = async <S extends z.ZodType>(schema: S, path: string, body: unknown) =>
    (await ask(schema, 'POST', path, body)).value;
  return {
    home,
    phase: () => get(PhaseAnswer, '/v1/phase'),
    status: async (wait) => {
      const { value, tag } = await getNews(StatusSnapshot, '/v1/status', wait);
      return { snapshot: value, tag };
    },
    jobs: (all) => get(JobRow.array(), `/v1/jobs?all=${all ? 1 : 0}`),
    why: async (job) => (await get(z.object({ why: WhyAnswer.nullable() }), `/v1/why?job=${job}`)).why,
    settings: async (wait) => {
      const { value, tag } = await getNews(MeshSettings, '/v1/settings', wait);
      return { settings: value, tag };
    },
    change: (change) => post(ChangeOutcome, '/v1/change', { change }),
    invite: (ttlMs) => post(InviteAnswer, '/v1/invite', { ttlMs }),
    gitlabConnect: (asked) => post(ChangeOutcome, '/v1/gitlab/connect', asked),
    logs: (asked, signal) => streamLogs(home, asked, signal),
    ...callsOfHistory(ask),
    caches: () => get(CachesAnswer, '/v1/caches'),
    metrics: async () => (await get(z.object({ text: z.string() }), '/v1/metrics')).text,
    clearCaches: (project) => post(SaidAnswer, '/v1/caches/clear', { project }),
    gitlabDisconnect: (asked) => post(ChangeOutcome, '/v1/gitlab/disconnect', asked),
    webhookTest: () => post(DoorsTested, '/v1/webhook/test', {}),
    gitlabPlan: (wish) => post(DeployPlan, '/v1/gitlab/plan', wish),
    gitlabDeploy: (wish) => post(ChangeOutcome, '/v1/gitlab/deploy', wish),
    gitlabCopies: () => post(CopiesAnswer, '/v1/gitlab/copies', {}),
    gitlabCopyPlan: (node) => post(CopyPlan, '/v1/gitlab/copy-plan', { node }),
    gitlabCertificate: (wish) => post(CertificateAnswer, '/v1/gitlab/certificate', wish),
    gitlabAgree: (asked) => post(ChangeOutcome, '/v1/gitlab/agree', asked),
    gitlabUninstall: (asked) => post(ChangeOutcome, '/v1/gitlab/uninstall', asked),
    gitlabPassword: (wish) => post(PasswordAnswer, '/v1/gitlab/password', wish),
    gitlabVault: (asked) => post(ChangeOutcome, '/v1/gitlab/vault', asked),
    ...callsOfOthers(post),
    ...partsOf(get, post),
    gitlabBackup: () => post(SaidAnswer, '/v1/gitlab/backup', {}),
    gitlabBackups: () => post(BackupsAnswer, '/v1/gitlab/backups', {}),
    gitlabCompare: (request) => post(Comparison, '/v1/gitlab/compare', request),
    gitlabBringFenced: (request) => post(SaidAnswer, '/v1/gitlab/bring-fenced', request),
    gitlabDropFenced: (request) => post(SaidAnswer, '/v1/gitlab/drop-fenced', request),
    gitlabRestore: (request) => post(SaidAnswer, '/v1/gitlab/restore', request),
    gitlabDrill: (on) => post(DrillAnswer, '/v1/gitlab/drill', { on }),
    gitlabUpgradePlan: (asked) => post(UpgradePlan, '/v1/gitlab/upgrade-plan', asked),
    gitlabUpgrade: (asked) => post(ChangeOutcome, '/v1/gitlab/upgrade', asked),
    gitlabMovePlan: (node) => post(MovePlan, '/v1/gitlab/move-plan', { node }),
    gitlabMove: (node) => post(ChangeOutcome, '/v1/gitlab/move', { node }),
    gitlabMoveCancel: (node) => post(ChangeOutcome, '/v1/gitlab/move-cancel', { node }),
    gitlabRehearse: (image) => post(SaidAnswer, '/v1/gitlab/rehearse', { image }),
    gitlabRecoveryKey: () => post(RecoveryKeyAnswer, '/v1/gitlab/recovery-key', {}),
    reconcile: () => post(SaidAnswer, '/v1/reconcile', {}),
    wish: (wish) => post(WishAnswer, '/v1/wish', wish),
    pause: async (what, forMs, now = null) =>
      (await post(SaidAnswer, '/v1/pause', { what, forMs, ...(now ? { now } : {}) })).said,
    pausePlan: (what, now) => post(PausePlan, '/v1/pause/plan', { what, now }),
    resume: async (what) => (await post(SaidAnswer, '/v1/resume', { what })).said,
    recovery: () => get(RecoveryAnswer, '/v1/recovery'),
    recover: (off) => post(ChangeOutcome, '/v1/recover', { off }),
    leave: async () => (await post(SaidAnswer, '/v1/leave', {})).said,
    rehearsalPlan: (what) => post(RehearsalPlan, '/v1/rehearse/plan', { what }),
    rehearseLeaderLoss: () => post(SaidAnswer, '/v1/rehearse/leader-loss', {}),
    rehearsal: async () => (await post(RehearsalAnswer, '/v1/rehearse/seen', {})).seen,
  };
}

async function* streamLogs(
  home: string,
  { job, node, all, follow }: { job: number | null; node: string | null; all?: boolean; follow: boolean },
  signal?: AbortSignal,
): AsyncIterable<string> {
  const query = new URLSearchParams({ follow: follow ? '1' : '0' });
  if (job !== null) query.set('job', String(job));
  if (node !== null) query.set('node', node);
  // An agent of before refuses a word that it does not know.
  if (all) query.set('all', '1');
  const answer = await openCall(home, 'GET', `/v1/logs?${query}`, undefined, null, signal);
  answer.setEncoding('utf8');
  try {
    for await (const text of answer as AsyncIterable<string>) yield text;
  } catch (cause) {
    if (signal?.aborted) return;
    throw new AutogitError('no-agent', 'the agent went away in the middle of the log', { cause });
  }
}
