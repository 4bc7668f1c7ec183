import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { DrillSeen } from '../../../protocol/report.ts';
import { drillParts } from '../../../scheduler/hosting/drill-rules.ts';
import { replaceFile, systemTools } from '../system-tools.ts';

const DrillNotes = z.looseObject({
  /** Of which all this is. */
  data: z.string(),
  /** Wall time since which this machine holds something of it. */
  since: z.number(),
  last: DrillSeen.shape.last,
  proven: DrillSeen.shape.proven,
  ended: DrillSeen.shape.ended,
  /** Which part of the repositories is read whole next. */
  part: z
    .int()
    .min(0)
    .max(drillParts - 1),
});
export type DrillNotes = z.infer<typeof DrillNotes>;

/** What came of the drills here, for the next agent of this home. What makes no sense is forgotten: a drill is due again then. */
export class DrillMemory {
  readonly #path: string;
  #known: DrillNotes | null;
  /** Until the last of them is on the disk. */
  #writing: Promise<void> = Promise.resolve();

  constructor(home: string) {
    this.#path = join(home, 'gitlab-drills.json');
    this.#known = this.#read();
  }

  /** Of other data: nothing is known, and it began now. */
  of(data: string, wallMs: number): DrillNotes {
    if (this.#known?.data === data) return this.#known;
    const begun = { data, since: wallMs, last: null, proven: null, ended: null, part: 0 };
    this.#known = begun;
    // If that fails the first drill is later, by as long as the agent was away.
    void this.write(begun).catch(() => undefined);
    return begun;
  }

  /** Of which something is known here. */
  get data(): string | null {
    return this.#known?.data ?? null;
  }

  forget(): void {
    this.#known = null;
    const drop = (): void => rmSync(this.#path, { force: true });
    drop();
    // What was being written comes back else.
    this.#writing = this.#writing.then(() => (this.#known === null ? drop() : undefined));
  }

  write(now: DrillNotes): Promise<void> {
    this.#known = now;
    const written = replaceFile(this.#path, `${JSON.stringify(now)}\n`, systemTools);
    this.#writing = written.catch(() => undefined);
    return written;
  }

  /** Nothing of it is under way any more. */
  written(): Promise<void> {
    return this.#writing;
  }

  #read(): DrillNotes | null {
    try {
      return DrillNotes.parse(JSON.parse(readFileSync(this.#path, 'utf8')));
    } catch {
      return null;
    }
  }
}
