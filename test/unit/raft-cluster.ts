import type { Change } from '../../protocol/changes.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import type { Measured } from '../../protocol/report.ts';
import type { Durable, Effect, EffectOf } from '../../scheduler/effects.ts';
import type { Happened, ProbeResult } from '../../scheduler/inputs.ts';
import { type CoreState, type NodeIdentity, restoredState } from '../../scheduler/state.ts';
import { step } from '../../scheduler/step.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';

/**
 * A few cores on one virtual clock, for scripted transcripts: 1 ms per message, fsync at once or when the script says,
 * nothing lost unless it is cut. Random schedules are the simulation's business (test/sim).
 */
interface Box {
  identity: NodeIdentity;
  state: CoreState | null;
  durable: Durable;
  wakeAt: number;
  inputs: { at: number; happened: Happened }[];
  notes: EffectOf<'note'>[];
  answers: EffectOf<'answer'>[];
  effects: Effect[];
  departed: string | null;
}

const wall0 = 1_800_000_000_000;
export const emptyDurable = (): Durable => ({
  promise: { term: 0, votedFor: null },
  accepted: null,
  committed: null,
  asking: [],
  store: null,
});

export class Cluster {
  at = 1000;
  readonly boxes = new Map<string, Box>();
  readonly cut = new Set<string>();
  readonly sent: { at: number; from: string; to: string; message: PeerMessage }[] = [];
  /** What a probe of this machine says; by default by whether its core runs. */
  readonly machines = new Map<string, ProbeResult>();
  /** Set by the test of purity: freezes a state before it is stepped. */
  freeze: (state: CoreState) => void = () => {};
  private ids = 0;

  add(node: string, durable: Durable, store = `store-${node}`): Box {
    const identity = {
      node,
      name: node,
      store,
      boot: `boot-${node}`,
      startedAtWallMs: wall0 + this.at,
      seed: 7,
      version: '0.1.0',
    };
    const box: Box = {
      identity,
      state: null,
      durable,
      wakeAt: Number.POSITIVE_INFINITY,
      inputs: [],
      notes: [],
      answers: [],
      effects: [],
      departed: null,
    };
    this.boxes.set(node, box);
    this.start(node);
    return box;
  }

  start(node: string): void {
    const box = this.box(node);
    box.identity = { ...box.identity, startedAtWallMs: wall0 + this.at };
    box.state = restoredState(box.identity, box.durable, this.at);
    box.inputs = [];
    this.feed(node, { kind: 'ticked' });
    for (const other of this.boxes.keys()) if (other !== node && this.open(node, other)) this.connect(node, other);
  }

  connect(a: string, b: string): void {
    this.post(a, 1, { kind: 'connected', node: b });
    this.post(b, 1, { kind: 'connected', node: a });
  }

  /** kill -9: streams close at once, the machine refuses. */
  kill(node: string): void {
    this.box(node).state = null;
    for (const other of this.boxes.keys()) if (other !== node) this.post(other, 1, { kind: 'disconnected', node });
  }

  /** The machine is gone without a word. */
  vanish(node: string): void {
    this.box(node).state = null;
    this.machines.set(node, 'silent');
  }

  box(node: string): Box {
    const box = this.boxes.get(node);
    if (!box) throw new Error(`no box ${node}`);
    return box;
  }

  open = (a: string, b: string): boolean =>
    this.box(a).state !== null && this.box(b).state !== null && !this.cut.has(`${a}>${b}`);

  post(node: string, inMs: number, happened: Happened): void {
    this.box(node).inputs.push({ at: this.at + inMs, happened });
  }

  feed(node: string, happened: Happened): Effect[] {
    const box = this.box(node);
    if (!box.state) return [];
    this.freeze(box.state);
    const result = step(box.state, { at: this.at, wallMs: wall0 + this.at, ...happened });
    box.state = result.state;
    box.wakeAt = result.wakeAt;
    for (const effect of result.effects) this.obey(node, box, effect);
    return result.effects;
  }

  private obey(node: string, box: Box, effect: Effect): void {
    box.effects.push(effect);
    if (effect.kind === 'persist') {
      for (const write of effect.writes) Object.assign(box.durable, { [write.key]: write.value });
      for (const next of effect.then) this.obey(node, box, next);
      this.post(node, 0, { kind: 'persisted', part: effect.part, seq: effect.seq });
    } else if (effect.kind === 'send') {
      this.sent.push({ at: this.at, from: node, to: effect.to, message: effect.message });
      if (this.boxes.has(effect.to) && this.open(node, effect.to))
        this.post(effect.to, 1, {
          kind: 'heard',
          from: node,
          message: JSON.parse(JSON.stringify(effect.message)),
          ...(effect.era ? { era: effect.era } : {}),
        });
    } else if (effect.kind === 'probe') {
      const result = this.machines.get(effect.node) ?? (this.boxes.get(effect.node)?.state ? 'accepted' : 'refused');
      this.post(node, result === 'silent' ? 150 : 2, { kind: 'probed', node: effect.node, result, tookMs: 2 });
    } else if (effect.kind === 'note') box.notes.push(effect);
    else if (effect.kind === 'answer') box.answers.push(effect);
    else if (effect.kind === 'mint-store') {
      this.ids += 1;
      this.post(node, 0, { kind: 'store-minted', store: `minted-${this.ids}` });
    } else if (effect.kind === 'departed') box.departed = effect.because;
  }

