import type { Change } from '../../../protocol/changes.ts';
import { asSentence, type DataId, type NodeId } from '../../../protocol/ids.ts';
import type { HostedCopies } from '../../../protocol/ledger-gitlab.ts';
import { compareRounds, type RoundName } from '../../../protocol/round-name.ts';
import { listed } from '../../phrases.ts';
import { AskedChange } from './asked-change.ts';
import { copyTimings } from './copy-timings.ts';
import { type HeldRound, heldByUuid, uuidsOf } from './held-rounds.ts';
import { Lateness, lateMs } from './lateness.ts';
import { PushWait } from './push-wait.ts';
import { type AwayState, StandbyRecord } from './standby-record.ts';
import { type StandbyView, standbyView } from './standby-view.ts';
import { TakenRounds } from './taken-rounds.ts';
import { UsedNumbers } from './used-numbers.ts';

interface CopyRulesOptions {
  self: NodeId;
  era: number;
  epoch: number;
  /** Of this agent process: what one of before asked for is void once this is committed. */
  boot: string;
  data: DataId;
  /** As `pinned` gave them before the agent's restart: or the round that a standby needs is thinned before it is heard. */
  pins?: Readonly<Record<NodeId, RoundName>>;
}

interface CopiesDue {
  /** These hooks are answered now. */
  release: { id: number; isAlone: boolean }[];
  /** To be asked of the leader; asked again by itself until a newer ledger is told. */
  changes: Change[];
  /** Infinity where only an event changes anything. */
  wakeAt: number;
}

/**
 * The host's rules of its copies for one epoch of one agent process (SAFETY H10): which push may be answered, who enters and leaves
 * the in-sync set, and which rounds the next difference needs. Pure: every time is boot time, given by the caller, who calls
 * `due` after each event and at `wakeAt`. Exchanges with one standby are one after the other: `held`, `sent`, then
 * `acknowledged` or `lost`.
 */
export class CopyRules {
  readonly #options: CopyRulesOptions;
  readonly #wait = new PushWait();
  readonly #rounds = new TakenRounds();
  readonly #late = new Lateness(this.#rounds, this.#wait);
  readonly #numbers = new UsedNumbers();
  readonly #records = new Map<NodeId, StandbyRecord>();
  /** As committed; undefined until it was told, null where nobody was asked to hold copies. */
  #copies: HostedCopies | null | undefined;
  /** The newest round with which any push was let go; null while this agent began none: the one of before may have let some go. */
  #letGo: RoundName | null = null;
  /** Who is to enter. From the decision on pushes wait for it too; once that is asked for, only a newer ledger ends it. */
  #newcomer: { node: NodeId; from: number; isAsked: boolean } | null = null;
  /** The base that was asked for: the same one each time, and never thinned. */
  #base: RoundName | null = null;
  readonly #asked = new AskedChange();

  constructor(options: CopyRulesOptions) {
    this.#options = options;
    for (const [node, pin] of Object.entries(options.pins ?? {})) this.#records.set(node, new StandbyRecord(pin));
  }

