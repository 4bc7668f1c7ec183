import type { Configuration, Ledger, Voters } from '../../protocol/ledger.ts';
import { compareStamps, type Stamp, showStamp } from '../../protocol/stamp.ts';
import type { Write } from '../../scheduler/effects.ts';
import type { Disk } from './disk.ts';
import type { Figures } from './figures.ts';
import type { Rare } from './rare.ts';
import { Violation } from './violation.ts';

/** One ledger that a leader ever proposed. Its parent is the one that its leader had before. */
export interface Doc {
  key: string;
  stamp: Stamp;
  parent: Doc | null;
  depth: number;
  configuration: Configuration;
  /** "node/store" of every disk that ever held it, or a later one of its term. */
  holders: Set<string>;
  isCommitted: boolean;
  requests: ReadonlySet<string>;
  ledger: Ledger;
}

/** JSON with sorted keys: one document has one text, wherever it comes from. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value) ?? 'null';
  const record = value as Record<string, unknown>;
  const keys = Object.keys(record)
    .filter((key) => record[key] !== undefined)
    .sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(record[key])}`).join(',')}}`;
}

/** Whether both have the same JSON, in whatever order. */
export function isSame(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [one, other] = [a as Record<string, unknown>, b as Record<string, unknown>];
  for (const key in one) if (!isSame(one[key], other[key])) return false;
  for (const key in other) if (one[key] === undefined && other[key] !== undefined) return false;
  return true;
}

export const isAncestor = (older: Doc, newer: Doc): boolean => {
  let doc: Doc | null = newer;
  while (doc !== null && doc.depth > older.depth) doc = doc.parent;
  return doc === older;
};

const majority = (voters: Voters, has: (disk: string) => boolean): boolean => {
  let total = 0;
  let sum = 0;
  for (const [node, { store, weight }] of Object.entries(voters)) {
    total += weight;
    if (has(`${node}/${store}`)) sum += weight;
  }
  return 2 * sum > total;
};

/** Written again here, on purpose: what checks must not be what is checked. */
export const quorum = (configuration: Configuration, has: (disk: string) => boolean): boolean =>
  majority(configuration.voters, has) && (configuration.next === null || majority(configuration.next, has));

const sameVoters = (a: Voters, b: Voters): boolean => canonical(a) === canonical(b);
export const isJoint = (configuration: Configuration): boolean => configuration.next !== null;

/**
 * What is true of the mesh as a whole, seen from above: which ledgers exist, which disks hold them, and therefore which
 * are committed, whether anybody knows it yet or not. Nothing here is told by the nodes' own opinion.
 */
export class History {
  readonly docs = new Map<string, Doc>();
  /** "node/store/term" -> the vote that is on that disk. */
  readonly promises = new Map<string, string>();
  readonly #docOf = new WeakMap<Ledger, Doc>();
  readonly #leaders = new Map<number, { life: string; base: Doc; first: Doc }>();
  /** Deepest committed ledger of each term. */
  readonly #committedIn = new Map<number, Doc>();
  top: Doc | null = null;
  readonly #figures: Figures;
  /** Called for every joint configuration that appears. */
  onJoint: () => void = () => {};

  readonly #rare: Rare;

  constructor(figures: Figures, rare: Rare) {
    this.#figures = figures;
    this.#rare = rare;
  }

  root(ledger: Ledger): void {
    const doc = this.#make(ledger, null);
    doc.isCommitted = true;
    this.top = doc;
    this.#committedIn.set(doc.stamp.term, doc);
  }

  find(stamp: Stamp): Doc | undefined {
    return this.docs.get(showStamp(stamp));
  }

