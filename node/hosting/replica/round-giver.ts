import { newestOf, type RoundName, roundText } from '../../../protocol/round-name.ts';
import { versionIn } from '../vault/kept-rounds.ts';
import type { ToldRound } from '../wire/frames.ts';
import type { BtrfsReplica } from './btrfs-replica.ts';
import { bulkBeside } from './bulk-beside.ts';
import type { Gift, Round, RoundGiver, RoundPart } from './replica-ports.ts';
import { ReplicaProblem } from './replica-problem.ts';

type Parts = Record<RoundPart, BtrfsReplica>;

/** Rounds that this machine holds of another's GitLab, given back to that one. What is on its way stays, whatever is thinned. */
export class KeptRoundGiver implements RoundGiver {
  readonly #parts: () => Parts;
  readonly #gifts = new Set<Gift>();

  /** `parts`: throws where nothing is open here, or the host may not have it. */
  constructor(parts: () => Parts) {
    this.#parts = parts;
  }

  async dated(): Promise<ToldRound[]> {
    const { hot } = this.#parts();
    return hot.rounds().map(({ name, wallMs }) => ({ name, wallMs, version: versionIn(hot.folderOf({ name })) }));
  }

  async give(part: RoundPart, name: RoundName, has: readonly { name: RoundName; uuid: string }[]): Promise<Gift> {
    const parts = this.#parts();
    const round = roundFor(parts, part, name);
    const there = new Map(has.map((one) => [roundText(one.name), one.uuid]));
    if (there.get(roundText(round.name)) === round.uuid) return { round, source: null };
    // Only an older one of the same epoch, so of the same living subvolume: a difference to another would be guessed by numbers of inodes.
    const { era, epoch, number } = round.name;
    const parent = newestOf(
      parts[part]
        .rounds()
        .filter(
          (one) =>
            one.name.era === era &&
            one.name.epoch === epoch &&
            one.name.number < number &&
            there.get(roundText(one.name)) === one.uuid,
        ),
    );
    const gift: Gift = {
      round: { ...round, parent: parent?.name ?? null },
      source: parts[part].send(round, parent),
    };
    this.#gifts.add(gift);
    return gift;
  }

  given(gift: Gift): void {
    this.#gifts.delete(gift);
  }

  /** Of that part: nobody may thin these. */
  pins(part: RoundPart): RoundName[] {
    return [...this.#gifts].flatMap(({ round }) =>
      round.part === part ? [round.name, ...(round.parent ? [round.parent] : [])] : [],
    );
  }

  /** Nothing reads the place any more: it is about to be closed. Others may be given once it is open again. */
  async end(): Promise<void> {
    for (const { source } of this.#gifts) source?.end();
    await Promise.allSettled([...this.#gifts].map(({ source }) => source?.done));
  }
}

/** Throws in words for the host. */
function roundFor(parts: Parts, part: RoundPart, name: RoundName): Round {
  const text = roundText(name);
  const hot = parts.hot.rounds().find((one) => roundText(one.name) === text);
  if (hot === undefined)
    throw new ReplicaProblem(
      `round ${text} is not here, or was thinned`,
      'which there are: autogit-node gitlab history',
    );
  if (part === 'hot') return hot;
  const bulk = parts.bulk.rounds();
  const beside = bulkBeside(hot, bulk);
  const round = bulk.find((one) => beside !== null && roundText(one.name) === roundText(beside.name));
  if (round === undefined)
    throw new ReplicaProblem(
      `of artifacts and packages there is no round here that goes with ${text}`,
      'take another one: autogit-node gitlab history',
    );
  return round;
}
