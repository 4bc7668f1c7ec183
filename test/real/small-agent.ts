import { EventEmitter, once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { whoActs } from '../../node/local-api/acting.ts';
import type { AgentApi } from '../../node/local-api/agent-api.ts';
import { notApproved } from '../../node/local-api/not-approved.ts';
import type {
  AdoptionSeen,
  AdoptPlan,
  CopyPlan,
  DeployPlan,
  MovePlan,
  RegainPlan,
  RehearsalPlan,
  RestoreRequest,
  UpgradePlan,
} from '../../node/local-api/socket-protocol.ts';
import type { Way } from '../../node/settings/give-way.ts';
import type { BackupRow } from '../../protocol/asks.ts';
import type { AuditEntry } from '../../protocol/audit.ts';
import type { Difference } from '../../protocol/differences.ts';
import type { TimelineEvent } from '../../protocol/history.ts';
import type { JobWish } from '../../protocol/job-asks.ts';
import type { JobRow } from '../../protocol/job-rows.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';

const snapshot = (waiting: number): StatusSnapshot => ({
  version: 1,
  at: new Date().toISOString(),
  seenFrom: 'kang',
  ageMs: Math.random(),
  mesh: { id: 'm', name: 'home' },
  leader: { node: 'kang', term: 1, since: '2026-11-21T17:00:00.000Z' },
  quorum: { voters: ['kang'], tieBreaker: null, canLose: 0, sentence: 'alone' },
  nodes: [],
  waiting: [],
  gitlab: {
    mode: 'none',
    state: 'absent',
    url: null,
    host: null,
    epoch: 0,
    version: null,
    lastBackup: null,
    forecast: null,
    flag: null,
  },
  queue: { waiting, running: 0, doneToday: 0, failedToday: 0 },
  attention: [],
});

/** Stands where an agent would, behind a real socket; what is asked of it is kept. */
export class SmallAgent implements AgentApi {
  readonly hosting: AgentApi['hosting'] = this;
  readonly rehearsals: AgentApi['rehearsals'] = this;
  readonly caches: AgentApi['caches'] = {
    caches: async () => ({ limitBytes: 2 ** 30, count: this.kept.length, bytes: 3 << 20, rows: this.kept }),
    clearCaches: async (project) => {
      this.asked.push({ clearCaches: project });
      if (this.fails) throw this.fails;
      return `removed ${this.kept.length} caches, 3 MiB`;
    },
  };
  kept: Awaited<ReturnType<AgentApi['caches']['caches']>>['rows'] = [];
  events: TimelineEvent[] = [];
  audited: AuditEntry[] = [];
  async acted(what: string, sentence: string) {
    this.audited.push({ n: 1, at: 1, who: whoActs() ?? '', on: 'kang', what, sentence });
  }
  readonly history: AgentApi['history'] = {
    timeline: async (since, waitMs = 0) => {
      for (const end = Date.now() + waitMs; Date.now() < end && this.events.at(-1)?.id === since; ) await sleep(10);
      return { events: this.events.filter(({ id }) => since === null || id > since) };
    },
    audit: async () => ({ entries: this.audited, isVoter: true }),
    usage: () => ({ stepMs: 300_000, from: '2026-11-30T00:00:00.000Z', machines: [] }),
  };
  readonly webhooks: AgentApi['webhooks'] = this;
  readonly notices: AgentApi['notices'] = this;
  told: ReturnType<AgentApi['notices']['noticeTargets']> = { rows: [], quiet: null };
  noticeTargets() {
    return this.told;
  }
  async noticeAdd(notice: unknown) {
    this.asked.push({ notice });
    if (this.fails) throw this.fails;
    return { state: 'done' as const, because: 'it is told when something is wrong' };
  }
  async noticeRemove(name: string) {
    this.asked.push({ noticeRemove: name });
    return { state: 'done' as const, because: `${name} is told nothing` };
  }
  async noticeTest(name: string | null) {
    this.asked.push({ noticeTest: name });
    return this.told.rows
      .filter((row) => name === null || row.name === name)
      .map(({ name: one, kind, shown, failing }) => {
        const said = failing?.because ?? 'it was told';
        return { name: one, kind, shown, ok: failing === null, said };
      });
  }
  async webhookTest() {
    return [];
  }
  page: AgentApi['page'] = {
    pageLink: async (role, forMs) => {
      this.asked.push({ pageLink: role, forMs });
      const [goodUntil, urls] = [
        Date.now() + 600_000,
        ['http://127.0.0.1:7118/enter?code=c', 'http://10.0.0.5:7118/enter?code=c'],
      ];
      return { urls, role, goodUntil, forMs: forMs ?? 604_800_000, beyond: true };
    },
    pageKey: async (role, name) => {
      this.asked.push({ pageKey: role, name });
      return { key: 'agk_k', name: name ?? 'key-1', url: 'http://127.0.0.1:7118' };
    },
    pageKeys: async () => [
      { name: 'key-1', kind: 'key', role: 'viewer', madeAt: Date.now(), until: null, usedAt: null },
    ],
    pageKeyRemove: async (name) => {
      this.asked.push({ pageKeyRemove: name });
      return `${name} is let in no more`;
    },
  };
  readonly metrics: AgentApi['metrics'] = { metricsText: async () => this.metricsText };
  metricsText = '';
  isWaiting = false;
  queue = 0;
  asked: unknown[] = [];
  endedLogs = 0;
  fails: Error | null = null;
  phase(): ReturnType<AgentApi['phase']> {
    return this.isWaiting ? { phase: 'waiting', words: 'coral-sixty-lamp-otter', mesh: 'home' } : { phase: 'joined' };
  }
  /** Not by a clock: a busy machine starts a command in seconds, and what was so before it looks is no news to it. */
  onceAsked(kind: string, times: number, then: () => void): void {
    const looking = setInterval(() => {
      if (this.asked.filter((one) => one === kind || Object.hasOwn(Object(one), kind)).length < times) return;
      clearInterval(looking);
      then();
    }, 20);
  }
  /** What comes true only when whoever asked that has looked once at what is under way. */
  onceLookedAfter(kind: string, then: () => void): void {
    this.#onceLooked = { kind, then };
  }
  #onceLooked: { kind: string; then: () => void } | null = null;
  gitlab: Partial<StatusSnapshot['gitlab']> = {};
  /** How often it was asked for `status`. */
  looks = 0;
  status(): StatusSnapshot {
    this.looks += 1;
    const now = snapshot(this.queue);
    const shown = { ...now, gitlab: { ...now.gitlab, ...this.gitlab } };
    const due = this.#onceLooked;
    if (due !== null && this.asked.includes(due.kind)) {
      this.#onceLooked = null;
      due.then();
    }
    return shown;
  }
  async jobs(all: boolean) {
    this.asked.push({ jobs: all });
    if (this.fails) throw this.fails;
    return this.rows;
  }
  async gitlabCertificate() {
    return { url: 'https://git.lan:8443', issuer: 'CA', endsAt: 0, words: 'by CA' };
  }
  async why() {
    return null;
  }
  async change(change: unknown) {
    this.asked.push(change);
    return { state: 'done' as const, because: 'done' };
  }
  async invite(ttlMs: number) {
    return { code: 'CODE', expiresAt: ttlMs };
  }
  async gitlabConnect(connect: unknown) {
    this.asked.push(connect);
    return { state: 'done' as const, because: 'connected' };
  }
  async gitlabDisconnect(disconnect: unknown) {
    this.asked.push(disconnect);
    return { state: 'done' as const, because: 'disconnected' };
  }
  plan: DeployPlan = { host: 'kang', url: 'http://kang.lan:8080', folder: '/srv/gitlab', copies: [], lines: [] };
  async gitlabPlan(plan: unknown) {
    this.asked.push({ plan });
    return this.plan;
  }
  async gitlabDeploy(deploy: unknown) {
    this.asked.push({ deploy });
    return { state: 'done' as const, because: 'GitLab is to run on kang' };
  }
  agreed: string[] = [];
  gitlabCopies() {
    return { agreed: this.agreed };
  }
  copyLines: CopyPlan['lines'] = [];
  async gitlabCopyPlan(node: string) {
    return { node, lines: this.copyLines };
  }
  async gitlabAgree(agree: unknown) {
    this.asked.push({ agree });
    return { state: 'done' as const, because: 'it holds copies of GitLab from now on' };
  }
  async gitlabUninstall(uninstall: unknown) {
    this.asked.push({ uninstall });
    return { state: 'done' as const, because: 'GitLab is being uninstalled' };
  }
  password: string | null = null;
  async gitlabPassword({ seen, user }: { seen?: string; user?: string }) {
    this.asked.push({ password: user ?? seen ?? null });
    if (user !== undefined) return { password: `once-${user}` };
    if (seen !== undefined && seen === this.password) this.password = null;
    return { password: this.password };
  }
  async gitlabVault(vault: unknown) {
    this.asked.push({ vault });
    return { state: 'done' as const, because: 'backups of GitLab go there' };
  }
  async gitlabProtection(protection: unknown) {
    this.asked.push({ protection });
    return { host: 'kang', target: null, found: null, lines: [] };
  }
  async gitlabProtect(protect: unknown) {
    this.asked.push({ protect });
    return { state: 'done' as const, because: 'so it is' };
  }
  adoptPlan: AdoptPlan = { host: 'kang', found: null, url: null, lines: [] };
  left: RegainPlan = { host: 'kang', isPlace: false, found: null, url: null, lines: [] };
  adoption: AdoptionSeen = {
    ...{ host: 'kang', state: 'none', phase: 'none', percent: null, because: 'none was begun', problem: null },
  };
  async gitlabAdoptPlan(adoption: unknown) {
    this.asked.push({ adoption });
    return this.adoptPlan;
  }
  async gitlabAdopt(adopt: unknown) {
    this.asked.push({ adopt });
    this.adoption = { ...this.adoption, state: 'under-way', phase: 'copies its data', percent: 10 };
    return 'it is being taken over';
  }
  async gitlabAdoption() {
    return this.adoption;
  }
  async gitlabRegainPlan() {
    return this.left;
  }
  async gitlabRegain(regain: unknown) {
    this.asked.push({ regain });
    return { state: 'done' as const, because: 'it is deployed' };
  }
  async gitlabUnprotect() {
    this.asked.push('unprotect');
    return { state: 'done' as const, because: 'so it is' };
  }
  async gitlabBackup() {
    this.asked.push('backup');
    return 'a backup is made now';
  }
  backups: BackupRow[] = [];
  slowness = Promise.resolve();
  historyLooks = 0;
  async gitlabBackups() {
    this.historyLooks++;
    return { rows: await this.slowness.then(() => this.backups), problem: null };
  }
  /** Pages of so many rows. */
  differences: Difference[] = [];
  async gitlabCompare({ with: id, from }: { with: string; from: number }) {
    this.asked.push({ compare: id, from });
    const rows = this.differences.slice(from, from + 30);
    const known = { at: 1_764_386_655_000, passedMs: 7_200_000, files: [], notes: [] };
    return { ...known, rows, from, total: this.differences.length };
  }
  async gitlabBringFenced(bring: unknown) {
    this.asked.push({ bring });
    return 'it is brought over';
  }
  async gitlabDropFenced(drop: { name: string }) {
    this.asked.push({ drop });
    return `${drop.name} is deleted`;
  }
  upgradePlan: UpgradePlan = {
    ...{ host: 'kang', from: '19.3.0', steps: ['19.4.1'], awayMs: 240_000 },
    lines: [{ state: 'ok', what: 'version', sentence: '19.3.0 to 19.4.1', fix: null }],
  };
  async gitlabUpgradePlan(request: unknown) {
    this.asked.push({ plan: request });
    return this.upgradePlan;
  }
  async gitlabUpgrade(request: unknown) {
    this.asked.push({ upgrade: request });
    return { state: 'done' as const, because: 'done' };
  }
  movePlan: MovePlan = {
    ...{ host: 'kang', to: 'desktop-1', url: 'http://192.168.1.11:8080', isOtherUrl: true, awayMs: 240_000 },
    lines: [{ state: 'ok', what: 'copy', sentence: 'kang: in sync', fix: null }],
  };
  async gitlabMovePlan(node: string) {
    this.asked.push({ movePlan: node });
    return this.movePlan;
  }
  async gitlabMoveCancel(node: string | null) {
    this.asked.push({ cancel: node });
    return { state: 'done' as const, because: 'GitLab serves on where it is, and does not move' };
  }
  async gitlabMove(node: string) {
    this.asked.push({ move: node });
    return { state: 'done' as const, because: 'done' };
  }
  rehearsed: RehearsalPlan = {
    ...{ whose: 'kang', to: 'desktop-1', graceMs: 45_000, besideMs: 5_000 },
    lines: [{ state: 'ok', what: 'next', sentence: 'desktop-1 is in sync', fix: null }],
  };
  async rehearsalPlan(what: string) {
    this.asked.push({ rehearsal: what });
    return this.rehearsed;
  }
  async rehearseLeaderLoss() {
    this.asked.push('leader-loss');
    return 'begun';
  }
  async rehearsal() {
    return null;
  }
  async gitlabRehearse(image: string) {
    this.asked.push({ rehearse: image });
    return 'begun';
  }
  async gitlabRestore(request: RestoreRequest) {
    this.asked.push({ restore: request });
    return 'it is restored';
  }
  async gitlabDrill(on: string | null) {
    this.asked.push({ drill: on });
    return { node: on ?? 'desktop-1', said: 'a drill begins' };
  }
  gitlabRecoveryKey() {
    return 'abcd-efgh';
  }
  async reconcile() {
    return 'looked';
  }
  rows: JobRow[] = [];
  async wish(wish: JobWish) {
    this.asked.push(wish);
    if (this.fails) throw this.fails;
    return { said: `job ${wish.job} it is`, next: wish.wish === 'retry' ? wish.job + 1 : null };
  }
  async *logs(wanted: { follow: boolean }, signal: AbortSignal): AsyncIterable<string> {
    yield 'first\n';
    for (let i = 0; wanted.follow && !signal.aborted; i++) {
      yield 'x'.repeat(1000);
      await new Promise((resolve) => setTimeout(resolve, i < 100 ? 0 : 20));
    }
    this.endedLogs += 1;
  }
  pausePlan() {
    return { jobs: this.waysOfJobs };
  }
  waysOfJobs: { job: number; way: Way }[] = [];
  async pause(what: string, forMs: number | null, now: true | Way | null) {
    this.asked.push({ pause: what, now });
    return `paused ${what} ${forMs}`;
  }
  async resume(what: string) {
    return `resumed ${what}`;
  }
  mayNotRecover: string | null = null;
  recovery() {
    return { refused: this.mayNotRecover, off: ['kang', 'desktop-1'] };
  }
  async recover(off: string[]) {
    this.asked.push({ recover: off });
    return { state: 'done' as const, because: 'alone now' };
  }
  async leave() {
    return 'left';
  }
  readonly commits = new EventEmitter();
  graceMs = 120_000;
  settings() {
    return { retryLost: false, defaultArch: 'amd64', graceMs: this.graceMs };
  }
  pulse(): readonly unknown[] {
    return [this.queue];
  }
  async nextCommit(_withinMs: number, signal: AbortSignal) {
    const phase = this.phase();
    if (phase.phase !== 'joined') throw notApproved(phase);
    await once(this.commits, 'commit', { signal }).catch(() => {});
  }
  nextNews(withinMs: number, signal: AbortSignal) {
    return this.nextCommit(withinMs, signal);
  }
}
