import type { Change } from '../../../protocol/changes.ts';
import { copyTimings } from './copy-timings.ts';

/** The change that is asked of the leader: again and again, until a newer ledger makes it another one, or none. */
export class AskedChange {
  #asked: { text: string; at: number } | null = null;

  /** Whether this one is to be asked for now; why it is does not make it another one. */
  isDue(change: Change | null, at: number): boolean {
    if (change === null) {
      this.#asked = null;
      return false;
    }
    const text = JSON.stringify({ ...change, because: '' });
    if (this.#asked?.text === text && at < this.againAt) return false;
    this.#asked = { text, at };
    return true;
  }

  /** Boot time; Infinity while nothing is asked. */
  get againAt(): number {
    return (this.#asked?.at ?? Number.POSITIVE_INFINITY) + copyTimings.askAgainMs;
  }
}
