import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AuditAnswer } from '../../protocol/audit.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import type { Timeline, TimelineEvent, Usage } from '../../protocol/history.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import type { TimelineMark } from '../../scheduler/history/timeline-mark.ts';
import { timelineNews } from '../../scheduler/history/timeline-news.ts';
import { usageSamples } from '../../scheduler/history/usage-samples.ts';
import { nodeName, type ViewInput } from '../../scheduler/snapshot-view.ts';
import type { HistoryApi } from '../local-api/agent-api.ts';
import type { Log } from '../log.ts';
import { makeFolder, places } from '../store/home.ts';
import { Waiters } from '../waiters.ts';
import { AuditFile } from './audit-file.ts';
import { TimelineFile } from './timeline-file.ts';
import { UsageSteps } from './usage-steps.ts';

const lookEveryMs = 2_000;
/** Looks between two samples of use. */
const sampleEvery = 5;
/** After something happened: what belongs together is looked at together. */
const soonMs = 100;
/** An agent that was just started sees the others one after the other: so long it says of nobody that he is away. */
const settlesMs = 10_000;
/** So many events stay in memory; who wants older ones has them from the file. */
const recentMost = 100;

interface HistoryOptions {
  self: NodeId;
  home: string;
  clock: { wallMs(): number; bootMs(): number };
  log: Pick<Log, 'warn'>;
  /** Null before this machine is in a mesh. */
  view(): ViewInput | null;
  /** Of the same moment; asked only where there is a view. */
  status(): StatusSnapshot;
}

/**
 * What this machine remembers of its mesh: what happened (by looks at ledger and status, `timelineNews`), and what machines used, over
 * a restart. Nothing depends on it: a disk that takes no more costs memory of the past, and is said once.
 */
export class History implements HistoryApi {
  readonly #options: HistoryOptions;
  readonly #folder: string;
  readonly #file: TimelineFile;
  readonly #audit: AuditFile;
  readonly #usage = new UsageSteps();
  readonly #news = new Waiters();
  #recent: TimelineEvent[] = [];
  #mark: TimelineMark | null = null;
  #lastId = 0;
  #startedAt = 0;
  #looks = 0;
  #leaderLost: string | null = null;
  #timer: NodeJS.Timeout | null = null;
  #soon: NodeJS.Timeout | null = null;
  #failed = false;
  #audited: Ledger['audit'];

  constructor(options: HistoryOptions) {
    this.#options = options;
    this.#folder = places(options.home).history;
    this.#file = new TimelineFile(join(this.#folder, 'timeline.jsonl'));
    this.#audit = new AuditFile(join(this.#folder, 'audit.jsonl'));
  }

