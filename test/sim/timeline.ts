interface Moment {
  at: number;
  order: number;
  happen: () => void;
}

/** The world's one clock, in virtual ms, and what is going to happen, in order; ties go by who was planned first. */
export class Timeline {
  now = 0;
  events = 0;
  #order = 0;
  readonly #heap: Moment[] = [];

  after(ms: number, happen: () => void): void {
    this.at(this.now + Math.max(0, ms), happen);
  }

  at(time: number, happen: () => void): void {
    const heap = this.#heap;
    const moment = { at: Math.max(time, this.now), order: this.#order++, happen };
    let place = heap.length;
    heap.push(moment);
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!isBefore(moment, heap[parent]!)) break;
      heap[place] = heap[parent]!;
      place = parent;
    }
    heap[place] = moment;
  }

  /** Lets everything happen up to and including that time. */
  runUntil(time: number): void {
    while (this.#heap.length > 0 && this.#heap[0]!.at <= time) {
      const moment = this.#pop();
      this.now = moment.at;
      this.events += 1;
      moment.happen();
    }
    this.now = Math.max(this.now, time);
  }

  #pop(): Moment {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
      if (!isBefore(heap[child]!, last)) break;
      heap[place] = heap[child]!;
      place = child;
    }
    heap[place] = last;
    return first;
  }
}

const isBefore = (a: Moment, b: Moment): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);