  /** Lets `ms` pass. */
  run(ms: number): void {
    const end = this.at + ms;
    for (;;) {
      let next = Number.POSITIVE_INFINITY;
      for (const box of this.boxes.values())
        if (box.state) next = Math.min(next, box.wakeAt, ...box.inputs.map(({ at }) => at));
      if (next > end) break;
      this.at = Math.max(this.at, next);
      for (const [node, box] of this.boxes) {
        if (!box.state) continue;
        const due = box.inputs.filter(({ at }) => at <= this.at);
        box.inputs = box.inputs.filter(({ at }) => at > this.at);
        for (const { happened } of due) this.feed(node, happened);
        if (box.state && box.wakeAt <= this.at) this.feed(node, { kind: 'ticked' });
      }
    }
    this.at = end;
  }

  /** Keeps what would be said to a stopped process; it reads all of it when it goes on. */
  backlog(node: string): () => { at: number; happened: Happened }[] {
    const from = this.sent.length;
    return () =>
      this.sent
        .slice(from)
        .filter(({ to }) => to === node)
        .map(({ from: other, message }) => ({ at: this.at, happened: { kind: 'heard', from: other, message } }));
  }

  until(holds: () => boolean, limitMs: number, what: string): number {
    const from = this.at;
    while (!holds()) {
      if (this.at - from > limitMs) throw new Error(`not within ${limitMs} ms: ${what}`);
      this.run(1);
    }
    return this.at - from;
  }

  leaders = (): string[] => [...this.boxes].filter(([, box]) => box.state?.raft.leading).map(([node]) => node);
  committed = (node: string): Ledger => {
    const ledger = this.box(node).durable.committed;
    if (!ledger) throw new Error(`${node} has committed nothing`);
    return ledger;
  };
  voters = (node: string): Record<string, number> => {
    const { voters, next } = this.committed(node).configuration;
    return next ? {} : Object.fromEntries(Object.entries(voters).map(([id, { weight }]) => [id, weight]));
  };

  request(node: string, change: Change): string {
    this.ids += 1;
    const id = `ask-${this.ids}`;
    this.feed(node, { kind: 'requested', requests: [{ id, change }] });
    return id;
  }
  answerTo = (node: string, id: string) => this.box(node).answers.find((answer) => answer.id === id)?.outcome ?? null;

  /** Approval as the shell does it: the change, and then the ledger to the newcomer, which stores it as both documents. */
  admit(via: string, node: string, drained = false): void {
    const approval = {
      name: node,
      address: '',
      words: `words-${node}`,
      since: wall0,
      via,
      store: `store-${node}`,
      addresses: [],
      witness: false,
      ignored: false,
    };
    this.request(via, { kind: 'open-approval', node, approval });
    const id = this.request(via, { kind: 'approve', node, words: approval.words, because: `approved on ${via}` });
    this.until(() => this.answerTo(via, id)?.state === 'done', 3000, `approval of ${node}`);
    if (drained) this.request(via, { kind: 'drain', node, drained: true });
    const ledger = structuredClone(this.committed(via));
    this.add(node, { ...emptyDurable(), accepted: ledger, committed: ledger });
  }
}

export function found(node: string): Cluster {
  const cluster = new Cluster();
  const ledger = foundedMesh({ meshId: 'mesh', era: 'era', node, name: node, store: `store-${node}`, wallMs: wall0 });
  cluster.add(node, { ...emptyDurable(), accepted: ledger, committed: ledger });
  return cluster;
}

/** A mesh of these nodes, the first the founder, settled: all of them vote. */
export function mesh(...nodes: string[]): Cluster {
  const cluster = found(nodes[0]!);
  cluster.until(() => cluster.leaders().length === 1, 3000, 'a founder leads');
  for (const node of nodes.slice(1)) cluster.admit(nodes[0]!, node);
  cluster.until(
    () => nodes.every((node) => Object.keys(cluster.voters(node)).length === Math.min(7, nodes.length)),
    5000,
    'all vote',
  );
  return cluster;
}

/** What a small machine without a GPU measures. */
export const measured = (healthy: boolean): Measured => ({
  arch: 'amd64',
  os: 'Debian 12',
  capacity: { cpuMillis: 4000, memoryBytes: 8e9, diskBytes: 1e11, gpus: [] },
  usedCpuMillis: 100,
  usedMemoryBytes: 1e9,
  usedDiskBytes: 1e10,
  gpus: [],
  labels: [],
  executors: ['process'],
  maxRuns: null,
  reserveMemoryBytes: 0,
  owner: 'away',
  paused: 'no',
  pausedBecause: null,
  healthy,
  unhealthyBecause: healthy ? null : 'the disk is full',
});
