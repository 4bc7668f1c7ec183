import type { Ledger } from '../../../protocol/ledger.ts';
import { compareRounds, newestOf, type RoundName, roundText } from '../../../protocol/round-name.ts';
import { StandbyRules } from '../../../scheduler/hosting/copies/standby-rules.ts';
import { thin } from '../../../scheduler/hosting/copies/thinning.ts';

export class Broken extends Error {}

export interface SimRound {
  name: RoundName;
  parent: RoundName | null;
  /** Two of one name would differ here. */
  content: number;
  uuid: string;
  /** All pushes up to this one are in it. */
  upTo: number;
  takenAt: number;
  isSynced: boolean;
}

export const simRound = (name: RoundName, content: number, takenAt: number): SimRound => ({
  ...{ name, content, uuid: `u-${content}`, takenAt },
  ...{ parent: null, upTo: 0, isSynced: false },
});

/** Names that may be used twice since those rounds were lost: also what was thinned between them is taken anew. */
export function namesAnew(lost: readonly SimRound[], last: SimRound | null): string[] {
  return lost.flatMap(({ name }) => {
    const above = last?.name.epoch === name.epoch ? last.name.number : 0;
    return Array.from({ length: name.number - above }, (_, at) => roundText({ ...name, number: above + 1 + at }));
  });
}

/** So much older are rounds for thinning than they are: schedules are minutes long, its ladder days. */
const aging = 300;

/** What the real thinning leaves. */
export function thinned(rounds: readonly SimRound[], pins: readonly RoundName[]): SimRound[] {
  const dated = rounds.map((round) => ({ name: round.name, atMs: round.takenAt * aging, round }));
  const gone = new Set(thin(dated, new Set(pins.map(roundText)), 3).map(({ round }) => round));
  return rounds.filter((one) => !gone.has(one));
}

/** A machine that holds copies: the real rules, and a disk that forgets at a power cut what was not synced. */
export class SimStandby {
  isOn = true;
  ledger: Ledger;
  #rules = new StandbyRules();
  #rounds: SimRound[] = [];

  constructor(ledger: Ledger) {
    this.ledger = ledger;
  }

  get whole(): SimRound[] {
    return this.#rounds.filter((one) => one.isSynced);
  }

  get newest(): SimRound | null {
    return newestOf(this.whole);
  }

  holds(name: RoundName | undefined): boolean {
    return !!name && this.whole.some((one) => compareRounds(one.name, name) === 0);
  }

  hears(ledger: Ledger): void {
    if (ledger.gitlab.epoch! >= this.ledger.gitlab.epoch!) this.ledger = ledger;
  }

  /** True when it is taken: in the page cache, until it is synced. */
  offer(from: string, round: SimRound, pins: readonly RoundName[]): boolean {
    const { gitlab, era } = this.ledger;
    const of = { host: gitlab.host!, era: era.counter, epoch: gitlab.epoch! };
    if (!this.isOn || this.#rules.whyNot(from, round, of, this.whole) !== null) return false;
    if (from !== of.host || round.name.epoch !== of.epoch)
      throw new Broken(`(from) round ${roundText(round.name)} of ${from} was taken`);
    this.#rules.named(round, pins);
    const known = this.#rounds.find((one) => compareRounds(one.name, round.name) === 0);
    if (known?.isSynced && known.content !== round.content)
      throw new Broken(`(name) two rounds ${roundText(round.name)}`);
    // What was not whole is deleted before the next try.
    if (!known?.isSynced)
      this.#rounds = [...this.#rounds.filter((one) => one !== known), { ...round, isSynced: false }];
    return true;
  }

  sync(content: number): SimRound | null {
    const kept = this.#rounds.find((one) => one.content === content);
    if (!this.isOn || !kept) return null;
    kept.isSynced = true;
    return kept;
  }

  thin(base: RoundName | null): void {
    const kept = new Set(thinned(this.whole, this.#rules.pins(this.whole, base, 0)));
    this.#rounds = this.#rounds.filter((one) => !one.isSynced || kept.has(one));
  }

  powerOff(): void {
    this.isOn = false;
    this.#rules = new StandbyRules();
    this.#rounds = this.whole;
  }
}
