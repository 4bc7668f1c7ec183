/** Counts of what a run met, so that a number of seeds means something. */
export class Figures {
  readonly counts: Record<string, number> = {};

  add(name: string, by = 1): void {
    this.counts[name] = (this.counts[name] ?? 0) + by;
  }

  merge(other: Record<string, number>): void {
    for (const [name, by] of Object.entries(other)) this.add(name, by);
  }
}
