import type { Store } from '../ports.ts';
import type { Way } from '../settings/give-way.ts';
import { longestMs, type OwnerHours, ownersNow } from '../settings/owner-hours.ts';
import type { PauseState } from './owner-wishes.ts';

interface Switch {
  what: 'gpu' | 'all';
  /** ms since the Unix epoch; null = until `resume`. */
  until: number | null;
  /** What runs here makes way too: as the owner has set it, or as it was said. Absent: it runs to its end. */
  now?: true | Way | undefined;
}

const key = 'pause';
/** Apart from the switches: an agent of before would take it for one of them. */
const skippedKey = 'hours-skipped';
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
  readonly #hours: readonly OwnerHours[];
  /** Wall ms until which the owner's hours do not count: he said `resume`. */
  #skippedUntil = 0;

  constructor(store: Pick<Store, 'get' | 'put'>, now: () => number, hours: readonly OwnerHours[] = []) {
    this.#store = store;
    this.#now = now;
    this.#hours = hours;
  }

  async load(): Promise<void> {
    try {
      this.#on = JSON.parse((await this.#store.get(key)) ?? '[]') as Switch[];
    } catch {
      this.#on = [];
    }
    this.#skippedUntil = Number((await this.#store.get(skippedKey)) ?? 0) || 0;
  }

  /** A pause that is made longer goes on as it was: what makes way already does so until its end. */
  async pause(what: 'gpu' | 'all', forMs: number | null, now: true | Way | null = null): Promise<string> {
    const until = forMs === null ? null : this.#now() + forMs;
    const before = this.#active().find((one) => one.what === what)?.now;
    const next: Switch = { what, until, now: now ?? before };
    await this.#set([...this.#on.filter((one) => one.what !== what), next]);
    return this.state().because ?? 'paused';
  }

  /** Resuming all resumes the GPU too; resuming the GPU leaves a full pause alone. */
  async resume(what: 'gpu' | 'all'): Promise<string> {
    await this.#set(what === 'all' ? [] : this.#on.filter((one) => one.what !== 'gpu'));
    const hours = this.#ownersHours();
    if (hours !== null && (what === 'all' || hours.what === 'gpu')) {
      this.#skippedUntil = this.#now() + hours.leftMs;
      await this.#store.put(skippedKey, String(this.#skippedUntil));
    }
    const { because } = this.state();
    // Who asked for the GPU alone back would take the pause that stays for the answer to another question.
    if (what === 'gpu' && this.#byHand().paused === 'all') return `${because}; that ends by: autogit-node resume`;
    return because ?? 'takes new work again';
  }

  #active(): Switch[] {
    return this.#on.filter((one) => one.until === null || one.until > this.#now());
  }

  #ownersHours(): ReturnType<typeof ownersNow> {
    const skippedMs = this.#skippedUntil - this.#now();
    // None last longer: it was said by a clock that was wrong.
    const isSkipped = skippedMs > 0 && skippedMs <= longestMs;
    return isSkipped ? null : ownersNow(this.#hours, new Date(this.#now()));
  }

  state(): PauseState {
    const byHand = this.#byHand();
    const hours = this.#ownersHours();
    if (hours === null) return byHand;
    const because = `its owner's hours until ${clockOf(this.#now() + hours.leftMs, this.#now())}`;
    const both = { ...byHand, hours: { what: hours.what, because } };
    if (byHand.paused === 'all' || byHand.paused === hours.what) return both;
    return {
      ...both,
      paused: hours.what,
      because: `${because}: ${hours.what === 'all' ? 'no new work' : 'no new GPU work'}`,
    };
  }

  #byHand(): PauseState {
    const on = this.#active();
    const strongest = on.find((one) => one.what === 'all') ?? on[0];
    if (!strongest) return { paused: 'no', because: null, now: null };
    // What was said last counts before what was said before it.
    const [now = null, nowBefore] = on
      .flatMap(({ what, now: way }) => (way === undefined ? [] : [{ what, way: way === true ? null : way }]))
      .reverse();
    const end = strongest.until === null ? '' : ` until ${clockOf(strongest.until, this.#now())}`;
    const what = strongest.what === 'all' ? 'no new work' : 'no new GPU work';
    return {
      paused: strongest.what,
      because: `paused by its owner${end}: ${what}`,
      now,
      ...(nowBefore && { nowBefore }),
    };
  }

  async #set(on: Switch[]): Promise<void> {
    this.#on = on;
    await this.#store.put(key, JSON.stringify(on));
  }
}
