import type { Ledger } from '../../protocol/ledger.ts';
import type { Agent } from './agent.ts';
import type { HostedService } from './hosted-machine.ts';
import type { Machine } from './machine.ts';
import { require as must } from './violation.ts';
import type { World } from './world.ts';

/** A watchdog looks every 200 ms of a clock that may be 10 % slow, and what was resumed is looked at after that. */
const lookMs = 280;

/** A lease that a core was given, by the clock of its machine in that boot. */
interface Given {
  boot: string;
  epoch: number;
  until: number;
}

/**
 * What a host's machine does with the lease (SAFETY H1 to H4, H8): its gate, its watchdog, its containers, from above. Written
 * again: none of it asks the functions by which gate, watchdog and keeper decide.
 */
export class GateRule {
  readonly #world: World;
  readonly #given = new Map<string, Given>();
  /** Machine and boot -> by era, the highest epoch of which the agent has said that its gate is closed. */
  readonly #closed = new Map<string, Map<string, number>>();
  /** The same of each agent: the next one knows nothing of it, and may ask for a lease that no gate takes. */
  readonly #closedBy = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
  }

  given({ machine, state, life }: Agent, epoch: number, until: number): void {
    const era = state.raft.accepted.era.id;
    must(
      epoch > (this.#closedBy.get(`${life} ${era}`) ?? 0),
      'a-closed-epoch-is-over',
      () => `${life} takes a lease of epoch ${epoch}, of which it has said that its gate is closed`,
    );
    const known = this.lease(machine, era);
    const isLonger = known?.epoch === epoch && known.until > until;
    if (!isLonger) this.#given.set(`${machine.id} ${era}`, { boot: machine.boot, epoch, until });
  }

  /** What its core was given last in that era, since it was switched on. */
  lease({ id, boot }: Machine, era: string): Given | null {
    const given = this.#given.get(`${id} ${era}`);
    return given?.boot === boot ? given : null;
  }

  /** Until when that epoch may be served there, whichever era's leader said so: 0 where none did. */
  #heldUntil({ id, boot }: Machine, epoch: number): number {
    const all = [...this.#given].flatMap(([key, given]) => (key.startsWith(`${id} `) ? [given] : []));
    return Math.max(0, ...all.filter((one) => one.boot === boot && one.epoch === epoch).map(({ until }) => until));
  }

  /** Its core has heard of it: a busy agent hears late what its gate has read. */
  saidClosed({ life }: Agent, era: string, epoch: number): void {
    const by = `${life} ${era}`;
    this.#closedBy.set(by, Math.max(this.#closedBy.get(by) ?? 0, epoch));
  }

  closed({ id, boot }: Machine, era: string, epoch: number): void {
    const key = `${id} ${boot}`;
    const closed = this.#closed.get(key) ?? new Map<string, number>();
    this.#closed.set(key, closed.set(era, Math.max(closed.get(era) ?? 0, epoch)));
  }

  /** The highest, of whatever era. */
  closedEpoch({ id, boot }: Machine): number {
    return Math.max(0, ...(this.#closed.get(`${id} ${boot}`)?.values() ?? []));
  }

  isClosed({ id, boot }: Machine, era: string, epoch: number): boolean {
    return (this.#closed.get(`${id} ${boot}`)?.get(era) ?? 0) >= epoch;
  }

  /** Somebody comes to the gate now. */
  looked(machine: Machine): void {
    const { hosted } = machine;
    const now = hosted.passage;
    if (now.kind !== 'open') return;
    const until = this.#heldUntil(machine, now.epoch);
    must(
      until > machine.bootMs(),
      'a-gate-is-open-by-a-lease',
      () =>
        `${machine.id} lets people in to epoch ${now.epoch} at ${machine.bootMs()}, and its lease ended at ${until}`,
    );
    must(
      !this.isClosed(machine, hosted.era, now.epoch),
      'a-closed-gate-stays-closed',
      () => `${machine.id} serves epoch ${now.epoch}, of which it has said that its gate is closed`,
    );
    const epoch = hosted.services.get(now.upstream)?.epoch;
    must(
      epoch === undefined || epoch === now.epoch,
      'a-gate-leads-to-its-epoch',
      () => `${machine.id} leads people of epoch ${now.epoch} to a container of epoch ${epoch}`,
    );
    this.#world.leases.opened(machine);
    this.#world.moves.opened(machine);
  }

  /** SAFETY H3: without a lease it stands still, whether its agent lives or not. */
  beforeWatchdog(machine: Machine): void {
    this.looked(machine);
    const { hosted } = machine;
    if (this.#world.now - machine.resumedAt <= lookMs) return;
    for (const { id, epoch, isRunning, isFrozen } of hosted.services.values()) {
      if (!isRunning || isFrozen || hosted.toldUntil(id) === undefined) continue;
      const until = this.#heldUntil(machine, epoch);
      must(
        machine.bootMs() <= until + lookMs,
        'gitlab-stands-still-without-its-lease',
        () => `${machine.id}: ${id} of epoch ${epoch} runs at ${machine.bootMs()}, and its lease ended at ${until}`,
      );
    }
  }

  /** SAFETY H2: the freeze is undone. */
  afterWatchdog(machine: Machine): void {
    for (const { id, isFrozen } of machine.hosted.services.values()) {
      const until = machine.hosted.toldUntil(id) ?? 0;
      must(
        !isFrozen || until < machine.bootMs(),
        'a-renewed-lease-thaws',
        () => `${machine.id}: ${id} stands still at ${machine.bootMs()}, and may run until ${until}`,
      );
    }
  }

  /** SAFETY H2, H8: what the ledger has is not killed; nor is it ended where it works. */
  ends({ life, state, machine }: Agent, service: HostedService, how: 'killed' | 'made anew'): void {
    if (!service.isRunning) return;
    const { gitlab } = this.#world.history.topOf(state.raft.accepted.era)?.ledger ?? {};
    const isRight =
      gitlab?.mode === 'hosted' &&
      gitlab.host === service.host &&
      gitlab.epoch === service.epoch &&
      gitlab.hosted?.data === service.data &&
      machine.id === service.host;
    const works = this.#world.now >= service.worksAt || service.isFrozen;
    must(
      !isRight || (how === 'made anew' && !works),
      'the-ledgers-gitlab-is-not-ended',
      () => `${life}: ${service.id} is ${how}, and it is the ledger's, of epoch ${service.epoch}`,
    );
  }

  /** SAFETY H8: after a look nothing runs there that is not the ledger's. */
  keeps({ life, machine }: Agent, { gitlab }: Ledger): void {
    for (const { id, data, epoch, host, isRunning } of machine.hosted.services.values()) {
      const isRight =
        gitlab.mode === 'hosted' && gitlab.host === host && gitlab.epoch === epoch && gitlab.hosted?.data === data;
      must(
        !isRunning || isRight || epoch > gitlab.epoch,
        'only-the-ledgers-gitlab-runs',
        () => `${life} leaves ${id} of epoch ${epoch} running, and the ledger's is of epoch ${gitlab.epoch}`,
      );
    }
  }
}
