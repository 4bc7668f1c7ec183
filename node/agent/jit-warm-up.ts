import { decode, encode } from '../../protocol/codec.ts';
import { foundingLedger } from '../../protocol/founding-ledger.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { Envelope } from '../../protocol/messages.ts';
import type { Effect } from '../../scheduler/effects.ts';
import type { Happened } from '../../scheduler/inputs.ts';
import { type CoreState, restoredState } from '../../scheduler/state.ts';
import { step } from '../../scheduler/step.ts';

/** Before the first one: a start has better things to do. Between two: V8 throws away what was long not called. */
const firstMs = 5_000;
const everyMs = 300_000;
/** How long the event loop may be held at a time. */
const sliceMs = 2;
const nodes = ['warm-up-1', 'warm-up-2', 'warm-up-3'];
/** More steps than a failover takes, by far. */
const maxSteps = 600;

/**
 * Failover, run for V8's compiler. What runs once a month runs cold: V8 compiles a function when it is first called, which together
 * took longer than the election itself. So each agent plays one in memory now and then: three cores with a clock of
 * their own elect a leader, write, lose it, and elect another. Nothing of it leaves this object. Returns what ends it. `failed`:
 * it broke, and is given up; the agent goes on.
 */
export function warmUpFailover(failed: (error: Error) => void): () => void {
  let timer = setTimeout(begin, firstMs).unref();
  let isOver = false;
  function begin(): void {
    go(failover());
    timer = setTimeout(begin, everyMs).unref();
  }
  function go(play: Iterator<void>): void {
    const end = performance.now() + sliceMs;
    try {
      while (!isOver && performance.now() < end) if (play.next().done) return;
    } catch (error) {
      stop();
      return failed(error as Error);
    }
    if (!isOver) setImmediate(() => go(play)).unref();
  }
  function stop(): void {
    isOver = true;
    clearTimeout(timer);
  }
  return stop;
}

/** One step each time it is asked for the next; ends when the second leader has committed. */
export function* failover(): Generator<void, { leader: string | null; first: string | null }> {
  const stage = new Stage();
  const first = yield* until(stage, () => stage.leader());
  for (const node of nodes) stage.ask(node);
  yield* until(stage, () => stage.isQuiet());
  if (first !== null) stage.kill(first);
  const leader = yield* until(stage, () => stage.leader());
  for (const node of nodes) stage.ask(node);
  yield* until(stage, () => stage.isQuiet());
  return { leader, first };
}

function* until<T>(stage: Stage, found: () => T | null): Generator<void, T | null> {
  for (let count = 0; count < maxSteps; count++) {
    const value = found();
    if (value !== null) return value;
    stage.next();
    yield;
  }
  return null;
}

interface Due {
  at: number;
  node: string;
  happened: Happened;
}

/** Three cores, 1 ms from each to each and to its disk. */
class Stage {
  #at = 1_000_000;
  #due: Due[] = [];
  #asked = 0;
  #answered = 0;
  readonly #cores = new Map<string, { state: CoreState; wakeAt: number }>();

  constructor() {
    const ledger = ledgerOfThree();
    for (const node of nodes) {
      const identity = { node, name: node, store: node, boot: node, startedAtWallMs: 0, seed: 1, version: '0' };
      const durable = {
        promise: { term: 1, votedFor: null },
        accepted: ledger,
        committed: ledger,
        asking: [],
        store: null,
      };
      this.#cores.set(node, { state: restoredState(identity, durable, this.#at), wakeAt: this.#at });
      for (const other of nodes) if (other !== node) this.#soon(node, { kind: 'connected', node: other });
    }
  }

  /** Who leads, as soon as it has committed in its term. */
  leader(): string | null {
    for (const [node, { state }] of this.#cores)
      if (state.raft.leading && state.raft.committed?.stamp.term === state.raft.term) return node;
    return null;
  }

  isQuiet(): true | null {
    return this.#answered === this.#asked ? true : null;
  }

  ask(node: string): void {
    if (!this.#cores.has(node)) return;
    this.#asked += 1;
    const change = { kind: 'set', key: 'graceMs', value: this.#asked } as const;
    this.#soon(node, { kind: 'requested', requests: [{ id: `warm-up-${this.#asked}`, change }] });
  }

  kill(node: string): void {
    this.#cores.delete(node);
    for (const other of this.#cores.keys()) this.#soon(other, { kind: 'disconnected', node });
  }

  next(): void {
    const [due] = this.#due;
    const [node, core] = [...this.#cores].reduce((a, b) => (b[1].wakeAt < a[1].wakeAt ? b : a));
    if (due && due.at <= core.wakeAt) {
      this.#due.shift();
      this.#step(due);
    } else this.#step({ at: core.wakeAt, node, happened: { kind: 'ticked' } });
  }

  #soon(node: string, happened: Happened): void {
    this.#due.push({ at: this.#at + 1, node, happened });
  }

  #step({ at, node, happened }: Due): void {
    const core = this.#cores.get(node);
    if (!core) return;
    this.#at = Math.max(this.#at, at);
    const { state, effects, wakeAt } = step(core.state, { at: this.#at, wallMs: this.#at, ...happened });
    this.#cores.set(node, { state, wakeAt });
    for (const effect of effects) this.#do(node, effect);
  }

  #do(node: string, effect: Effect): void {
    if (effect.kind === 'persist') {
      for (const then of effect.then) this.#do(node, then);
      this.#soon(node, { kind: 'persisted', part: effect.part, seq: effect.seq });
    } else if (effect.kind === 'send') {
      const bytes = encode({ v: 1, era: null, message: effect.message }, limits.frameBytes);
      const { message } = decode(Envelope, bytes, limits.frameBytes);
      this.#soon(effect.to, { kind: 'heard', from: node, message });
    } else if (effect.kind === 'probe') {
      const result = this.#cores.has(effect.node) ? 'accepted' : 'refused';
      this.#soon(node, { kind: 'probed', node: effect.node, result, tookMs: 1 });
    } else if (effect.kind === 'answer') this.#answered += 1;
  }
}

function ledgerOfThree(): Ledger {
  const [node] = nodes as [string];
  const founding = foundingLedger({
    meshId: 'warm-up',
    meshName: 'warm-up',
    era: 'warm-up',
    node,
    name: node,
    store: node,
    addresses: [],
    witness: false,
    wallMs: 0,
    pairUntil: 0,
    defaultArch: 'amd64',
  });
  const entry = founding.nodes[node] as Ledger['nodes'][string];
  const voters = Object.fromEntries(nodes.map((one) => [one, { store: one, weight: 2 }]));
  return {
    ...founding,
    stamp: { term: 1, version: 1 },
    nodes: Object.fromEntries(nodes.map((one) => [one, { ...entry, name: one, store: one }])),
    configuration: { voters, next: null },
  };
}
