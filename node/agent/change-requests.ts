import { randomUUID } from 'node:crypto';
import type { AskedBy } from '../../protocol/audit.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import type { Happened } from '../../scheduler/inputs.ts';
import { whoActs } from '../local-api/acting.ts';

/** Longer than the core's own patience: an answer always comes from the core, unless the agent ends. */
const patienceMs = 15_000;

/**
 * Local callers' changes of the ledger: asked under an id, answered by the core's `answer`. What comes in one turn of the
 * event loop goes to the core as one input, so that many callers cost one proposal.
 */
export class Changes {
  readonly #feed: (happened: Happened) => void;
  #gathered: { id: string; change: Change; by?: AskedBy }[] = [];
  readonly #open = new Map<string, (outcome: ChangeOutcome) => void>();

  constructor(feed: (happened: Happened) => void) {
    this.#feed = feed;
  }

  async ask(change: Change, act?: AskedBy['act']): Promise<ChangeOutcome> {
    const id = randomUUID();
    const who = whoActs();
    this.#gathered.push({
      id,
      change,
      ...(who === undefined ? {} : { by: { who: who.slice(0, 128), ...(act ? { act } : {}) } }),
    });
    if (this.#gathered.length === 1) setImmediate(() => this.#ask());
    return this.#answerTo(id);
  }

  /** This node goes on alone, in an era of its own (SAFETY L15). */
  async recover(seenOff: string[]): Promise<ChangeOutcome> {
    const id = randomUUID();
    const answer = this.#answerTo(id);
    this.#feed({ kind: 'recovery-asked', id, era: randomUUID(), seenOff });
    return answer;
  }

  #answerTo(id: string): Promise<ChangeOutcome> {
    return new Promise((resolve) => {
      const because = `no answer in ${patienceMs / 1000} s; it may still happen: autogit-node status shows it`;
      const timer = setTimeout(() => this.answer(id, { state: 'unknown', because }), patienceMs);
      this.#open.set(id, (outcome) => {
        clearTimeout(timer);
        resolve(outcome);
      });
    });
  }

  #ask(): void {
    const requests = this.#gathered;
    this.#gathered = [];
    this.#feed({ kind: 'requested', requests });
  }

  answer(id: string, outcome: ChangeOutcome): void {
    const resolve = this.#open.get(id);
    this.#open.delete(id);
    resolve?.(outcome);
  }
}
