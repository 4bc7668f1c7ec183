import type { Change } from '../../../protocol/changes.ts';
import type { Ledger } from '../../../protocol/ledger.ts';
import type { HostedCopies } from '../../../protocol/ledger-gitlab.ts';
import { compareRounds, newestOf, type RoundName, roundText } from '../../../protocol/round-name.ts';
import { chooseStandbys } from '../../../scheduler/hosting/choose-standbys.ts';
import { CopyRules } from '../../../scheduler/hosting/copies/copy-rules.ts';
import { agreeCopies, changeSet } from '../../../scheduler/hosting/copies-edits.ts';
import { withStandbys } from '../../../scheduler/hosting/copies-set.ts';
import { isRefusal, type Refusal } from '../../../scheduler/ledger-edit.ts';
import { Chance } from '../chance.ts';
import { hosted, meshWithStandbys, names } from './copies-mesh.ts';
import { Schedule } from './copies-schedule.ts';
import { Broken, namesAnew, type SimRound, SimStandby, simRound, thinned } from './copies-standby.ts';

/*
 * One host, its standbys and a ledger that is one register with compare and swap (SAFETY H10): the real rules, with messages late
 * and lost, cut links, agents that end and power that goes. Raft, btrfs and who starts after a move lie outside.
 */

interface Exchange {
  id: number;
  since: number;
}

export class CopiesWorld {
  readonly counts: Record<string, number> = {};
  readonly #chance: Chance;
  readonly #roughness: number;
  readonly #calm: number;
  readonly #interval: number;
  readonly #schedule = new Schedule();
  #serial = 0;
  #ledger: Ledger;
  readonly #standbys = new Map<string, SimStandby>();
  readonly #cut = new Set<string>();
  #rules: CopyRules | null = null;
  #hostLife = 0;
  #boot = '';
  #epoch = 1;
  #rounds: SimRound[] = [];
  #number = 0;
  #pins: Record<string, RoundName> = {};
  #pushes = 0;
  #released = 0;
  #lastBegun = 0;
  #isTaking = false;
  /** Hook to push; a push is asked for again by the agent's next process. */
  readonly #hooks = new Map<number, number>();
  readonly #exchanges = new Map<string, Exchange>();
  readonly #contents = new Map<string, number>();
  /** How often the host's disk fell back, and the names that it may use twice since. */
  #falls = 0;
  readonly #fallen = new Set<string>();

  constructor(seed: number) {
    this.#chance = new Chance(seed);
    this.#roughness = this.#chance.pick([0.02, 0.08, 0.2]);
    this.#calm = this.#chance.pick([0.003, 0.012, 0.03]);
    this.#interval = this.#chance.pick([300, 800, 2500]);
    const chosen = names.slice(0, 2 + this.#chance.below(2));
    this.#ledger = meshWithStandbys(chosen);
    for (const one of names) this.#standbys.set(one, new SimStandby(this.#ledger));
    this.#startHost();
  }

  run(steps: number): void {
    for (let step = 0; step < steps; step += 1) {
      const until = this.#schedule.now + this.#chance.between(20, this.#interval);
      this.#schedule.runUntil(until, () => this.#turn());
      this.#work();
      if (this.#chance.maybe(this.#calm)) this.#strike();
      this.#turn();
    }
  }

  get #copies(): HostedCopies {
    return this.#ledger.gitlab.hosted!.copies!;
  }

  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  #after(ms: number, run: () => void): void {
    this.#schedule.after(ms, run);
  }

  /** Over the LAN: lost, late by much, or at once. */
  #send(between: string, run: () => void): void {
    if (this.#cut.has(between) || this.#chance.maybe(this.#roughness / 3)) return;
    const isLate = this.#chance.maybe(this.#roughness);
    this.#after(isLate ? this.#chance.between(100, 25_000) : this.#chance.between(1, 60), run);
  }