  /** A ledger was seen that `life` sends or writes; `previous` is what that life had accepted before. */
  saw(ledger: Ledger, life: string, previous: Doc | null, isLeader: boolean): Doc {
    const known = this.#docOf.get(ledger);
    if (known) return known;
    const doc = this.docs.get(showStamp(ledger.stamp));
    if (doc) {
      if (!isSame(doc.ledger, ledger))
        throw new Violation(
          'one-document-a-stamp',
          `${showStamp(ledger.stamp)} stands for two ledgers, one at ${life}`,
        );
      this.#docOf.set(ledger, doc);
      return doc;
    }
    if (!isLeader || previous === null)
      throw new Violation('only-leaders-propose', `${life} has ${showStamp(ledger.stamp)}, which no leader proposed`);
    const made = this.#make(ledger, previous);
    this.#checkShape(made, previous, life);
    if (previous.stamp.term !== made.stamp.term) this.#checkBase(made, previous, life);
    else if (!this.#mayMoveVoters(previous) && canonical(made.configuration) !== canonical(previous.configuration))
      throw new Violation(
        'no-new-voters-before-the-own-commit',
        `${life} made ${made.key}, and nothing of its term is committed`,
      );
    if (isJoint(made.configuration) && !(previous && isJoint(previous.configuration))) this.onJoint();
    return made;
  }

  #make(ledger: Ledger, parent: Doc | null): Doc {
    const key = showStamp(ledger.stamp);
    const doc: Doc = {
      key,
      stamp: ledger.stamp,
      parent,
      depth: parent ? parent.depth + 1 : 0,
      configuration: ledger.configuration,
      holders: new Set(),
      isCommitted: false,
      requests: new Set(ledger.requests.map((request) => request.id)),
      ledger,
    };
    this.docs.set(key, doc);
    this.#docOf.set(ledger, doc);
    return doc;
  }

