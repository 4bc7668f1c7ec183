import { compareRounds, type RoundName } from '../../../protocol/round-name.ts';

/** A round with the time of its snapshot, by the boot time that every call of the rules goes by. */
interface TakenRound {
  name: RoundName;
  takenAt: number;
  uuid: string | null;
}

/** Two hours of rounds that a push made each half second: whoever lacks an older one is late by far. */
const most = 14_400;

/** The host's rounds of this epoch, oldest first. */
export class TakenRounds {
  #rounds: TakenRound[] = [];

  add(round: TakenRound): void {
    if (this.find(round.name)) return;
    this.#rounds.push(round);
    const [before] = this.#rounds.slice(-2);
    if (before && compareRounds(before.name, round.name) > 0)
      this.#rounds.sort((a, b) => compareRounds(a.name, b.name));
    if (this.#rounds.length > most) this.#rounds = this.#rounds.slice(-most / 2);
  }

  get newest(): TakenRound | null {
    return this.#rounds.at(-1) ?? null;
  }

  find(name: RoundName): TakenRound | null {
    return this.#rounds.findLast((one) => compareRounds(one.name, name) === 0) ?? null;
  }

  /** The oldest that is newer than `name`; the oldest of all for null. */
  oldestAfter(name: RoundName | null): TakenRound | null {
    if (name === null) return this.#rounds[0] ?? null;
    // From the end: what a standby lacks are the last few.
    const last = this.#rounds.findLastIndex((one) => compareRounds(one.name, name) <= 0);
    return this.#rounds[last + 1] ?? null;
  }
}
