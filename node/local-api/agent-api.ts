import type { AuditAnswer } from '../../protocol/audit.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import type { Comparison } from '../../protocol/differences.ts';
import type { Timeline, Usage } from '../../protocol/history.ts';
import type { JobWish } from '../../protocol/job-asks.ts';
import type { JobRow, WhyAnswer } from '../../protocol/job-rows.ts';
import type { MeshSettings } from '../../protocol/ledger.ts';
import type { LeaderLossSeen } from '../../protocol/loss-seen.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import type { Way } from '../settings/give-way.ts';
import type {
  AdoptionSeen,
  AdoptPlan,
  AdoptRequest,
  BackupList,
  CachesAnswer,
  CertificateAnswer,
  CopyPlan,
  DeployPlan,
  DeployRequest,
  FencedRequest,
  MovePlan,
  NoticesAnswer,
  NoticeTargetRequest,
  PageAccessRow,
  PageLink,
  PageRole,
  PausePlan,
  ProtectionRequest,
  ProtectPlan,
  RegainPlan,
  RegainRequest,
  RehearsalPlan,
  RestoreRequest,
  UpgradePlan,
  UpgradeRequest,
  VaultRequest,
} from './socket-protocol.ts';

/*
 * What the agent answers to those who ask it on this machine, in small interfaces: a server is handed those that its
 * callers may use. The agent (agent/api.ts) answers all of them; the routes check what comes in (zod).
 */

export interface PhaseApi {
  /** `waiting`: not approved yet, with the words to compare; everything but `status`, `phase` and `leave` is refused then. */
  phase(): { phase: 'waiting'; words: string | null; mesh: string | null } | { phase: 'joined' };
}

/** What anybody who may look may see. */
export interface StatusApi {
  status(): StatusSnapshot | Promise<StatusSnapshot>;
  jobs(all: boolean): Promise<JobRow[]>;
  why(job: number): Promise<WhyAnswer | null>;
  /** The mesh's settings, as committed. */
  settings(): MeshSettings;
  /** Things of which one is another (`!==`) as soon as the mesh has decided something, or somebody else leads: costs next to nothing. */
  pulse(): readonly unknown[];
  /** Resolves when the next ledger is committed here, after `withinMs`, or when the signal aborts. */
  nextCommit(withinMs: number, signal: AbortSignal): Promise<void>;
  /** The same, and also when a machine has told of itself: its `pulse` may be another one then. */
  nextNews(withinMs: number, signal: AbortSignal): Promise<void>;
}

export interface LogsApi {
  /** A job's trace, or this agent's (or another node's, or all nodes') log; follows until the job ends or the signal aborts. */
  logs(
    request: { job: number | null; node: string | null; all?: boolean; follow: boolean },
    signal: AbortSignal,
  ): AsyncIterable<string>;
}

export interface JobsApi {
  /** What a person wants of one job, done at GitLab; `next`: the job that runs in its place. Throws with the fix. */
  wish(wish: JobWish): Promise<{ said: string; next: number | null }>;
}

/** What people did. */
export interface ActsApi {
  /** Somebody did what is no change of the ledger: the voters write it down all the same. */
  acted(what: string, sentence: string): Promise<void>;
}

/** Who belongs to the mesh, and what it is set to. */
export interface MembershipApi {
  change(change: Change): Promise<ChangeOutcome>;
  invite(ttlMs: number): Promise<{ code: string; expiresAt: number }>;
}

export interface GitlabApi {
  gitlabConnect(request: {
    url: string;
    token: string | null;
    runnerTokens: { tags: string[]; token: string }[];
  }): Promise<ChangeOutcome>;
  /** Begins it: jobs end, runners go, then the token. `now`: jobs are given up; `force`: GitLab is not waited for. */
  gitlabDisconnect(request: { now: boolean; force: boolean }): Promise<ChangeOutcome>;
}

/** The doors through which GitLab tells at once that there is work. */
export interface WebhookApi {
  /** What each machine's door says to a delivery; `url` null: it has none. */
  webhookTest(): Promise<{ node: string; url: string | null; ok: boolean; said: string }[]>;
}