  /** SAFETY L3, L4, L5: how a configuration may follow another. */
  #checkShape(doc: Doc, parent: Doc, life: string): void {
    const was = parent.configuration;
    const is = doc.configuration;
    const fail = (rule: string, why: string): never => {
      throw new Violation(
        rule,
        `${life} made ${doc.key} after ${parent.key}: ${why}; ${canonical(was)} -> ${canonical(is)}`,
      );
    };
    if (doc.stamp.version <= parent.stamp.version) fail('versions-rise', 'the version does not rise');
    for (const voters of [is.voters, is.next ?? {}]) {
      const heavy = Object.values(voters).filter((voter) => voter.weight === 3).length;
      if (heavy > 1 || (heavy === 1 && Object.keys(voters).length % 2 === 1)) fail('weights', 'wrong weights');
    }
    for (const run of Object.values(parent.ledger.runs)) {
      const now = doc.ledger.runs[run.run]?.state ?? 'lost';
      if (run.state === 'lost' && now !== 'lost' && now !== 'delivered')
        fail('lost-stays-lost', `${run.run} was lost and is ${now}`);
    }
    if (was === is || canonical(was) === canonical(is)) return;
    this.#figures.add('configurations');
    this.#rare.configured(doc, parent, life);
    if (doc.stamp.term !== parent.stamp.term) fail('restamp-keeps-the-voters', 'a new leader changed them');
    if (is.next !== null && was.next === null) {
      this.#figures.add('reconfigurations');
      if (!sameVoters(was.voters, is.voters)) fail('joint-first', 'the old half is not the old configuration');
      return;
    }
    if (was.next === null) return fail('joint-first', 'voters changed in one step');
    if (is.next !== null) return fail('joint-first', 'a joint configuration followed another');
    if (!sameVoters(was.next, is.voters)) fail('joint-first', 'the new configuration is not the new half');
    let joint: Doc | null = parent;
    while (joint && joint.stamp.term === doc.stamp.term && canonical(joint.configuration) === canonical(was)) {
      if (joint.isCommitted) return;
      joint = joint.parent;
    }
    fail('leave-joint-late', 'no joint ledger of this term is committed');
  }

  /** SAFETY L3: something of the own term is committed. */
  #mayMoveVoters(doc: Doc): boolean {
    let own: Doc | null = doc;
    for (; own?.stamp.term === doc.stamp.term; own = own.parent) if (own.isCommitted) return true;
    return false;
  }

  /** The first ledger of a term: its leader, and what it starts from. */
  #checkBase(first: Doc, base: Doc, life: string): void {
    const { term } = first.stamp;
    const other = this.#leaders.get(term);
    if (other) throw new Violation('one-leader-a-term', `term ${term} has ${other.life} and ${life}`);
    this.#leaders.set(term, { life, base, first });
    const content = (doc: Doc): string => canonical({ ...doc.ledger, stamp: null });
    const asked = [...first.requests].some((id) => !base.requests.has(id));
    if (!asked && content(first) !== content(base))
      throw new Violation(
        'restamp-changes-what-was-asked',
        `${life} made ${first.key} another ledger than ${base.key}`,
      );
    for (const [in_, doc] of this.#committedIn)
      if (in_ < term && !isAncestor(doc, base))
        throw new Violation(
          'leader-has-all',
          `${life} leads term ${term} from ${base.key} without committed ${doc.key}`,
        );
  }

  /** `life` says that it leads in this term. */
  leads(term: number, life: string): void {
    const leader = this.#leaders.get(term);
    if (leader && leader.life !== life)
      throw new Violation('one-leader-a-term', `term ${term} has ${leader.life} and ${life}`);
  }

  /** The ledger that the leader of a term began with. */
  firstOf(term: number): Doc | null {
    return this.#leaders.get(term)?.first ?? null;
  }

  /** Writes reached the disk of a machine, whose store went by the id `before` until then. */
  landed(machine: string, disk: Disk, writes: readonly Write[], before: string): void {
    this.#keeps(`${machine}/${disk.store}`, writes);
    if (disk.store === before) return;
    // Written in one batch: part of it was promised in the old name. In the new one stands all that is there.
    this.#keeps(`${machine}/${before}`, writes);
    const { promise, accepted } = disk.load();
    this.#keeps(`${machine}/${disk.store}`, [
      { key: 'promise', value: promise },
      { key: 'accepted', value: accepted },
    ]);
  }

  #keeps(disk: string, writes: readonly Write[]): void {
    for (const write of writes) {
      if (write.key === 'promise') this.promised(disk, write.value.term, write.value.votedFor);
      if (write.key !== 'accepted' || !write.value) continue;
      const doc = this.find(write.value.stamp);
      if (doc) this.held(doc, disk);
    }
  }

  /** That disk holds the ledger now, durably. */
  held(doc: Doc, disk: string): void {
    for (let older: Doc | null = doc; older && older.stamp.term === doc.stamp.term; older = older.parent) {
      if (older.holders.has(disk)) break;
      older.holders.add(disk);
      if (!older.isCommitted && older.stamp.term > 0 && quorum(older.configuration, (at) => older!.holders.has(at)))
        this.#committed(older);
    }
  }

  #committed(doc: Doc): void {
    const top = this.top as Doc;
    if (!isAncestor(doc, top) && !isAncestor(top, doc))
      throw new Violation('one-chain', `${doc.key} and ${top.key} are both committed, and neither follows the other`);
    for (let older: Doc | null = doc; older && !older.isCommitted; older = older.parent) older.isCommitted = true;
    if (doc.depth > top.depth) this.top = doc;
    if (isJoint(doc.configuration)) this.#figures.add('commits in joint');
    const deepest = this.#committedIn.get(doc.stamp.term);
    if (!deepest || deepest.depth < doc.depth) this.#committedIn.set(doc.stamp.term, doc);
    for (const [term, { life, base }] of this.#leaders)
      if (term > doc.stamp.term && !isAncestor(doc, base))
        throw new Violation(
          'leader-has-all',
          `${doc.key} is committed, but ${life} leads term ${term} from ${base.key}`,
        );
  }

  /** That disk was rolled back to this stamp and term: whatever came later is not on it any more. */
  forgot(disk: string, stamp: Stamp, term: number): void {
    for (const doc of this.docs.values()) if (compareStamps(doc.stamp, stamp) > 0) doc.holders.delete(disk);
    for (const key of this.promises.keys()) {
      const at = key.lastIndexOf('/');
      if (key.slice(0, at) === disk && Number(key.slice(at + 1)) > term) this.promises.delete(key);
    }
  }

  /** That disk holds this promise now. */
  promised(disk: string, term: number, votedFor: string | null): void {
    if (votedFor === null) return;
    const key = `${disk}/${term}`;
    const before = this.promises.get(key);
    if (before !== undefined && before !== votedFor)
      throw new Violation('one-vote-a-term', `${disk} voted for ${before} and ${votedFor} in term ${term}`);
    this.promises.set(key, votedFor);
  }
}
