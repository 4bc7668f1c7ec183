import type { RunFault } from '../../protocol/job-fault.ts';
import type { Ledger, Run } from '../../protocol/ledger.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import type { QueuedJob } from '../../protocol/queued-job.ts';
import type { Measured } from '../../protocol/report.ts';
import type { Effect, EffectOf } from '../../scheduler/effects.ts';
import type { Happened } from '../../scheduler/inputs.ts';
import { emptyJobs, type JobsState, stepJobs } from '../../scheduler/jobs/step-jobs.ts';
import { isRefusal } from '../../scheduler/ledger-edit.ts';
import type { PartContext } from '../../scheduler/part.ts';
import { labLedger, labRun, measured } from './jobs-lab-machines.ts';

/**
 * The jobs' half of the core on several machines, with a virtual clock: messages, disk and commit take a few ms in an
 * order drawn from a seed, and a small GitLab hands out jobs by tags. The election is given from outside.
 */
export interface LabNode {
  name: string;
  jobs: JobsState;
  boot: string;
  measured: Measured;
  up: boolean;
  /** How the leader sees it. */
  liveness: { state: 'alive' | 'dead' | 'silent'; since: number };
}

interface Event {
  at: number;
  order: number;
  run: () => void;
}

export interface LabOptions {
  machines?: Record<string, Measured>;
  seed?: number;
  /** ms that a script takes. */
  scriptMs?: number | ((run: Run) => number);
  ledger?: (ledger: Ledger) => Ledger;
  /** What GitLab answers to a grant; by default the oldest job whose tags the class has. */
  take?: (effect: EffectOf<'take-job'>, node: string) => Happened | null;
  /** Whose fault a run's end is where it is not well; null: it goes well. */
  failing?: (node: string, run: Run) => RunFault | null;
  /** Effects of the leader's GitLab work that shall get no answer. */
  mute?: readonly Effect['kind'][];
}

export const wallStart = 1_763_700_000_000;

export class Lab {
  at = 1_000_000;
  term = 1;
  leader: string | null;
  accepted: Ledger;
  committed: Ledger;
  readonly nodes = new Map<string, LabNode>();
  /** GitLab's pending jobs. */
  pending: QueuedJob[] = [];
  readonly log: { node: string; effect: Effect }[] = [];
  /** Runs that a node has been given, by job. */
  readonly taken: { job: number; node: string }[] = [];
  mayAct = true;
  contactLost = false;
  /** Reports that nobody gets. */
  isLost: (from: string) => boolean = () => false;
  /** ms from an edit to its commit; null = 2 to 7. */
  commitMs: number | null = null;
  /** Called after each step. */
  check: (lab: Lab) => void = () => {};
  readonly #options: LabOptions;
  #events: Event[] = [];
  #order = 0;
  #random: number;
  #nextRunner = 1;
  #commitDue = false;

  constructor(options: LabOptions = {}) {
    this.#options = options;
    this.#random = options.seed ?? 1;
    const machines = options.machines ?? { kang: measured() };
    const names = Object.keys(machines);
    this.leader = names[0] ?? null;
    const ledger = labLedger(names, this.wallMs);
    this.committed = options.ledger ? options.ledger(ledger) : ledger;
    this.accepted = this.committed;
    for (const [name, words] of Object.entries(machines)) this.boot(name, words, `boot-${name}`);
  }

  get wallMs(): number {
    return wallStart + this.at;
  }

  /** Starts an agent (again), with what its disk holds of grants under way. */
  boot(name: string, words: Measured, boot: string): LabNode {
    const asking = this.nodes.get(name)?.jobs.asking ?? [];
    const node: LabNode = {
      name,
      jobs: emptyJobs(asking),
      boot,
      measured: words,
      up: true,
      liveness: { state: 'alive', since: 0 },
    };
    this.nodes.set(name, node);
    this.feed(name, { kind: 'measured', measured: words, addresses: ['/ip4/10.0.0.1/tcp/7117'], version: '0.1.0' });
    return node;
  }

  node(name: string): LabNode {
    const node = this.nodes.get(name);
    if (!node) throw new Error(`no node ${name}`);
    return node;
  }

