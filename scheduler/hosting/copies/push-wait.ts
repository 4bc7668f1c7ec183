import { compareRounds, type RoundName } from '../../../protocol/round-name.ts';

interface Waiting {
  id: number;
  /** The round that was snapshotted after it asked; null until one is. */
  round: RoundName | null;
}

/** Why a push may go: all members have its round, or nobody is a member and the pusher is told. */
export interface Released {
  id: number;
  isAlone: boolean;
}

/** The host's own disk: a push waits for it as for any member's. */
const own = '';

/** Which pushes wait for which round. Pure: the loop around it knows time, sockets and disks. */
export class PushWait {
  #waiting: Waiting[] = [];
  readonly #acknowledged = new Map<string, RoundName>();

  ask(id: number): void {
    this.#waiting.push({ id, round: null });
  }

  /** The hook is gone: it asks again by itself, as another. */
  forget(id: number): void {
    this.#waiting = this.#waiting.filter((one) => one.id !== id);
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

  /** Takes out and returns who may go, by the in-sync set as it is committed. */
  release(members: readonly string[]): Released[] {
    const isHeld = ({ round }: Waiting): boolean =>
      round === null ||
      [own, ...members].some((member) => {
        const known = this.#acknowledged.get(member);
        return !known || compareRounds(known, round) < 0;
      });
    const free = this.#waiting.filter((one) => !isHeld(one));
    this.#waiting = this.#waiting.filter(isHeld);
    return free.map(({ id }) => ({ id, isAlone: members.length === 0 }));
  }
}
