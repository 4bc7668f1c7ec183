import type { Usage } from '../../protocol/history.ts';
import type { NodeId } from '../../protocol/ids.ts';
import { limits } from '../../protocol/limits.ts';
import type { UsageSample } from '../../scheduler/history/usage-samples.ts';

const { usageSteps: count, usageStepMs: ms } = limits;
/** A byte a step: 0 to 200 are shares, in half percents; 255: nothing was heard. */
const whole = 200;
const nothing = 255;

/** The steps of one figure, each at its number modulo `count`, and the sum of the step that is under way. */
class Series {
  readonly cells: Uint8Array;
  #sum = 0;
  #samples = 0;

  constructor(cells: Uint8Array = new Uint8Array(count).fill(nothing)) {
    this.cells = cells;
  }

  add(step: number, share: number): void {
    this.#sum += share;
    this.#samples += 1;
    this.cells[step % count] = Math.round((this.#sum / this.#samples) * whole);
  }

  /** `step` begins. */
  begin(step: number): void {
    this.cells[step % count] = nothing;
    this.#sum = 0;
    this.#samples = 0;
  }

  shares(from: number): (number | null)[] {
    return Array.from({ length: count }, (_, index) => {
      const cell = this.cells[(from + index) % count] ?? nothing;
      return cell > whole ? null : cell / whole;
    });
  }

  get isEmpty(): boolean {
    return this.cells.every((cell) => cell === nothing);
  }
}

/** As it is kept on disk: base64 of the cells. */
interface KeptUsage {
  v: 1;
  step: number;
  figures: Record<NodeId, Record<string, string>>;
}

/** The names that people know. */
interface UsageNames {
  node(node: NodeId): string | null;
  /** The model of a card; null: it is not there any more. */
  gpu(node: NodeId, uuid: string): string | null;
}

/** Least that a machine and a card take: 288 bytes a figure, so 24 kB for seven machines with three cards each. */
export class UsageSteps {
  #step = -1;
  readonly #figures = new Map<NodeId, Map<string, Series>>();

  add(samples: Readonly<Record<NodeId, UsageSample>>, wallMs: number): void {
    this.#goTo(Math.floor(wallMs / ms));
    for (const [node, { cpu, memory, gpus }] of Object.entries(samples)) {
      this.#series(node, 'cpu').add(this.#step, cpu);
      this.#series(node, 'memory').add(this.#step, memory);
      for (const [uuid, gpu] of Object.entries(gpus)) {
        this.#series(node, `load ${uuid}`).add(this.#step, gpu.load);
        this.#series(node, `vram ${uuid}`).add(this.#step, gpu.memory);
      }
    }
  }

  /** Number of the step under way; a new one is the time to write what is kept. */
  get step(): number {
    return this.#step;
  }

  shown(names: UsageNames, wallMs: number): Usage {
    this.#goTo(Math.floor(wallMs / ms));
    const from = this.#step - count + 1;
    const machines = [...this.#figures].flatMap(([node, figures]) => {
      const name = names.node(node);
      if (name === null) return [];
      const shares = (figure: string): (number | null)[] => (figures.get(figure) ?? new Series()).shares(from);
      const gpus = [...figures.keys()].flatMap((figure) => {
        const uuid = /^load (.*)$/.exec(figure)?.[1];
        const model = uuid === undefined ? null : names.gpu(node, uuid);
        return model === null ? [] : [{ name: model, load: shares(figure), memory: shares(`vram ${uuid}`) }];
      });
      return [{ node: name, cpu: shares('cpu'), memory: shares('memory'), gpus }];
    });
    machines.sort((a, b) => (a.node < b.node ? -1 : 1));
    return { stepMs: ms, from: new Date(from * ms).toISOString(), machines };
  }

  kept(): KeptUsage {
    const figures = [...this.#figures].map(([node, all]) => [
      node,
      Object.fromEntries([...all].map(([figure, { cells }]) => [figure, Buffer.from(cells).toString('base64')])),
    ]);
    return { v: 1, step: this.#step, figures: Object.fromEntries(figures) };
  }

  /** What was kept before; what is of no known form is left out. */
  takeUp(kept: unknown): void {
    if (!isKept(kept)) return;
    this.#step = kept.step;
    for (const [node, figures] of Object.entries(kept.figures))
      for (const [figure, text] of Object.entries(figures)) {
        const cells = new Uint8Array(Buffer.from(String(text), 'base64'));
        if (cells.length === count) this.#of(node).set(figure, new Series(cells));
      }
  }

  #goTo(step: number): void {
    // A clock that was set back by more than a moment: what is there is of another time.
    if (step < this.#step - 1) this.#figures.clear();
    else if (step <= this.#step) return;
    const first = Math.max(this.#step + 1, step - count + 1);
    for (const [node, figures] of this.#figures) {
      for (const [figure, series] of figures) {
        for (let next = first; next <= step; next++) series.begin(next);
        if (series.isEmpty) figures.delete(figure);
      }
      if (figures.size === 0) this.#figures.delete(node);
    }
    this.#step = step;
  }

  #of(node: NodeId): Map<string, Series> {
    const known = this.#figures.get(node) ?? new Map<string, Series>();
    this.#figures.set(node, known);
    return known;
  }

  #series(node: NodeId, figure: string): Series {
    const figures = this.#of(node);
    const series = figures.get(figure) ?? new Series();
    figures.set(figure, series);
    return series;
  }
}

function isKept(value: unknown): value is KeptUsage {
  const { v, step, figures } = (value ?? {}) as Partial<KeptUsage>;
  const isMap = (part: unknown): boolean => typeof part === 'object' && part !== null;
  return v === 1 && Number.isSafeInteger(step) && isMap(figures) && Object.values(figures ?? {}).every(isMap);
}