  start(): void {
    this.#startedAt = this.#options.clock.bootMs();
    this.#safely(() => {
      makeFolder(this.#folder, 0o700);
      const { events, mark } = this.#file.load(recentMost);
      this.#recent = events;
      this.#mark = mark;
      this.#lastId = Number(events.at(-1)?.id ?? 0);
    });
    this.#safely(() => this.#usage.takeUp(jsonIn(this.#usageFile)));
    this.#timer = setInterval(() => this.#look(), lookEveryMs);
    this.#timer.unref();
    const ledger = this.#options.view()?.ledger;
    if (ledger) this.onLedger(ledger);
  }

  stop(): void {
    if (this.#timer === null) return;
    clearInterval(this.#timer);
    if (this.#soon) clearTimeout(this.#soon);
    this.#timer = null;
    this.#safely(() => this.#keepUsage());
  }

  /** A ledger is committed: voters write down who did what, and something may have happened. */
  onLedger(ledger?: Ledger): void {
    if (this.#timer === null) return;
    const { audit } = ledger ?? {};
    if (audit !== undefined && audit !== this.#audited && this.#isVoter(ledger))
      this.#safely(() => this.#audit.append(audit));
    this.#audited = audit;
    if (this.#soon !== null) return;
    this.#soon = setTimeout(() => this.#look(), soonMs);
    this.#soon.unref();
  }

  /** An event of agent.log: who leads is told at once, with why the one before does not. */
  heard({ event, because }: { event: string; because: string }): void {
    if (event === 'leader-lost') this.#leaderLost = because;
    if (event === 'leader-elected') this.onLedger();
  }

  async timeline(since: string | null, waitMs = 0, signal?: AbortSignal): Promise<Timeline> {
    const isNew = (): boolean => since === null || Number(since) < this.#lastId;
    const end = performance.now() + waitMs;
    while (!isNew() && performance.now() < end && !signal?.aborted)
      await this.#news.wait(end - performance.now(), signal);
    if (!isNew()) return { events: [] };
    const [first] = this.#recent;
    const hasAll = since !== null && first !== undefined && Number(first.id) <= Number(since);
    const all = hasAll ? this.#recent : await this.#kept();
    const after = all.filter(({ id }) => since === null || Number(id) > Number(since));
    return { events: after.slice(-limits.timelineAnswered) };
  }

  async audit(): Promise<AuditAnswer> {
    const ledger = this.#options.view()?.ledger ?? null;
    const isVoter = this.#isVoter(ledger);
    const kept = await this.#audit.entries();
    return { entries: kept.length > 0 || isVoter ? kept : (ledger?.audit ?? []), isVoter };
  }

  #isVoter(ledger: Ledger | null | undefined): boolean {
    const { voters, next } = ledger?.configuration ?? { voters: {}, next: null };
    return this.#options.self in voters || this.#options.self in (next ?? {});
  }

  usage(): Usage {
    const view = this.#options.view();
    return this.#usage.shown(
      {
        node: (node) => (view?.ledger?.nodes[node] ? nodeName(view.ledger, node) : null),
        gpu: (node, uuid) =>
          view?.jobs.reports[node]?.report.measured.capacity.gpus.find((gpu) => gpu.uuid === uuid)?.model ?? null,
      },
      this.#options.clock.wallMs(),
    );
  }

  /** The file's, and what it did not take. */
  async #kept(): Promise<TimelineEvent[]> {
    const written = await this.#file.events().catch(() => []);
    const last = Number(written.at(-1)?.id ?? 0);
    return [...written, ...this.#recent.filter(({ id }) => Number(id) > last)];
  }

  #look(): void {
    if (this.#soon) clearTimeout(this.#soon);
    this.#soon = null;
    const view = this.#options.view();
    const ledger = view?.ledger;
    if (!view || !ledger) return;
    const status = this.#options.status();
    const { clock } = this.#options;
    if (this.#looks++ % sampleEvery === 0) this.#sample(view);
    const before = this.#mark;
    // Where that is of no form that this version knows, it begins anew.
    this.#mark = null;
    this.#safely(() => {
      const { mark, events } = timelineNews(before, {
        ...{ ledger, status, wallMs: clock.wallMs(), leaderLost: this.#leaderLost },
        settled: clock.bootMs() - this.#startedAt >= settlesMs,
      });
      this.#mark = mark;
      if (status.leader !== null) this.#leaderLost = null;
      if (events.length > 0 || before === null) this.#tell(events, mark);
    });
  }

  #tell(told: Omit<TimelineEvent, 'id'>[], mark: TimelineMark): void {
    // By the clock, so that the numbers grow also where the file was lost.
    const events = told.map((one) => {
      this.#lastId = Math.max(this.#lastId + 1, Math.floor(this.#options.clock.wallMs()));
      return { id: String(this.#lastId).padStart(16, '0'), ...one };
    });
    this.#recent = [...this.#recent, ...events].slice(-recentMost);
    this.#news.wake();
    this.#file.append(events, mark);
  }

  #sample(view: ViewInput): void {
    const before = this.#usage.step;
    this.#usage.add(usageSamples(view), view.wallMs);
    if (before !== -1 && before !== this.#usage.step) this.#safely(() => this.#keepUsage());
  }

  get #usageFile(): string {
    return join(this.#folder, 'usage.json');
  }

  #keepUsage(): void {
    writeFileSync(`${this.#usageFile}.new`, JSON.stringify(this.#usage.kept()), { mode: 0o600 });
    renameSync(`${this.#usageFile}.new`, this.#usageFile);
  }

  #safely(act: () => void): void {
    try {
      act();
    } catch (error) {
      if (!this.#failed) this.#options.log.warn(`what happened in the mesh is not kept: ${sentenceOf(error)}`);
      this.#failed = true;
    }
  }
}

/** Null for what is not there, or no JSON. */
function jsonIn(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return null;
  }
}
