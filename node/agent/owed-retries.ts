import { z } from 'zod';
import { sentenceOf } from '../../protocol/errors.ts';
import { asSentence } from '../../protocol/ids.ts';
import type { Store } from '../ports.ts';

/** A job that was ended for its machine's owner, and is to run again once GitLab has its end. */
const OwedRetry = z.object({
  run: z.string(),
  job: z.int(),
  /** With which sentence it ends: one that ends otherwise is not run again. */
  because: z.string(),
});
export type OwedRetry = z.infer<typeof OwedRetry>;

const key = 'owed-retries';
/** More than a machine runs at a time; the oldest goes first. */
const most = 64;

/** What is owed, on disk before the job ends: its end takes its after_script's time, in which the agent may be ended too. */
export class OwedRetries {
  readonly #store: Pick<Store, 'get' | 'put'>;
  readonly #warn: (sentence: string) => void;
  #owed: OwedRetry[] = [];
  #writing: Promise<void> = Promise.resolve();

  constructor(store: Pick<Store, 'get' | 'put'>, warn: (sentence: string) => void) {
    this.#store = store;
    this.#warn = warn;
  }

  /** Of the agent process before this one. Never throws: what cannot be read is owed no more, and said. */
  async load(): Promise<readonly OwedRetry[]> {
    try {
      const text = await this.#store.get(key);
      const found = text === null ? [] : z.array(OwedRetry).parse(JSON.parse(text));
      this.#owed = [...found.filter(({ run }) => !this.#has(run)), ...this.#owed].slice(-most);
      return found;
    } catch (error) {
      this.#warn(asSentence(`jobs that were ended for this machine's owner: ${sentenceOf(error)}`));
      return [];
    }
  }

  /** On disk when it resolves; where the disk takes nothing it is owed as long as this agent lives. Never throws. */
  async add(owed: OwedRetry): Promise<void> {
    if (this.#has(owed.run)) return;
    this.#owed = [...this.#owed, owed].slice(-most);
    await this.#write();
  }

  async settle(run: string): Promise<void> {
    if (!this.#has(run)) return;
    this.#owed = this.#owed.filter((one) => one.run !== run);
    await this.#write();
  }

  #has(run: string): boolean {
    return this.#owed.some((one) => one.run === run);
  }

  #write(): Promise<void> {
    this.#writing = this.#writing
      .then(() => this.#store.put(key, JSON.stringify(this.#owed)))
      .catch((error: Error) => this.#warn(`that a job is to run again is not on disk: ${error.message}`));
    return this.#writing;
  }
}