  /** 0 <= n < 1, from the seed. */
  random(): number {
    this.#random = (Math.imul(this.#random ^ (this.#random >>> 15), 0x2c1b3c6d) + 0x297a2d39) | 0;
    return ((this.#random ^ (this.#random >>> 12)) >>> 0) / 2 ** 32;
  }

  later(ms: number, run: () => void): void {
    this.#order += 1;
    this.#events.push({ at: this.at + ms, order: this.#order, run });
  }

  context(name: string): PartContext {
    const node = this.node(name);
    const isLeader = this.leader === name;
    return {
      at: this.at,
      wallMs: this.wallMs,
      self: name,
      boot: node.boot,
      isLeader,
      mayAct: isLeader && this.mayAct,
      isLeaving: false,
      term: this.term,
      isNewEra: false,
      leader: this.leader,
      ledger: isLeader ? this.accepted : this.committed,
      committed: this.committed,
      leaderContactAt: () => (this.contactLost ? Number.NEGATIVE_INFINITY : this.at),
      liveness: (other) => this.nodes.get(other)?.liveness ?? { state: 'silent', since: 0 },
    };
  }

  feed(name: string, happened: Happened): void {
    const node = this.node(name);
    if (!node.up) return;
    const input = { at: this.at, wallMs: this.wallMs, ...happened };
    const frozen = this.log.length % 16 === 0 ? JSON.stringify(node.jobs.own) : null;
    const before = node.jobs;
    const step = stepJobs(before, input, this.context(name));
    if (frozen !== null && JSON.stringify(before.own) !== frozen) throw new Error('a state was changed in place');
    node.jobs = step.state;
    for (const edit of step.edits) {
      if (this.leader !== name) throw new Error(`${name} edits the ledger and does not lead`);
      const after = edit.apply(this.accepted);
      if (!isRefusal(after)) this.accepted = after;
    }
    if (step.edits.length > 0) this.#commitSoon();
    for (const effect of step.effects) this.#perform(name, effect);
    this.check(this);
  }

  #commitSoon(): void {
    if (this.#commitDue) return;
    this.#commitDue = true;
    this.later(this.commitMs ?? 2 + this.random() * 5, () => {
      this.#commitDue = false;
      this.committed = this.accepted;
      for (const name of this.nodes.keys()) this.feed(name, { kind: 'ticked' });
    });
  }

  send(from: string, to: string, message: PeerMessage): void {
    this.later(1 + this.random() * 4, () => {
      if (this.node(from).up) this.feed(to, { kind: 'heard', from, message });
    });
  }

  #perform(name: string, effect: Effect): void {
    this.log.push({ node: name, effect });
    if (this.#options.mute?.includes(effect.kind)) return;
    switch (effect.kind) {
      case 'send':
        return this.send(name, effect.to, effect.message);
      case 'gossip':
        if (this.isLost(name)) return;
        for (const other of this.nodes.keys())
          if (other !== name)
            this.later(1 + this.random() * 9, () =>
              this.feed(other, { kind: 'report-heard', from: name, report: effect.report }),
            );
        return;
      case 'persist':
        return this.later(1 + this.random(), () => {
          if (this.node(name).up) for (const then of effect.then) this.#perform(name, then);
        });
      case 'read-queue':
        return this.later(5, () => this.feed(name, { kind: 'queue-read', jobs: [...this.pending], complete: true }));
      case 'create-runner':
        return this.later(5, () => {
          const runner = this.#nextRunner++;
          this.feed(name, {
            kind: 'runner-created',
            class: effect.class,
            nonce: effect.nonce,
            runner,
            token: `t${runner}`,
          });
        });
      case 'delete-runner':
        return this.later(5, () => this.feed(name, { kind: 'runner-deleted', class: effect.class }));
      case 'fail-run':
        return this.later(5, () =>
          this.feed(name, { kind: 'run-failed-at-gitlab', run: effect.run.run, ok: true, because: effect.because }),
        );
      case 'retry-job':
        return this.later(5, () => this.feed(name, this.#retry(effect)));
      case 'take-job':
        return this.later(5 + this.random() * 20, () => this.#take(name, effect));
    }
  }

  /** GitLab makes another job of it, with the next number. */
  #retry({ run, job }: EffectOf<'retry-job'>): Happened {
    const ended = this.committed.runs[run];
    const next = Math.max(job, ...this.taken.map((one) => one.job), ...this.pending.map((one) => one.job)) + 1;
    if (ended) this.push(next, ended.tags, ended.name);
    return { kind: 'job-retried', run, done: true, made: true, because: `it is tried again as job ${next}` };
  }

  #take(name: string, effect: EffectOf<'take-job'>): void {
    const answer = this.#options.take?.(effect, name) ?? null;
    if (answer) return this.feed(name, answer);
    const job = this.pending.find((one) => one.tags.every((tag) => effect.tags.includes(tag)));
    if (!job || !this.node(name).up)
      return this.feed(name, {
        kind: 'take-ended',
        grant: effect.grant,
        outcome: { kind: 'empty', because: 'GitLab had no job' },
      });
    this.pending = this.pending.filter((one) => one !== job);
    this.taken.push({ job: job.job, node: name });
    const run = labRun({
      run: `run-${job.job}`,
      job: job.job,
      node: name,
      name: job.name,
      projectId: job.projectId,
      class: effect.class,
      tags: [...effect.tags],
      grant: effect.grant,
      state: 'taken',
      takenAt: this.wallMs,
      gpus: effect.gpus,
    });
    // As the shell does it: the record first, then the grant's end.
    if (this.random() < 0.5) this.feed(name, { kind: 'run-changed', run });
    this.feed(name, { kind: 'take-ended', grant: effect.grant, outcome: { kind: 'taken', run } });
    this.#script(name, run);
  }

  #script(name: string, run: Run): void {
    const { boot } = this.node(name);
    const change = (over: Partial<Run>): void => {
      const own = this.node(name).jobs.own.runs[run.run];
      if (this.node(name).up && this.node(name).boot === boot && own && own.state !== 'lost')
        this.feed(name, { kind: 'run-changed', run: { ...own, ...over } });
    };
    this.later(3, () => change({ state: 'running', startedAt: this.wallMs }));
    const { scriptMs = 500 } = this.#options;
    this.later(3 + (typeof scriptMs === 'number' ? scriptMs : scriptMs(run)) * (0.5 + this.random()), () => {
      const fault = this.#options.failing?.(name, run) ?? null;
      const result =
        fault === null
          ? { state: 'success' as const, exitCode: 0, reason: null, because: 'the script ended with 0' }
          : { state: 'failed' as const, exitCode: null, reason: 'runner_system_failure', because: 'no pull' };
      change({ state: 'finished', finishedAt: this.wallMs, result, ...(fault && { fault }) });
      this.later(5, () => change({ state: 'delivered' }));
    });
  }

  push(job: number, tags: string[] = [], name = `job-${job}`, projectId = 7): void {
    this.pending.push({
      job,
      projectId,
      project: 'lab/vision',
      name,
      ref: 'main',
      tags,
      queuedAt: this.wallMs,
    });
  }

  /** Lets time pass: events in order, and a tick whenever a node asked for one. */
  run(ms: number): void {
    const end = this.at + ms;
    for (let guard = 0; ; guard += 1) {
      if (guard > 200_000) throw new Error('the lab spins');
      this.#events.sort((a, b) => a.at - b.at || a.order - b.order);
      const next = this.#events[0];
      const wakes = [...this.nodes.values()].filter((node) => node.up).map((node) => node.jobs.wakeAt);
      const at = Math.min(next?.at ?? Number.POSITIVE_INFINITY, ...wakes);
      if (at > end) break;
      this.at = Math.max(this.at, at);
      if (next && next.at <= this.at) {
        this.#events.shift();
        next.run();
      } else
        for (const node of this.nodes.values())
          if (node.up && node.jobs.wakeAt <= this.at) this.feed(node.name, { kind: 'ticked' });
    }
    this.at = end;
  }

  /** A new term, led by another (or the same) node; every node learns of it at once. */
  elect(name: string): void {
    this.term += 1;
    this.leader = name;
    this.accepted = this.committed;
    for (const other of this.nodes.keys()) this.feed(other, { kind: 'ticked' });
  }

  /** The power is cut: nothing more comes from it. */
  vanish(name: string): void {
    const node = this.node(name);
    node.up = false;
    node.liveness = { state: 'silent', since: this.at };
  }

  effects<K extends Effect['kind']>(kind: K): EffectOf<K>[] {
    return this.log.map((entry) => entry.effect).filter((effect): effect is EffectOf<K> => effect.kind === kind);
  }

  notes(event: string): string[] {
    return this.effects('note')
      .filter((note) => note.event === event)
      .map((note) => note.because);
  }
}
