import type { Configuration, Era, Ledger, Voters } from '../../protocol/ledger.ts';
import { compareStamps, type Stamp } from '../../protocol/stamp.ts';
import type { Write } from '../../scheduler/effects.ts';
import type { Disk } from './disk.ts';
import { keepsSides, withoutWhatIsNew } from './era-begun.ts';
import type { Figures } from './figures.ts';
import type { Rare } from './rare.ts';
import { Violation } from './violation.ts';

/** Where a stamp means something. */
interface Place {
  readonly era: Era;
  readonly stamp: Stamp;
}
/** "3.14"; of a later era "era-1 3.14". */
const termIn = (era: Era, term: number): string => (era.counter === 0 ? `${term}` : `${era.id} ${term}`);
export const keyOf = ({ era, stamp }: Place): string => `${termIn(era, stamp.term)}.${stamp.version}`;
const isSameEra = (a: Era, b: Era): boolean => a.id === b.id;
const isLaterEra = (a: Era, b: Era): boolean => a.counter > b.counter || (a.counter === b.counter && a.id > b.id);

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

type Compare = (a: unknown, b: unknown) => boolean;
/** Whether both have the same JSON, in whatever order; `inside` compares what is in them. */
export function isSame(a: unknown, b: unknown, inside: Compare = isSame): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [one, other] = [a as Record<string, unknown>, b as Record<string, unknown>];
  for (const key in one) if (!inside(one[key], other[key])) return false;
  for (const key in other) if (one[key] === undefined && other[key] !== undefined) return false;
  return true;
}