/** Whom the mesh tells that something is wrong. */
export interface NoticeApi {
  noticeTargets(): NoticesAnswer;
  /** Throws `bad-flag` with the fix where nobody could be told so. */
  noticeAdd(request: NoticeTargetRequest): Promise<ChangeOutcome>;
  noticeRemove(name: string): Promise<ChangeOutcome>;
  /** Null: all of them. From this machine, where it votes. */
  noticeTest(name: string | null): Promise<{ name: string; kind: string; shown: string; ok: boolean; said: string }[]>;
}

/** GitLab itself, on a machine of the mesh. */
export interface HostingApi {
  /** Looks at the machine that shall run it; changes nothing. */
  gitlabPlan(wish: DeployRequest): Promise<DeployPlan>;
  /** Looks once more, then asks the mesh for it. */
  gitlabDeploy(wish: DeployRequest): Promise<ChangeOutcome>;
  /** Machines that a person named to hold copies of it. */
  gitlabCopies(): { agreed: string[] };
  /** Looks at one that shall hold copies; changes nothing. */
  gitlabCopyPlan(node: string): Promise<CopyPlan>;
  /** `given` null: only looks. */
  gitlabCertificate(request: { given: DeployRequest['tls'] | null }): Promise<CertificateAnswer>;
  /** Looks once more where it shall hold some, then asks the mesh for it. */
  gitlabAgree(request: { node: string; agreed: boolean }): Promise<ChangeOutcome>;
  gitlabUninstall(request: { deleteData: boolean; now: boolean; force: boolean }): Promise<ChangeOutcome>;
  /** The first password of root, until somebody says that a person has seen it. */
  gitlabPassword(wish: { seen?: string; user?: string }): Promise<{ password: string | null }>;
  /** Where backups go, from now on; null: nowhere. */
  gitlabVault(request: VaultRequest): Promise<ChangeOutcome>;
  /** Looks at a GitLab that a machine runs without the mesh; changes nothing. */
  gitlabProtection(request: ProtectionRequest): Promise<ProtectPlan>;
  /** Looks once more, then asks the mesh to back it up. */
  gitlabProtect(request: ProtectionRequest): Promise<ChangeOutcome>;
  gitlabUnprotect(): Promise<ChangeOutcome>;
  /** Looks at a GitLab that a machine runs without the mesh, and that shall be the mesh's; changes nothing. */
  gitlabAdoptPlan(request: AdoptRequest): Promise<AdoptPlan>;
  /** Looks once more, then begins it: how far it is says `gitlabAdoption`. Throws with why not. */
  gitlabAdopt(request: AdoptRequest): Promise<string>;
  gitlabAdoption(on: string | null): Promise<AdoptionSeen>;
  /** Looks at GitLab's data of a mesh that is gone; changes nothing. */
  gitlabRegainPlan(request: RegainRequest): Promise<RegainPlan>;
  /** Looks once more, makes them this mesh's, then asks the mesh to run GitLab on them. */
  gitlabRegain(request: RegainRequest): Promise<ChangeOutcome>;
  gitlabBackup(): Promise<string>;
  gitlabBackups(): Promise<BackupList>;
  /** What is not as it was then, from that row on. */
  gitlabCompare(request: { with: string; from: number }): Promise<Comparison>;
  /** One project of what a machine served until another one took over, beside the present one: what comes of it stands in status. */
  gitlabBringFenced(request: FencedRequest & { project: string }): Promise<string>;
  /** Deletes all of it, for good. */
  gitlabDropFenced(request: FencedRequest): Promise<string>;
  /** Begins it: what comes of it stands in status. */
  gitlabRestore(request: RestoreRequest): Promise<string>;
  /** Begins one on that machine, or on one that holds a copy: how it ends stands in status. Throws with why not. */
  gitlabDrill(on: string | null): Promise<{ node: string; said: string }>;
  /** Looks whether GitLab can become that image; changes nothing. */
  gitlabUpgradePlan(request: UpgradeRequest): Promise<UpgradePlan>;
  /** Asks the mesh for it. */
  gitlabUpgrade(request: UpgradeRequest): Promise<ChangeOutcome>;
  /** Begins it on a clone: what comes of it stands in status. */
  gitlabRehearse(image: string): Promise<string>;
  /** Looks whether GitLab can move to that machine; changes nothing. */
  gitlabMovePlan(node: string): Promise<MovePlan>;
  /** Looks once more, then asks the mesh for it. */
  gitlabMove(node: string): Promise<ChangeOutcome>;
  /** Takes that wish back, of a move to that machine or to any. */
  gitlabMoveCancel(node: string | null): Promise<ChangeOutcome>;
  /** What opens the backups, where this machine may know it. */
  gitlabRecoveryKey(): string;
  /** The machine that hosts looks now. */
  reconcile(): Promise<string>;
}

