import { compareRounds, type RoundName } from '../../../protocol/round-name.ts';

interface Waiting {
  id: number;
  /** The round that was snapshotted after it asked; null until one is. */
  round: RoundName | null;
  /** Nobody is at its other end: a member has the usual time for it. */
  isPatient: boolean;
}

/** Why a push may go: all members have its round, or nobody is a member and the pusher is told. */
interface Released {
  id: number;
  round: RoundName;
  isAlone: boolean;
}

/** The host's own disk: a push waits for it as for any member's. */
const own = '';

/** Which pushes wait for which round. Pure: the loop around it knows time, sockets and disks. */
export class PushWait {
  #waiting: Waiting[] = [];
  readonly #acknowledged = new Map<string, RoundName>();

  ask(id: number, isPatient = false): void {
    this.#waiting.push({ id, round: null, isPatient });
  }

  /** True when somebody waits for whom no round was begun. */
  get wantsRound(): boolean {
    return this.#waiting.some((one) => one.round === null);
  }

  get waiting(): number[] {
    return this.#waiting.map((one) => one.id);
  }

  /** The snapshot is taken now. A round that began before somebody asked may lack that push: it is never counted for it. */
  begins(round: RoundName): void {
    for (const one of this.#waiting) one.round ??= round;
  }

  /** There is no such round after all: whoever waited for it needs another. */
  failed(round: RoundName): void {
    for (const one of this.#waiting) if (one.round && compareRounds(one.round, round) === 0) one.round = null;
  }

  /** The host has it on its own disk. */
  durable(round: RoundName): void {
    this.acknowledged(own, round);
  }

  acknowledged(member: string, round: RoundName): void {
    const known = this.#acknowledged.get(member);
    if (!known || compareRounds(known, round) < 0) this.#acknowledged.set(member, round);
  }

  /** It has not got what it acknowledged: its disk is another one. */
  withdrawn(member: string): void {
    this.#acknowledged.delete(member);
  }

  /** The newest that it acknowledged. */
  newestOf(member: string): RoundName | null {
    return this.#acknowledged.get(member) ?? null;
  }

  has(member: string, round: RoundName): boolean {
    const known = this.#acknowledged.get(member);
    return known !== undefined && compareRounds(known, round) >= 0;
  }

  /** The oldest round on the host's disk that a push waits for and that `member` has not acknowledged. */
  lackedBy(member: string): RoundName | null {
    const lacked = this.#waiting.flatMap(({ round, isPatient }) =>
      round && !isPatient && this.has(own, round) && !this.has(member, round) ? [round] : [],
    );
    return lacked.sort(compareRounds)[0] ?? null;
  }

  /** Takes out and returns who may go, when all of `needed` have their round. */
  release(needed: readonly string[], isAlone: boolean = needed.length === 0): Released[] {
    const free: Released[] = [];
    this.#waiting = this.#waiting.filter(({ id, round }) => {
      if (round === null || ![own, ...needed].every((member) => this.has(member, round))) return true;
      free.push({ id, round, isAlone });
      return false;
    });
    return free;
  }

  releaseAll(): number[] {
    const all = this.waiting;
    this.#waiting = [];
    return all;
  }
}
