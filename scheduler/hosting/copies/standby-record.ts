import { compareRounds, newestOf, type RoundName, roundText } from '../../../protocol/round-name.ts';
import { copyTimings } from './copy-timings.ts';

export type AwayState = 'away' | 'full' | 'refused';

/** What the host knows of one machine that gets its rounds. */
export class StandbyRecord {
  /** Its newest of this epoch; `takenAt` null where this agent does not know when that was taken. */
  acknowledged: { name: RoundName; takenAt: number | null } | null = null;
  /** Rounds one after the other that it acknowledged in time; since it was late last: by those of before the next push would wait for it again. */
  inTime = 0;
  /** It has not got what it acknowledged before. */
  hasLost = false;
  away: { state: AwayState; because: string; at: number } | null = null;
  /** The round that the next difference may start from: neither side may thin it. */
  pin: RoundName | null;
  inFlight: RoundName | null = null;
  /** When it fell out of the set. */
  outs: number[] = [];
  #held = new Map<string, RoundName>();

  constructor(pin: RoundName | null) {
    this.pin = pin;
  }

  /** The handshake: another exchange begins, so what was in flight is over. */
  lists(rounds: readonly RoundName[]): void {
    this.#held = new Map(rounds.map((one) => [roundText(one), one]));
    this.inFlight = null;
    this.away = null;
  }

  sends(round: RoundName, parent: RoundName | null): void {
    this.inFlight = round;
    // A pin moves by what the standby listed; never back from one that it still holds.
    if (parent && (!this.pin || !this.#held.has(roundText(this.pin)) || compareRounds(parent, this.pin) > 0))
      this.pin = parent;
  }

  /** The newest of the host's own that it listed. */
  commonWith(own: readonly RoundName[]): RoundName | null {
    const common = own.filter((one) => this.#held.has(roundText(one)));
    return newestOf(common.map((name) => ({ name })))?.name ?? null;
  }

  /** An acknowledgement that comes late moves no pin: the host may have thinned that round meanwhile. */
  receives(round: RoundName): void {
    this.away = null;
    this.#held.set(roundText(round), round);
    if (this.inFlight === null) return;
    if (roundText(this.inFlight) === roundText(round)) this.pin = round;
    if (compareRounds(this.inFlight, round) <= 0) this.inFlight = null;
  }

  /** Null when it may come in as soon as its rounds are in time. */
  behindUntil(at: number): number | null {
    this.outs = this.outs.filter((out) => at - out < copyTimings.outWithinMs);
    const freed = this.outs.at(-copyTimings.outsMost);
    return freed === undefined ? null : freed + copyTimings.outWithinMs;
  }
}
