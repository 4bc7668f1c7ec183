import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { answeredLines } from '../answered-lines.ts';

interface Line {
  what: 'start' | 'end';
  name: string;
  /** ms since 1970. */
  at: number;
}

/** How long sections of traces took, as a probe in their agent (`../section-probe.cjs`) has seen them. */
export class SectionTimes {
  readonly #file: string;

  constructor(folder: string) {
    this.#file = join(folder, 'sections');
  }

  /** Of the agent. */
  get env(): Record<string, string> {
    return { NODE_OPTIONS: `--require ${process.env.SECTION_PROBE_CODE}`, SECTION_PROBE: this.#file };
  }

  /** What was before is of no interest. */
  forget(): void {
    rmSync(this.#file, { force: true });
  }

  /** Seconds that these sections took together since then. Throws where one is missing. */
  take(...names: string[]): number {
    const lines = answeredLines(this.#file).map((line) => JSON.parse(line) as Line);
    return names.reduce((sum, name) => {
      const [began, ended] = (['start', 'end'] as const).map((what) =>
        lines.filter((line) => line.name === name && line.what === what).reduce((all, { at }) => all + at, 0),
      );
      if (!began || !ended) throw new Error(`no trace had a section ${name}, but ${lines.length} lines of others`);
      return sum + (ended - began) / 1000;
    }, 0);
  }
}