  /** The committed ledger; null where it names no copies. An older one than is known says nothing. */
  ledger(copies: HostedCopies | null, at: number): void {
    const before = this.#copies;
    if (before === undefined) this.#late.toldAt = at;
    if (before && copies && copies.set.version < before.set.version) return;
    this.#copies = copies;
    if (copies === null || (this.#newcomer && copies.set.version > this.#newcomer.from)) this.#newcomer = null;
    const standbys = this.#standbys;
    for (const node of before?.set.members ?? [])
      if (standbys.includes(node) && !copies?.set.members.includes(node)) this.#recordOf(node).outs.push(at);
    for (const node of this.#records.keys()) if (copies && !standbys.includes(node)) this.#records.delete(node);
  }

  /** A hook waits; or, patient, whatever an agent of before let wait. */
  ask(id: number, isPatient = false): void {
    this.#wait.ask(id, isPatient);
  }

  /** The next round's number is above it: that name is used, on some standby. */
  get numberHeld(): number {
    return this.#numbers.highest;
  }

  /** A standby has another round of the newest's name, or of one above it: it takes none of ours but the next. */
  get isOvertaken(): boolean {
    const { newest } = this.#rounds;
    return newest !== null && this.#numbers.isOver(newest.name.number);
  }

  get wantsRound(): boolean {
    return this.#wait.wantsRound;
  }

  get waiting(): number[] {
    return this.#wait.waiting;
  }

  /** Whom a push waits for; null before the ledger has the boot of this agent. */
  get waitsFor(): NodeId[] | null {
    return this.#hasBegun ? this.#needed : null;
  }

  /** Before the snapshot is taken: those that wait now are in it. */
  begins(round: RoundName): void {
    this.#letGo ??= round;
    this.#wait.begins(round);
  }

  failed(round: RoundName): void {
    this.#wait.failed(round);
  }

  /** It is on the host's own disk. Also said at the start, of the newest that lies there. */
  durable(round: RoundName, takenAt: number, uuid: string | null = null): void {
    if (!this.#isOurs(round)) return;
    this.#rounds.add({ name: round, takenAt, uuid });
    this.#wait.durable(round);
  }

  /** The handshake: all that it holds, complete on its disk. What it holds it has acknowledged. `own`: what is on the host's. */
  held(node: NodeId, listed: readonly HeldRound[], own: readonly HeldRound[] = []): void {
    const uuidHere = uuidsOf(own);
    const { held: rounds, others } = heldByUuid(
      listed,
      (name) => uuidHere(name) ?? this.#rounds.find(name)?.uuid ?? null,
    );
    const record = this.#recordOf(node);
    record.lists(rounds);
    // One that is not known here is of a time from which the host's disk fell back: it has another push than the next of its name.
    const ours = rounds.filter((one) => this.#isOurs(one));
    const isKnown = (one: RoundName): boolean => this.#rounds.find(one) !== null;
    const strange = [...ours.filter((one) => !isKnown(one)), ...others.filter((one) => this.#isOurs(one))];
    this.#numbers.hears(ours, strange, this.#rounds.newest?.name.number ?? 0);
    const newest = ours.sort(compareRounds).findLast(isKnown);
    const known = this.#wait.newestOf(node);
    if (known && (!newest || compareRounds(newest, known) < 0)) {
      record.hasLost = true;
      record.inTime = 0;
      record.acknowledged = null;
      this.#wait.withdrawn(node);
    }
    if (newest) this.#counts(node, record, newest);
  }

  /** A round is on its way, as a difference to `parent`; null: a whole copy. */
  sent(node: NodeId, round: RoundName, parent: RoundName | null): void {
    this.#recordOf(node).sends(round, parent);
  }

  /** So many bytes more of it arrived there; 0: it is heard of, and works on what did. */
  moved(node: NodeId, bytes: number, at: number): void {
    this.#late.moved(node, bytes, at);
  }

  acknowledged(node: NodeId, round: RoundName, at: number): void {
    const record = this.#recordOf(node);
    // By the whole name: a number of another epoch says nothing.
    if (!this.#isOurs(round)) return;
    const isNew = !this.#wait.has(node, round);
    const lacked = this.#rounds.oldestAfter(this.#wait.newestOf(node));
    record.receives(round);
    if (!isNew) return;
    record.inTime = lacked && at - this.#late.lackedSince(lacked.takenAt) <= lateMs ? record.inTime + 1 : 0;
    this.#counts(node, record, round);
  }

  lost(node: NodeId, at: number, because: string, state: AwayState = 'away'): void {
    const record = this.#recordOf(node);
    record.away = { state, because, at };
    record.inFlight = null;
    record.inTime = 0;
  }

  /** Never thinned on the host, and told to each standby with each round. */
  pins(): RoundName[] {
    const base = this.#copies?.bases[this.#options.epoch];
    const all = [base, this.#base, ...[...this.#records.values()].flatMap(({ pin, inFlight }) => [pin, inFlight])];
    return all.filter((one): one is RoundName => !!one);
  }

  /** To be kept on the disk, and given to the rules of the next agent process. */
  pinned(): Record<NodeId, RoundName> {
    return Object.fromEntries([...this.#records].flatMap(([node, { pin }]) => (pin ? [[node, pin]] : [])));
  }

  /** What the next difference to it starts from: the newest of `own` that it listed; null: a whole copy. */
  parentFor(node: NodeId, own: readonly RoundName[]): RoundName | null {
    return this.#recordOf(node).commonWith(own);
  }

  due(at: number): CopiesDue {
    this.#decide(at);
    const release = this.#release();
    const change = this.#change(at);
    const isDue = this.#asked.isDue(change, at);
    return { release, changes: change !== null && isDue ? [change] : [], wakeAt: this.#wakeAt(at) };
  }

  /** The meter goes by the worst machine that may be started, from when its round was taken. */
  seen(at: number): {
    newest: RoundName | null;
    arePushesSafe: boolean;
    safeUntil: number | null;
    mayStart: NodeId[];
    standbys: StandbyView[];
  } {
    const { members = [], last = null } = this.#copies?.set ?? {};
    const mayStart = members.length > 0 ? this.#needed : [...(last ?? []), ...this.#newcomers];
    const times = mayStart.map((node) => this.#records.get(node)?.acknowledged?.takenAt ?? null);
    const isKnown = times.length > 0 && times.every((time) => time !== null);
    return {
      newest: this.#rounds.newest?.name ?? null,
      arePushesSafe: members.length > 0,
      safeUntil: isKnown ? Math.min(...(times as number[])) : null,
      mayStart,
      standbys: this.#standbys.map((node) => this.#view(node, at)),
    };
  }

  get #standbys(): NodeId[] {
    return (this.#copies?.standbys ?? []).map(({ node }) => node).filter((node) => node !== this.#options.self);
  }

  get #members(): NodeId[] {
    return this.#copies?.set.members.filter((node) => node !== this.#options.self) ?? [];
  }

  get #newcomers(): NodeId[] {
    return this.#newcomer ? [this.#newcomer.node] : [];
  }

  /** Whom a push waits for: the old set and the newcomer, until a newer ledger says which it is. */
  get #needed(): NodeId[] {
    return [...new Set([...this.#members, ...this.#newcomers])];
  }

  get #hasBegun(): boolean {
    return this.#copies?.set.boot === this.#options.boot;
  }

  #isOurs(round: RoundName): boolean {
    return round.era === this.#options.era && round.epoch === this.#options.epoch;
  }

  #recordOf(node: NodeId): StandbyRecord {
    const known = this.#records.get(node) ?? new StandbyRecord(null);
    this.#records.set(node, known);
    return known;
  }

  #counts(node: NodeId, record: StandbyRecord, round: RoundName): void {
    this.#wait.acknowledged(node, round);
    record.acknowledged = { name: round, takenAt: this.#rounds.find(round)?.takenAt ?? null };
    // What was lost is there again once it has the newest.
    const { newest } = this.#rounds;
    if (newest && compareRounds(round, newest.name) >= 0) record.hasLost = false;
  }

  #whyOut(node: NodeId, at: number): string | null {
    const because = this.#late.whyOut(node, this.#recordOf(node), at);
    if (because !== null) this.#recordOf(node).inTime = 0;
    return because;
  }

  /** Whether somebody is to enter, and whether a decision is taken back that nobody was asked for yet. */
  #decide(at: number): void {
    const copies = this.#copies;
    if (!copies || !this.#hasBegun) return;
    const newcomer = this.#newcomer;
    if (newcomer && !newcomer.isAsked && this.#whyOut(newcomer.node, at) !== null) this.#newcomer = null;
    if (this.#newcomer || this.#members.some((node) => this.#whyOut(node, at) !== null)) return;
    const node = this.#standbys.find((one) => !copies.set.members.includes(one) && this.#mayEnter(one, at));
    if (node !== undefined) this.#newcomer = { node, from: copies.set.version, isAsked: false };
  }

  #mayEnter(node: NodeId, at: number): boolean {
    const record = this.#records.get(node);
    if (!record || record.inTime < copyTimings.roundsInTime) return false;
    return record.behindUntil(at) === null && this.#whyOut(node, at) === null;
  }

  #release(): CopiesDue['release'] {
    // Where nobody was asked to hold copies no round is made, and nothing is waited for.
    if (this.#copies === null) return this.#wait.releaseAll().map((id) => ({ id, isAlone: true }));
    if (!this.#hasBegun) return [];
    const free = this.#wait.release(this.#needed, this.#members.length === 0);
    for (const { round } of free)
      if (this.#letGo === null || compareRounds(round, this.#letGo) > 0) this.#letGo = round;
    return free.map(({ id, isAlone }) => ({ id, isAlone }));
  }

  /** At most one: each starts from the same version, so that only one of several could succeed. */
  #change(at: number): Change | null {
    const copies = this.#copies;
    if (!copies) return null;
    const { data, epoch, boot } = this.#options;
    const of = { data, epoch, from: copies.set.version };
    if (!this.#hasBegun) {
      const hasBase = Object.hasOwn(copies.bases, String(epoch));
      this.#base ??= this.#rounds.newest?.name ?? null;
      // Without a base nobody could ever start from this epoch's rounds.
      return hasBase || this.#base ? { kind: 'copies-begin', ...of, boot, base: hasBase ? null : this.#base } : null;
    }
    const out = this.#needed.flatMap((node) => {
      const because = this.#whyOut(node, at);
      return because === null ? [] : [{ node, because }];
    });
    if (out.length > 0) {
      // A standby's own words are in it: a longer sentence is taken by no leader, and the push would wait for ever.
      const because = asSentence(listed([...new Set(out.map((one) => one.because))]));
      return { kind: 'copies-leave', ...of, nodes: out.map(({ node }) => node), because };
    }
    const newcomer = this.#newcomer;
    if (!newcomer || this.#letGo === null || !this.#wait.has(newcomer.node, this.#letGo)) return null;
    newcomer.isAsked = true;
    return { kind: 'copy-enters', ...of, from: newcomer.from, node: newcomer.node };
  }

  #wakeAt(at: number): number {
    const times = this.#needed.flatMap((node) => [this.#late.heldUpAt(node), this.#late.lateAt(node) + 1]);
    times.push(this.#asked.againAt);
    for (const node of this.#standbys) times.push(this.#records.get(node)?.behindUntil(at) ?? Number.POSITIVE_INFINITY);
    // What is past was decided above, and waits for an answer.
    return Math.min(...times.filter((time) => time > at), Number.POSITIVE_INFINITY);
  }

  #view(node: NodeId, at: number): StandbyView {
    const isMember = this.#members.includes(node);
    return standbyView(node, this.#recordOf(node), { isMember, isNewcomer: this.#newcomer?.node === node }, at);
  }
}
