interface Timed {
  at: number;
  order: number;
  run: () => void;
}

/** What happens when, in an order that is the same each time. */
export class Schedule {
  now = 1_000_000;
  #order = 0;
  #events: Timed[] = [];

  after(ms: number, run: () => void): void {
    this.#events.push({ at: this.now + ms, order: ++this.#order, run });
  }

  /** `each`: behind each of them. */
  runUntil(until: number, each: () => void): void {
    for (;;) {
      const due = this.#events.filter(({ at }) => at <= until);
      const [next] = due.sort((a, b) => a.at - b.at || a.order - b.order);
      if (!next) break;
      this.#events.splice(this.#events.indexOf(next), 1);
      this.now = Math.max(this.now, next.at);
      next.run();
      each();
    }
    this.now = until;
  }
}