/** Of two frozen parts of ledgers, the other one that was seen to be the same: nobody can change either. */
const seenSame = new WeakMap<object, unknown>();
const isSamePart: Compare = (a, b) => {
  if (typeof a !== 'object' || a === null) return isSame(a, b);
  if (seenSame.get(a) === b) return true;
  if (!isSame(a, b)) return false;
  if (Object.isFrozen(a) && Object.isFrozen(b)) seenSame.set(a, b);
  return true;
};
const isSameLedger: Compare = (a, b) => isSame(a, b, (one, other) => isSame(one, other, isSamePart));

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
  /** The same object of a stamp is asked for round after round. */
  readonly #docOfStamp = new WeakMap<Stamp, Doc>();
  /** By era and term, as all that follows. */
  readonly #leaders = new Map<string, { life: string; base: Doc; first: Doc }>();
  /** Deepest committed ledger of each term. */
  readonly #committedIn = new Map<string, Doc>();
  /** Newest committed ledger of each era, by the era's id. */
  readonly #tops = new Map<string, Doc>();
  /** The era of the ledger on each disk: promises are made in it. */
  readonly #eraOn = new Map<string, Era>();
  /** Newest committed ledger of the newest era. */
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
    this.#tops.set(ledger.era.id, doc);
    this.#committedIn.set(termIn(ledger.era, doc.stamp.term), doc);
  }

  find(at: Place | null): Doc | undefined {
    if (at === null) return undefined;
    const known = this.#docOfStamp.get(at.stamp);
    if (known && isSameEra(known.ledger.era, at.era)) return known;
    const doc = this.docs.get(keyOf(at));
    if (doc) this.#docOfStamp.set(at.stamp, doc);
    return doc;
  }

  /** Whether that ledger is on the disk of that name, or one that follows it. */
  keeps(name: string, { accepted }: Disk, at: Place): boolean {
    const doc = this.find(at);
    const now = this.find(accepted);
    return !!doc && (doc.holders.has(name) || (!!now && isAncestor(doc, now)));
  }

  /** Newest committed ledger of that era. */
  topOf(era: Pick<Era, 'id'>): Doc | null {
    return this.#tops.get(era.id) ?? null;
  }

  /** Whether a node recovered its mesh by force with that ledger. */
  beginsEra(ledger: Ledger): boolean {
    const doc = this.find(ledger);
    return !!doc?.parent && !isSameEra(doc.parent.ledger.era, ledger.era);
  }

  /** Whether that ledger is of the era of `doc`, and not older. */
  isAtLeast(ledger: Ledger | null, doc: Doc): boolean {
    return ledger !== null && isSameEra(ledger.era, doc.ledger.era) && compareStamps(ledger.stamp, doc.stamp) >= 0;
  }

  /** What that disk promised in a term of that era. */
  voteOf(disk: string, era: Era, term: number): string | undefined {
    return this.promises.get(`${disk}/${termIn(era, term)}`);
  }

  /** A ledger was seen that `life` sends or writes; `previous` is what that life had accepted before. */
  saw(ledger: Ledger, life: string, previous: Doc | null, isLeader: boolean): Doc {
    const known = this.#docOf.get(ledger);
    if (known) return known;
    const doc = this.find(ledger);
    if (doc) {
      if (!isSameLedger(doc.ledger, ledger))
        throw new Violation('one-document-a-stamp', `${keyOf(ledger)} stands for two ledgers, one at ${life}`);
      this.#docOf.set(ledger, doc);
      return doc;
    }
    if (previous !== null && !isSameEra(previous.ledger.era, ledger.era))
      return this.#recovered(ledger, life, previous);
    if (!isLeader || previous === null)
      throw new Violation('only-leaders-propose', `${life} has ${keyOf(ledger)}, which no leader proposed`);
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

  /** SAFETY L15: a node goes on alone, in an era of its own, with what it has. */
  #recovered(ledger: Ledger, life: string, base: Doc): Doc {
    const { era, recovery, configuration } = ledger;
    const fail = (why: string): never => {
      throw new Violation('an-era-begins-rightly', `${life} made ${keyOf(ledger)} of ${base.key}: ${why}`);
    };
    if (!isLaterEra(era, base.ledger.era)) fail('its era is no later one');
    if (!recovery || !life.startsWith(`${recovery.by}#`)) fail('it is not its own');
    if (Object.keys(configuration.voters).join() !== recovery?.by || configuration.next) fail('others vote in it');
    const content = (one: Ledger): string =>
      canonical({
        ...one,
        ...{ era: null, stamp: null, configuration: null, recovery: null, requests: null },
        gitlab: withoutWhatIsNew(one.gitlab),
      });
    // Who holds rounds of the era before has none of this one's (SAFETY H10).
    const set = ledger.gitlab.hosted?.copies?.set;
    if (set && (set.members.length > 0 || set.last !== null)) fail('somebody is in sync in it');
    if (content(ledger) !== content(base.ledger)) fail('it is another ledger');
    if (!keepsSides(ledger.gitlab, base.ledger.gitlab)) fail('it forgets what two sides may have written');
    this.#figures.add('eras');
    return this.#make(ledger, base);
  }

  #make(ledger: Ledger, parent: Doc | null): Doc {
    const key = keyOf(ledger);
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
    const { era, stamp } = first.ledger;
    const term = termIn(era, stamp.term);
    const other = this.#leaders.get(term);
    if (other) throw new Violation('one-leader-a-term', `term ${term} has ${other.life} and ${life}`);
    this.#leaders.set(term, { life, base, first });
    if (this.beginsEra(base.ledger) && !base.isCommitted)
      throw new Violation('an-era-is-on-disk-first', `${life} leads in ${base.key}, which is on no disk`);
    const content = (doc: Doc): string => canonical({ ...doc.ledger, stamp: null });
    const asked = [...first.requests].some((id) => !base.requests.has(id));
    if (!asked && content(first) !== content(base))
      throw new Violation(
        'restamp-changes-what-was-asked',
        `${life} made ${first.key} another ledger than ${base.key}`,
      );
    for (const doc of this.#committedIn.values())
      if (isSameEra(doc.ledger.era, era) && doc.stamp.term < stamp.term && !isAncestor(doc, base))
        throw new Violation(
          'leader-has-all',
          `${life} leads term ${term} from ${base.key} without committed ${doc.key}`,
        );
  }

  /** `life` says that it leads in this term. */
  leads(era: Era, term: number, life: string): void {
    const leader = this.#leaders.get(termIn(era, term));
    if (leader && leader.life !== life)
      throw new Violation('one-leader-a-term', `term ${termIn(era, term)} has ${leader.life} and ${life}`);
  }

  /** The ledger that the leader of a term began with. */
  firstOf(era: Era, term: number): Doc | null {
    return this.#leaders.get(termIn(era, term))?.first ?? null;
  }

  /** Writes reached the disk of a machine, whose store went by the id `before` until then. */
  landed(machine: string, disk: Disk, writes: readonly Write[], before: string): void {
    this.#keeps(`${machine}/${disk.store}`, writes);
    if (disk.store === before) return;
    // Written in one batch: part of it was promised in the old name. In the new one stands all that is there.
    this.#keeps(`${machine}/${before}`, writes);
    const { promise, accepted } = disk.load();
    this.#keeps(`${machine}/${disk.store}`, [
      { key: 'accepted', value: accepted },
      { key: 'promise', value: promise },
    ]);
  }

  #keeps(disk: string, writes: readonly Write[]): void {
    for (const write of writes) {
      if (write.key === 'promise') this.promised(disk, write.value.term, write.value.votedFor);
      if (write.key !== 'accepted' || !write.value) continue;
      this.#eraOn.set(disk, write.value.era);
      const doc = this.find(write.value);
      if (doc) this.held(doc, disk);
    }
  }

  /** That disk holds the ledger now, durably. */
  held(doc: Doc, disk: string): void {
    const { era, stamp } = doc.ledger;
    const isOfTerm = (one: Doc): boolean => one.stamp.term === stamp.term && isSameEra(one.ledger.era, era);
    for (let older: Doc | null = doc; older && isOfTerm(older); older = older.parent) {
      if (older.holders.has(disk)) break;
      older.holders.add(disk);
      if (!older.isCommitted && older.stamp.term > 0 && quorum(older.configuration, (at) => older!.holders.has(at)))
        this.#committed(older);
    }
  }

  #committed(doc: Doc): void {
    const { era } = doc.ledger;
    const top = this.topOf(era);
    if (top && !isAncestor(doc, top) && !isAncestor(top, doc))
      throw new Violation('one-chain', `${doc.key} and ${top.key} are both committed, and neither follows the other`);
    for (let older: Doc | null = doc; older && !older.isCommitted; older = older.parent)
      if (isSameEra(older.ledger.era, era)) older.isCommitted = true;
    if (!top || doc.depth > top.depth) this.#tops.set(era.id, doc);
    if (!this.top || isLaterEra(era, this.top.ledger.era) || this.top === top) this.top = this.topOf(era);
    if (isJoint(doc.configuration)) this.#figures.add('commits in joint');
    const term = termIn(era, doc.stamp.term);
    const deepest = this.#committedIn.get(term);
    if (!deepest || deepest.depth < doc.depth) this.#committedIn.set(term, doc);
    for (const { life, base, first } of this.#leaders.values())
      if (isSameEra(first.ledger.era, era) && first.stamp.term > doc.stamp.term && !isAncestor(doc, base))
        throw new Violation(
          'leader-has-all',
          `${doc.key} is committed, but ${life} leads with ${first.key} from ${base.key}`,
        );
  }

  /** That disk was rolled back to this ledger and term, of its era: whatever came later is not on it any more. */
  forgot(disk: string, { era, stamp }: Place, term: number): void {
    for (const doc of this.docs.values())
      if (isSameEra(doc.ledger.era, era) && compareStamps(doc.stamp, stamp) > 0) doc.holders.delete(disk);
    const here = `${disk}/${termIn(era, 0).slice(0, -1)}`;
    for (const key of this.promises.keys())
      if (key.startsWith(here) && Number(key.slice(here.length)) > term) this.promises.delete(key);
  }

  /** That disk holds this promise now. */
  promised(disk: string, term: number, votedFor: string | null): void {
    if (votedFor === null) return;
    const era = this.#eraOn.get(disk);
    if (!era) return;
    const key = `${disk}/${termIn(era, term)}`;
    const before = this.promises.get(key);
    if (before !== undefined && before !== votedFor)
      throw new Violation('one-vote-a-term', `${disk} voted for ${before} and ${votedFor} in term ${term}`);
    this.promises.set(key, votedFor);
  }
}
