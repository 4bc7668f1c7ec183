import type { Measured } from '../../protocol/report.ts';
import type { Store } from '../ports.ts';

interface Paused {
  paused: Measured['paused'];
  because: string | null;
}
interface Switch {
  what: 'gpu' | 'all';
  /** ms since the Unix epoch; null = until `resume`. */
  until: number | null;
}

const key = 'pause';
/** The time of day, and the day where the time alone could be another day's. */
function clockOf(wallMs: number, nowMs: number): string {
  const at = new Date(wallMs);
  const time = at.toTimeString().slice(0, 5);
  if (wallMs - nowMs < 20 * 3_600_000) return time;
  const day = [at.getFullYear(), at.getMonth() + 1, at.getDate()]
    .map((part) => String(part).padStart(2, '0'))
    .join('-');
  return `${day} ${time}`;
}

/** The owner's manual switch (DESIGN §9). It survives a restart: a machine that was paused stays so. */
export class PauseSwitch {
  readonly #store: Pick<Store, 'get' | 'put'>;
  readonly #now: () => number;
  #on: Switch[] = [];

  constructor(store: Pick<Store, 'get' | 'put'>, now: () => number) {
    this.#store = store;
    this.#now = now;
  }

  async load(): Promise<void> {
    try {
      this.#on = JSON.parse((await this.#store.get(key)) ?? '[]') as Switch[];
    } catch {
      this.#on = [];
    }
  }

  async pause(what: 'gpu' | 'all', forMs: number | null): Promise<string> {
    const until = forMs === null ? null : this.#now() + forMs;
    await this.#set([...this.#on.filter((one) => one.what !== what), { what, until }]);
    return this.state().because ?? 'paused';
  }

  /** Resuming all resumes the GPU too; resuming the GPU leaves a full pause alone. */
  async resume(what: 'gpu' | 'all'): Promise<string> {
    await this.#set(what === 'all' ? [] : this.#on.filter((one) => one.what !== 'gpu'));
    return this.state().because ?? 'takes new work again';
  }

  /** Is the GPU kept from jobs, or the whole machine? */
  isOn(what: 'gpu' | 'all'): boolean {
    const { paused } = this.state();
    return paused === 'all' || (what === 'gpu' && paused === 'gpu');
  }

  state(): Paused {
    const on = this.#on.filter((one) => one.until === null || one.until > this.#now());
    const strongest = on.find((one) => one.what === 'all') ?? on[0];
    if (!strongest) return { paused: 'no', because: null };
    const end = strongest.until === null ? '' : ` until ${clockOf(strongest.until, this.#now())}`;
    const what = strongest.what === 'all' ? 'no new work' : 'no new GPU work';
    return { paused: strongest.what, because: `paused by its owner${end}: ${what}` };
  }

  async #set(on: Switch[]): Promise<void> {
    this.#on = on;
    await this.#store.put(key, JSON.stringify(on));
  }
}