/** What the owner of this very machine may ask of its agent. */
export interface OwnerApi {
  /** `now`: what runs here (of `gpu`: on a GPU) makes way too, as the owner has set it or, where it is said, so. */
  pause(what: 'gpu' | 'all', forMs: number | null, now: true | Way | null): Promise<string>;
  /** What such a pause would make of the jobs that run here. */
  pausePlan(what: 'gpu' | 'all', now: true | Way): PausePlan;
  resume(what: 'gpu' | 'all'): Promise<string>;
  leave(): Promise<string>;
  /** What `recover` would ask a person: who must be switched off; `refused`: why it would do nothing. */
  recovery(): { refused: string | null; off: string[] };
  /** This node goes on alone. `off`: names of machines that a person has seen switched off (SAFETY L15). */
  recover(off: string[]): Promise<ChangeOutcome>;
}

/** Caches of jobs that this machine keeps. */
export interface CachesApi {
  caches(): Promise<CachesAnswer>;
  /** `project`: its path at GitLab; null: all. */
  clearCaches(project: string | null): Promise<string>;
}

/** What this machine remembers of its mesh. */
export interface HistoryApi {
  /** What happened after the event of that id (null: the newest), as soon as there is something, at the latest after `waitMs`. */
  timeline(since: string | null, waitMs?: number, signal?: AbortSignal): Promise<Timeline>;
  usage(): Usage;
  audit(): Promise<AuditAnswer>;
}

/** What a person wants to see of a living mesh. */
export interface RehearsalApi {
  /** Looks; changes nothing. */
  rehearsalPlan(what: 'leader-loss' | 'host-loss'): Promise<RehearsalPlan>;
  /** Looks once more, then begins it: how far it is says `rehearsal`. Throws with why not. */
  rehearseLeaderLoss(): Promise<string>;
  rehearsal(): Promise<LeaderLossSeen | null>;
}

/** Who may come in to the page that this agent serves. Times are wall ms. */
export interface PageApi {
  /** A link that lets one browser in, once; `until`: how long it is in then. Throws where no page is served. */
  pageLink(role: PageRole, forMs: number | null): Promise<PageLink>;
  /** A key for a program; it is shown this once. */
  pageKey(role: PageRole, name: string | null): Promise<{ key: string; name: string; url: string }>;
  pageKeys(): Promise<PageAccessRow[]>;
  pageKeyRemove(name: string): Promise<string>;
}

export interface MetricsApi {
  /** In Prometheus' text format 0.0.4; of a machine that waits to be let in, what its agent is. */
  metricsText(): Promise<string>;
}

export type AgentApi = PhaseApi &
  ActsApi &
  StatusApi &
  LogsApi &
  JobsApi &
  MembershipApi &
  GitlabApi &
  OwnerApi & {
    readonly hosting: HostingApi;
    readonly rehearsals: RehearsalApi;
    readonly history: HistoryApi;
    readonly caches: CachesApi;
    readonly webhooks: WebhookApi;
    readonly page: PageApi;
    readonly metrics: MetricsApi;
    readonly notices: NoticeApi;
  };