  #startHost(): void {
    this.#hostLife += 1;
    this.#boot = `boot-${this.#hostLife}`;
    this.#isTaking = false;
    this.#exchanges.clear();
    const options = {
      self: 'K',
      era: this.#ledger.era.counter,
      epoch: this.#epoch,
      boot: this.#boot,
      data: hosted.data,
    };
    const rules = new CopyRules({ ...options, pins: structuredClone(this.#pins) });
    this.#rules = rules;
    const newest = newestOf(this.#rounds);
    this.#number = newest?.name.epoch === this.#epoch ? newest.name.number : 0;
    for (const { name, takenAt, uuid } of this.#rounds) rules.durable(name, takenAt, uuid);
    const pushes = [...this.#hooks.values()];
    this.#hooks.clear();
    rules.ask(++this.#serial, true);
    for (const push of pushes) this.#ask(push);
    this.#send('K-ledger', () => this.#hears(this.#ledger));
  }

  #ask(push: number): void {
    const id = ++this.#serial;
    this.#hooks.set(id, push);
    this.#rules?.ask(id);
  }

  #hears(ledger: Ledger): void {
    const { hosted: known, epoch } = ledger.gitlab;
    if (!this.#rules || epoch !== this.#epoch) return;
    this.#rules.ledger(known!.copies!, this.#schedule.now);
  }

  /** The register: written by whoever is the leader, each edit on what is committed now. */
  #commit(what: string, after: Ledger | Refusal): void {
    if (isRefusal(after)) return this.#count(`${what} refused`);
    if (after === this.#ledger) return;
    this.#ledger = after;
    this.#count(what);
    this.#look();
    for (const node of names) this.#send(`ledger-${node}`, () => this.#standbys.get(node)!.hears(after));
    this.#send('K-ledger', () => this.#hears(after));
  }

  /** What the host's agent does whenever anything happened. */
  #turn(): void {
    const rules = this.#rules;
    if (!rules) return;
    const { release, changes } = rules.due(this.#schedule.now);
    for (const { id, isAlone } of release) {
      const push = this.#hooks.get(id);
      this.#hooks.delete(id);
      if (push === undefined) continue;
      this.#released = Math.max(this.#released, push);
      this.#count(isAlone ? 'push answered alone' : 'push answered');
      this.#look();
    }
    this.#pins = rules.pinned();
    for (const change of changes) this.#asks(change);
    this.#lookAtMeter(rules);
  }

  #asks(change: Change): void {
    const arrives = () => this.#commit(change.kind, changeSet(this.#ledger, change as never));
    // Luck alone hardly ever has it: an entry is on its way, the agent ends, and the newcomer gets nothing more.
    if (change.kind !== 'copy-enters' || !this.#chance.maybe(0.2)) return this.#send('K-ledger', arrives);
    this.#count('entry of an agent that ended');
    this.#after(this.#chance.between(500, 15_000), arrives);
    this.#cut.add(`K-${change.node}`);
    this.#hostEnds(false);
    this.#startHost();
  }

  /** Rounds, exchanges, pushes, the ledger heard again; thinning. */
  #work(): void {
    const rules = this.#rules;
    if (!rules) {
      if (this.#chance.maybe(0.2)) this.#startHost();
      return;
    }
    if (this.#chance.maybe(0.3)) {
      this.#pushes += 1;
      this.#ask(this.#pushes);
    }
    if (!this.#isTaking && (rules.wantsRound || this.#schedule.now - this.#lastBegun >= 5000)) this.#take(rules);
    if (this.#chance.maybe(0.3)) {
      const told = this.#ledger;
      this.#send('K-ledger', () => this.#hears(told));
    }
    for (const node of names) {
      const machine = this.#standbys.get(node)!;
      if (!machine.isOn && this.#chance.maybe(0.1)) machine.isOn = true;
      if (this.#copies.standbys.some((one) => one.node === node)) this.#exchange(rules, node);
    }
    if (this.#chance.maybe(0.1)) this.#thin(rules);
    if (this.#chance.maybe(0.15)) this.#strayOffer();
  }

  #take(rules: CopyRules): void {
    const life = this.#hostLife;
    this.#isTaking = true;
    this.#lastBegun = this.#schedule.now;
    this.#number = Math.max(this.#number, rules.numberHeld) + 1;
    const name = { era: this.#ledger.era.counter, epoch: this.#epoch, number: this.#number };
    const upTo = this.#pushes;
    const takenAt = this.#schedule.now;
    rules.begins(name);
    this.#after(this.#chance.maybe(this.#roughness) ? 1500 : this.#chance.between(5, 100), () => {
      if (life !== this.#hostLife || !this.#rules) return;
      this.#isTaking = false;
      if (this.#chance.maybe(0.02)) return rules.failed(name);
      this.#rounds.push({ ...simRound(name, ++this.#serial, takenAt), upTo, isSynced: true });
      rules.durable(name, takenAt, this.#rounds.at(-1)!.uuid);
      this.#count('round');
    });
  }

  /** Handshake, a round, its acknowledgement: one exchange with each at a time; what is late is given up by the host. */
  #exchange(rules: CopyRules, node: string): void {
    const open = this.#exchanges.get(node);
    if (open && this.#schedule.now - open.since < 1500) return;
    if (open) {
      this.#exchanges.delete(node);
      rules.lost(node, this.#schedule.now, 'it does not answer');
      return;
    }
    const newest = newestOf(this.#rounds);
    if (newest?.name.epoch !== this.#epoch) return;
    const machine = this.#standbys.get(node)!;
    if (machine.whole.some((one) => one.content === newest.content) && this.#chance.maybe(0.9)) return;
    const id = ++this.#serial;
    const isCurrent = (): boolean => this.#rules === rules && this.#exchanges.get(node)?.id === id;
    this.#exchanges.set(node, { id, since: this.#schedule.now });
    this.#send(`K-${node}`, () => {
      if (!machine.isOn) return;
      const listed = machine.whole;
      this.#send(`K-${node}`, () => {
        if (!isCurrent()) return;
        rules.held(node, listed, this.#rounds);
        this.#bring(rules, node, machine, isCurrent);
      });
    });
  }

  #bring(rules: CopyRules, node: string, machine: SimStandby, isCurrent: () => boolean): void {
    const round = newestOf(this.#rounds)!;
    const own = this.#rounds.map(({ name }) => name).filter((name) => compareRounds(name, round.name) !== 0);
    const parent = rules.parentFor(node, own);
    if (!parent && !machine.holds(round.name)) {
      this.#count('whole copy');
      const pin = rules.pinned()[node];
      if (pin && machine.holds(pin) && !this.#fallen.has(roundText(pin)))
        throw new Broken(`(pin) whole copy to ${node} though it holds its pin`);
    }
    rules.sent(node, round.name, parent);
    const pins = rules.pins();
    const falls = this.#falls;
    const hasPower = (): boolean => falls === this.#falls;
    this.#send(`K-${node}`, () => {
      if (machine.offer('K', { ...round, parent }, pins))
        this.#after(this.#chance.between(1, 200), () => this.#synced(node, machine, round, { isCurrent, hasPower }));
    });
  }

  #synced(
    node: string,
    machine: SimStandby,
    round: SimRound,
    { isCurrent, hasPower }: Record<'isCurrent' | 'hasPower', () => boolean>,
  ): void {
    const kept = machine.sync(round.content);
    if (!kept) return;
    const key = roundText(kept.name);
    if (!this.#fallen.has(key) && (this.#contents.get(key) ?? kept.content) !== kept.content)
      throw new Broken(`(name) two rounds ${key}`);
    this.#contents.set(key, kept.content);
    // Also what comes late, to whichever rules the host has by then; its power ends each connection.
    this.#send(`K-${node}`, () => {
      if (!hasPower()) return;
      this.#rules?.acknowledged(node, round.name, this.#schedule.now);
      if (isCurrent()) this.#exchanges.delete(node);
    });
  }

  /** Rounds of no host of the ledger, and of another epoch than its. */
  #strayOffer(): void {
    const machine = this.#standbys.get(this.#chance.pick(names))!;
    const isForeign = this.#chance.maybe(0.5);
    const epoch = isForeign ? this.#epoch : this.#epoch + this.#chance.pick([-1, 1]);
    if (epoch < 1) return;
    const name = { era: this.#ledger.era.counter, epoch, number: 1_000_000 + ++this.#serial };
    const stray = simRound(name, ++this.#serial, this.#schedule.now);
    machine.offer(isForeign ? 'X' : 'K', stray, []);
  }

  #thin(rules: CopyRules): void {
    this.#rounds = thinned(this.#rounds, rules.pins());
    for (const machine of this.#standbys.values()) machine.thin(this.#copies.bases[this.#epoch] ?? null);
  }

  #hostEnds(isPower: boolean): void {
    this.#rules = null;
    if (isPower) this.#hooks.clear();
  }

  #strike(): void {
    const link = this.#chance.pick([
      ...names.map((node) => `K-${node}`),
      'K-ledger',
      ...names.map((one) => `ledger-${one}`),
    ]);
    const machine = this.#standbys.get(this.#chance.pick(names))!;
    const what = this.#chance.pick([
      'cut',
      'heal',
      'heal',
      'agent',
      'agent',
      'power',
      'host',
      'fall',
      'strip',
      'choose',
      'agree',
      'epoch',
    ]);
    this.#count(what);
    if (what === 'cut') this.#cut.add(link);
    if (what === 'heal') this.#cut.clear();
    if (what === 'agent') {
      this.#hostEnds(false);
      if (this.#chance.maybe(0.7)) this.#startHost();
    }
    if (what === 'power') machine.powerOff();
    if (what === 'host' || what === 'strip') this.#hostEnds(true);
    if (what === 'fall') this.#fallBack();
    if (what === 'strip') for (const one of this.#standbys.values()) one.powerOff();
    if (what === 'choose') this.#choose();
    if (what === 'agree') this.#agree();
    if (what === 'epoch') this.#newEpoch();
  }

  /** Its disk said that it had what it had not: the newest rounds are gone, and it goes on behind them. */
  #fallBack(): void {
    this.#hostEnds(true);
    this.#falls += 1;
    const lost = this.#rounds.splice(-this.#chance.between(1, 6));
    for (const name of namesAnew(lost, newestOf(this.#rounds))) this.#fallen.add(name);
  }

  #choose(): void {
    const candidates = this.#copies.agreed.map((node) => ({
      ...{ node, name: node, isLikeHost: true },
      barred: this.#chance.maybe(0.15) ? 'is drained' : null,
      unfit: this.#chance.maybe(0.3) ? 'is away' : null,
      unfitMs: this.#chance.pick([0, 1e9]),
    }));
    const copies = withStandbys(this.#copies, chooseStandbys(candidates, this.#copies.standbys));
    this.#commit('choose', this.#withCopies(copies));
  }

  #withCopies(copies: HostedCopies): Ledger {
    const { gitlab } = this.#ledger;
    return { ...this.#ledger, gitlab: { ...gitlab, hosted: { ...gitlab.hosted!, copies } } };
  }

  #agree(): void {
    const node = this.#chance.pick(names);
    const agreed = !this.#copies.agreed.includes(node);
    const change: Change = { kind: 'agree-copies', data: hosted.data, node, agreed, because: 'said by ann' };
    this.#commit('agree', agreeCopies(this.#ledger, change as never));
  }

  /** The host is the same, its rounds go on from what it has: as after a restore to its newest round. */
  #newEpoch(): void {
    if (!this.#rules) return;
    this.#epoch += 1;
    const ledger = { ...this.#ledger, gitlab: { ...this.#ledger.gitlab, epoch: this.#epoch } };
    this.#hostEnds(false);
    this.#commit('epoch', ledger);
    this.#startHost();
  }

  /** What was answered lies on every member's disk, in each moment. */
  #look(): void {
    for (const node of this.#copies.set.members) {
      const has = this.#standbys.get(node)!.newest?.upTo ?? 0;
      if (has < this.#released)
        throw new Broken(`(push) push ${this.#released} was answered, ${node} is in sync with ${has}`);
    }
  }

  #lookAtMeter(rules: CopyRules): void {
    const { safeUntil } = rules.seen(this.#schedule.now);
    // Until its boot is committed, an entry that its agent of before asked for may be unknown to it.
    if (safeUntil === null || this.#copies.set.boot !== this.#boot) return;
    for (const node of this.#copies.set.members) {
      const taken = this.#standbys.get(node)!.newest?.takenAt ?? Number.NEGATIVE_INFINITY;
      if (taken < safeUntil)
        throw new Broken(`(meter) safe until ${safeUntil}, ${node} has what was taken at ${taken}`);
    }
  }
}
