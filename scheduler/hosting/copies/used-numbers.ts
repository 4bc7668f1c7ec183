import type { RoundName } from '../../../protocol/round-name.ts';

/** A standby that names a higher number than that above the host's own makes it up. */
const jumpMost = 100_000;

/** Numbers that lie on some standby: a name is used once only, also by a host whose disk fell back. */
export class UsedNumbers {
  #highest = 0;
  /** Of rounds that are not the host's own. */
  #strange = 0;

  /** `newest`: of the host's own. */
  hears(own: readonly RoundName[], strange: readonly RoundName[], newest: number): void {
    const highest = (names: readonly RoundName[]): number =>
      Math.max(0, ...names.map(({ number }) => number).filter((number) => number <= newest + jumpMost));
    this.#strange = Math.max(this.#strange, highest(strange));
    this.#highest = Math.max(this.#highest, this.#strange, highest(own));
  }

  get highest(): number {
    return this.#highest;
  }

  /** A standby has another round of that number, or of one above it: it takes none of ours but the next. */
  isOver(newest: number): boolean {
    return this.#strange >= newest;
  }
}
