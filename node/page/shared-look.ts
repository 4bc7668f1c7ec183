/** What several ask is looked up once: while that is under way, and for `goodMs` after it has ended, well or not, all are told the same. */
export class SharedLook<T> {
  readonly #look: () => Promise<T>;
  readonly #goodMs: number;
  #last: { answer: Promise<T>; goodUntil: number } | null = null;

  constructor(look: () => Promise<T>, goodMs: number) {
    this.#look = look;
    this.#goodMs = goodMs;
  }

  ask(): Promise<T> {
    if (this.#last !== null && performance.now() < this.#last.goodUntil) return this.#last.answer;
    const look = { answer: this.#look(), goodUntil: Number.POSITIVE_INFINITY };
    const ended = (): void => {
      look.goodUntil = performance.now() + this.#goodMs;
    };
    look.answer.then(ended, ended);
    this.#last = look;
    return look.answer;
  }
}
