import type { Ledger } from '../../protocol/ledger.ts';
import type { MessageOf, PeerMessage } from '../../protocol/messages.ts';
import type { Durable, Effect } from '../../scheduler/effects.ts';
import type { Happened } from '../../scheduler/inputs.ts';
import { type CoreState, restoredState } from '../../scheduler/state.ts';
import { step } from '../../scheduler/step.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';

export const wall = 1_800_000_000_000;

/** A ledger of term 3, version 7, with these voters and their weights. */
export function ledgerOf(voters: Record<string, number>, term = 3, version = 7): Ledger {
  const base = foundedMesh({ era: 'era-0', node: 'A', name: 'a', store: 'sA', wallMs: wall });
  const node = base.nodes.A!;
  const nodes = Object.fromEntries(
    Object.keys(voters).map((id) => [id, { ...node, name: id.toLowerCase(), store: `s${id}` }]),
  );
  const configuration = {
    voters: Object.fromEntries(Object.entries(voters).map(([id, weight]) => [id, { store: `s${id}`, weight }])),
    next: null,
  };
  return { ...base, nodes, configuration, stamp: { term, version } };
}
export const three = (): Ledger => ledgerOf({ A: 2, B: 2, C: 2 });

/** One core, spoken to by hand. Node B, unless said otherwise. `disk()` lets what was asked to be written be on disk. */
export class One {
  at = 1000;
  state: CoreState;
  said: { to: string; message: PeerMessage }[] = [];
  effects: Effect[] = [];
  private writing: (Effect & { kind: 'persist' })[] = [];

  constructor(ledger: Ledger = three(), node = 'B', durable: Partial<Durable> = {}) {
    const identity = {
      node,
      name: node.toLowerCase(),
      store: `s${node}`,
      boot: `b${node}`,
      startedAtWallMs: wall,
      seed: 1,
      version: '0',
    };
    const full = {
      promise: { term: ledger.stamp.term, votedFor: null },
      accepted: ledger,
      committed: ledger,
      asking: [],
      store: null,
    };
    this.state = restoredState(identity, { ...full, ...durable }, this.at);
  }
  feed(happened: Happened, afterMs = 0): this {
    this.at += afterMs;
    const result = step(this.state, { at: this.at, wallMs: wall + this.at, ...happened });
    this.state = result.state;
    for (const effect of result.effects) this.obey(effect);
    return this;
  }
  hear = (from: string, message: PeerMessage, afterMs = 0): this =>
    this.feed({ kind: 'heard', from, message }, afterMs);
  private obey(effect: Effect): void {
    this.effects.push(effect);
    if (effect.kind === 'send') this.said.push({ to: effect.to, message: effect.message });
    if (effect.kind === 'persist') this.writing.push(effect);
  }
  disk(): this {
    for (const effect of this.writing.splice(0)) {
      for (const next of effect.then) this.obey(next);
      this.feed({ kind: 'persisted', part: effect.part, seq: effect.seq });
    }
    return this;
  }
  last<K extends PeerMessage['kind']>(kind: K): MessageOf<K> | undefined {
    const all = this.said.map(({ message }) => message).filter((message) => message.kind === kind);
    return all.at(-1) as MessageOf<K> | undefined;
  }
  asked = (kind: Effect['kind']): number => this.effects.filter((effect) => effect.kind === kind).length;
  events = (): string[] => this.effects.flatMap((effect) => (effect.kind === 'note' ? [effect.event] : []));

  /** Makes it leader of term 4 with B's vote of its own and A's. */
  elect(): this {
    this.feed({ kind: 'ticked' }, 2000).disk();
    const term = this.last('pre-vote')!.term;
    this.hear('A', { kind: 'pre-vote-answer', term, granted: true, store: 'sA', because: '' }).disk();
    this.hear('A', { kind: 'vote-answer', term, granted: true, store: 'sA', because: '' }).disk();
    return this;
  }
  append(version: number, ledger: Ledger | null, more: Partial<MessageOf<'append'>> = {}): this {
    const stamp = { term: 4, version };
    const message = { kind: 'append', term: 4, round: 1, stamp, committed: { term: 0, version: 0 }, ledger } as const;
    return this.hear('A', { ...message, ...more });
  }
  ack(from: string, version: number | null, more: Partial<MessageOf<'ack'>> = {}): this {
    const { term, leading } = this.state.raft;
    const stamp = version === null ? null : { term, version };
    return this.hear(from, { kind: 'ack', term, round: leading!.round, stamp, store: `s${from}`, ...more });
  }
}
export const newer = (version: number, term = 4): Ledger => ({ ...three(), stamp: { term, version } });
export const vote = (term: number, stamp = { term: 3, version: 7 }): PeerMessage => ({
  kind: 'vote',
  term,
  stamp,
  handover: false,
});
