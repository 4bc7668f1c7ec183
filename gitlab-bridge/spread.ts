/** How often values came, by size: what a histogram is made of. To count one costs a few comparisons. */
export class Spread {
  /** Upper bounds, rising. */
  readonly bounds: readonly number[];
  /** How many were at most as large as the bound and larger than the one before it; the last: larger than all. */
  readonly counts: number[];
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = bounds.map(() => 0);
    this.counts.push(0);
  }

  /** What is no number, or below 0 because a clock jumped, is left out. */
  add(value: number): void {
    if (!(value >= 0) || value === Number.POSITIVE_INFINITY) return;
    const place = this.bounds.findIndex((bound) => value <= bound);
    const at = place < 0 ? this.bounds.length : place;
    this.counts[at] = (this.counts[at] as number) + 1;
    this.sum += value;
  }
}
