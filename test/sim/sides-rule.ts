import type { Agent } from './agent.ts';
import { require as must } from './violation.ts';
import type { World } from './world.ts';

/** What a machine was answered to have written, in an era that another one had left behind by then. */
interface Beside {
  readonly data: string;
  readonly machine: string;
  readonly epoch: number;
  readonly era: number;
  /** Since when it follows the later era, in touch with who serves and who leads there; null: it does not. */
  since: number | null;
  /** It has been for long enough to be known of. */
  hasMet: boolean;
}

/** ms until what a machine says of itself is in the ledger of all, over an election. */
const knownMs = 12_000;

/**
 * After a recovery by force both sides may acknowledge pushes, as a person vouched for what was not so. Once they have met, none is
 * acknowledged before a person has looked (SAFETY H10), whatever becomes of the other side's machine meanwhile. From above: nobody's
 * ledger is asked who the sides are.
 */
export class SidesRule {
  readonly #world: World;
  /** Eras of a recovery, and when it was. */
  readonly #recoveredAt = new Map<number, number>();
  readonly #beside = new Map<string, Beside>();

  constructor(world: World) {
    this.#world = world;
  }

  recovered(era: number): void {
    if (this.#recoveredAt.has(era)) return;
    if (this.#recoveredAt.size === 0) this.#watch();
    this.#recoveredAt.set(era, this.#world.now);
  }

  /** Also while nobody's push is answered. */
  #watch(): void {
    this.#world.timeline.after(1000, () => {
      const host = this.#world.history.top?.ledger.gitlab.host ?? '';
      const serving = this.#world.agents().find((one) => one.machine.id === host && one.isRunning);
      const era = serving?.ledger?.era.counter ?? 0;
      if (serving !== undefined)
        for (const side of this.#beside.values())
          if (host !== side.machine && era > side.era) this.#meets(side, serving, era);
      this.#watch();
    });
  }

  get isAny(): boolean {
    return this.#recoveredAt.size > 0;
  }

  answered(agent: Agent, data: string, epoch: number): void {
    if (!this.isAny) return;
    const era = agent.ledger?.era.counter ?? 0;
    const machine = agent.machine.id;
    const later = [...this.#recoveredAt].some(([of, at]) => of > era && this.#world.now > at);
    const key = `${data} ${machine} ${era} ${epoch}`;
    if (later && !this.#beside.has(key)) {
      this.#beside.set(key, { data, machine, epoch, era, since: null, hasMet: false });
      this.#world.rare.saw('push acknowledged beside a recovered mesh');
      if (this.#recoveredAt.has(era))
        this.#world.rare.saw('push acknowledged beside a recovered mesh, in a recovery of its own');
    }
    for (const side of this.#beside.values()) {
      if (side.data !== data || side.era >= era || side.machine === machine) continue;
      must(
        !side.hasMet || this.#isOver(side, agent),
        'no-push-before-somebody-has-looked',
        () =>
          `${agent.life} acknowledges a push to ${data} in era ${era}, and ${side.machine} did in epoch ${side.epoch} of era ${side.era}: nobody has looked`,
      );
    }
  }

  #meets(side: Beside, serving: Agent, era: number): void {
    const { faults } = this.#world;
    const other = this.#world.agentOf(side.machine);
    const leader = this.#world.leaderNow();
    const isThere = (one: string): boolean => !faults.isCut(one, side.machine) && !faults.isCut(side.machine, one);
    const isIn =
      other?.isRunning === true &&
      other.ledger?.era.counter === era &&
      leader !== null &&
      isThere(leader) &&
      isThere(serving.machine.id) &&
      other.ledger.gitlab.epoch === serving.ledger?.gitlab.epoch;
    side.since = isIn ? (side.since ?? this.#world.now) : null;
    if (side.since === null || this.#world.now - side.since < knownMs || side.hasMet) return;
    side.hasMet = true;
    this.#world.rare.saw('two sides of a recovery met');
  }

  /** A person looked, or gave that machine up. */
  #isOver({ data, machine, epoch }: Beside, serving: Agent): boolean {
    if (!Object.hasOwn(serving.ledger?.nodes ?? {}, machine)) return true;
    const kept = this.#world.machine(machine).hosted.fenced.get(`${data} fenced-${epoch}`);
    return kept !== undefined && this.#world.now >= kept.looksAt;
  }
}
