import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { compareStamps } from '../../protocol/stamp.ts';
import { compareEras } from '../../scheduler/raft/ledger-order.ts';
import { leaderOf } from '../../scheduler/views.ts';
import { askMembership, type Farewell } from '../enrol/membership-question.ts';
import type { LanNetwork } from '../network/network.ts';
import type { Removal } from '../store/removal.ts';
import type { Member } from './member.ts';

const lookEveryMs = 500;
/** Between two questions to one member, while it refuses this machine, and while nobody leads here. */
const againMs = { refused: 3_000, leaderless: 15_000 };
/** ms without a leader after which this machine asks why: a mesh elects its next leader in less. */
const leaderlessMs = 5_000;

interface RemovalWatchOptions {
  self: NodeId;
  ledger(): Ledger | null;
  hasLeader(): boolean;
  /** Members that refuse this machine as a stranger. */
  refusedBy(): NodeId[];
  ask(member: { node: NodeId; addresses: string[] }): Promise<Farewell | null>;
  /** `wasIn`: this process had been in the mesh before. */
  removed(removal: Removal, wasIn: boolean): void;
  /** Monotonic ms. */
  now(): number;
}

/** The watch of a member, begun. */
export function watchRemoval(
  network: LanNetwork,
  member: Member,
  name: string,
  removed: RemovalWatchOptions['removed'],
): RemovalWatch {
  const watch = new RemovalWatch({
    self: network.self,
    ledger: () => member.ledger(),
    hasLeader: () => leaderOf(member.loop.state) !== null,
    refusedBy: () => network.diagnosis.refusedBy(),
    ask: (one) => askMembership(network.door, one, { name, meshId: member.ledger()?.mesh.id ?? '' }),
    removed,
    now: () => performance.now(),
  });
  watch.start();
  return watch;
}

/**
 * Finds out that this machine was removed from its mesh: by the ledger itself, where that still came, or by asking
 * voters that refuse it. Only a voter of the own ledger is believed, and only about a ledger newer than the own: one
 * that was away may still have a removal in mind that was taken back since. Tells once, then stops.
 */
export class RemovalWatch {
  readonly #options: RemovalWatchOptions;
  readonly #askedAt = new Map<NodeId, number>();
  #timer: NodeJS.Timeout | null = null;
  #leaderSeenAt: number;
  #isOver = false;
  /** This machine heard a leader since this process began: it was in the mesh. */
  #wasIn = false;

  constructor(options: RemovalWatchOptions) {
    this.#options = options;
    this.#leaderSeenAt = options.now();
  }

  start(): void {
    this.#timer = setInterval(() => void this.look(), lookEveryMs);
  }

  stop(): void {
    this.#isOver = true;
    if (this.#timer) clearInterval(this.#timer);
  }

  /** To be called with every committed ledger. */
  onLedger(ledger: Ledger): void {
    const { self } = this.#options;
    if (Object.hasOwn(ledger.nodes, self)) return;
    const at = Object.hasOwn(ledger.forgotten, self) ? ledger.forgotten[self]! : 0;
    this.#report({ mesh: ledger.mesh.name, at, by: ledger.forgottenBy?.[self] ?? null });
  }

  /** One look; public for tests. */
  async look(): Promise<void> {
    const { hasLeader, ledger, now } = this.#options;
    if (hasLeader()) {
      this.#leaderSeenAt = now();
      this.#wasIn = true;
    }
    const mine = ledger();
    if (mine === null || this.#isOver) return;
    await Promise.all(this.#votersToAsk(mine).map((node) => this.#ask(node, mine)));
  }

  #votersToAsk({ configuration }: Ledger): NodeId[] {
    const { self, refusedBy, now } = this.#options;
    const refusing = new Set(refusedBy());
    const isLeaderless = now() - this.#leaderSeenAt > leaderlessMs;
    const voters = [...Object.keys(configuration.voters), ...Object.keys(configuration.next ?? {})];
    return voters.filter((node, index) => {
      if (node === self || voters.indexOf(node) !== index) return false;
      const again = refusing.has(node) ? againMs.refused : isLeaderless ? againMs.leaderless : null;
      return again !== null && now() - (this.#askedAt.get(node) ?? Number.NEGATIVE_INFINITY) >= again;
    });
  }

  async #ask(node: NodeId, mine: Ledger): Promise<void> {
    const { ask, now } = this.#options;
    this.#askedAt.set(node, now());
    const said = await ask({ node, addresses: mine.nodes[node]?.addresses ?? [] });
    const known = this.#options.ledger();
    if (said === null || known === null || said.meshId !== known.mesh.id) return;
    const isNewer = compareEras(said.era, known.era) || compareStamps(said.stamp, known.stamp);
    if (isNewer > 0) this.#report({ mesh: known.mesh.name, at: said.at, by: said.by });
  }

  #report(removal: Removal): void {
    if (this.#isOver) return;
    this.stop();
    this.#options.removed(removal, this.#wasIn);
  }
}
