import { Readable } from 'node:stream';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import { compareRounds, type RoundName } from '../../../protocol/round-name.ts';
import { listed } from '../../../scheduler/phrases.ts';
import { showBytes } from '../../settings/quantities.ts';
import type { DataPlace } from '../data-place.ts';
import type { DataOwner } from '../place-records.ts';
import { broughtOf, treeOf } from '../place-tree.ts';
import { BtrfsReplica, dropRounds } from '../replica/btrfs-replica.ts';
import type { Round, RoundPart, RoundSource } from '../replica/replica-ports.ts';
import { ReplicaProblem, RoundRefused } from '../replica/replica-problem.ts';
import { replicaTools } from '../replica/replica-tools.ts';
import { RoundDisk } from '../replica/round-disk.ts';
import type { GiveLine } from '../wire/give-line.ts';
import type { HeldElsewhere, RoundHolder } from './backup-rows.ts';
import { keptRounds, roundOf } from './kept-rounds.ts';

/** A machine of the mesh that holds copies of what is hosted here, and how it is asked. */
export interface RoundKeeper {
  name: string;
  line: Pick<GiveLine, 'dated' | 'bring'>;
}

export interface Bringing {
  /** A backup's id, or a round's. */
  id: string;
  place: DataPlace;
  owner: Pick<DataOwner, 'mesh' | 'data'>;
  keepers: readonly RoundKeeper[];
  /** Why the data of that version are not taken, in words; asked before anything comes. */
  fits(version: string | null): void;
  signal: AbortSignal;
  say(phase: string): void;
}

/** So much is made free ahead of what comes, again and again: how long a round is nobody says beforehand. */
const aheadBytes = 256 << 20;
const sayEveryMs = 1000;
/** ms: a machine that does not answer is not waited for when people want a list. */
const listMs = 8_000;

/** For a list. */
export async function heldBy(keepers: readonly RoundKeeper[], signal: AbortSignal): Promise<HeldElsewhere[]> {
  const given = AbortSignal.any([signal, AbortSignal.timeout(listMs)]);
  const told = await Promise.allSettled(
    keepers.map(async ({ name, line }) => ({ name, rounds: await line.dated(given) })),
  );
  return told.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
}

/** `use` with that round on this machine's disk, brought from another one where it is not here. What was brought goes again. */
export async function withRound<T>(what: Bringing, use: () => Promise<T>): Promise<T> {
  const tree = treeOf(what.place);
  const name = roundOf(what.id);
  if (name === null || keptRounds(tree, 'hot').some((one) => compareRounds(one.name, name) === 0)) return use();
  try {
    await bring(what, name);
    return await use();
  } finally {
    await dropRounds(broughtOf(tree), replicaTools).catch(() => undefined);
  }
}

/** What is read within the time that a question has: a round that lies on another machine alone is not brought for it. */
export function refuseElsewhere(tree: string, id: string, holders: readonly RoundHolder[]): void {
  const name = roundOf(id);
  const isRound = (one: RoundName): boolean => name !== null && compareRounds(one, name) === 0;
  if (name === null || keptRounds(tree, 'hot').some((one) => isRound(one.name))) return;
  const who = holders.flatMap((one) => (one.rounds.some(isRound) ? [one.name] : []));
  if (who.length === 0) return;
  throw new AutogitError('backup', `${id} lies on ${listed(who)} only, and is brought from there for a restore alone`, {
    hint: "compare with a backup, or a round that GitLab's own machine has too: autogit-node gitlab history",
  });
}

async function bring(what: Bringing, name: RoundName): Promise<void> {
  const { id, keepers, fits, signal, say } = what;
  say(`looks who holds ${id}`);
  const failed: string[] = [];
  for (const keeper of keepers) {
    try {
      const told = await keeper.line.dated(signal);
      const round = told.find((one) => compareRounds(one.name, name) === 0);
      if (round === undefined) {
        failed.push(`${keeper.name} does not hold it`);
        continue;
      }
      fits(round.version);
      for (const part of ['hot', 'bulk'] as const) await bringPart(what, keeper, part, name);
      return;
    } catch (error) {
      signal.throwIfAborted();
      // What is wrong with the round, or with this machine's disk, is so whoever gives it.
      if (error instanceof AutogitError) throw error;
      const isSaid = error instanceof RoundRefused || error instanceof ReplicaProblem;
      const because = isSaid ? error.message : `it did not come whole: ${sentenceOf(error)}`;
      failed.push(`${keeper.name}: ${because}`);
    }
  }
  const who = failed.length === 0 ? 'no other machine of the mesh holds copies' : failed.join('; ');
  throw new AutogitError('backup', `${id} is not on this machine, and is not brought from another one: ${who}`, {
    hint: 'which there are: autogit-node gitlab history',
  });
}

async function bringPart(
  { id, place, owner, signal, say }: Bringing,
  { name: from, line }: RoundKeeper,
  part: RoundPart,
  name: RoundName,
): Promise<void> {
  const tree = treeOf(place);
  const has = keptRounds(tree, part).map((one) => ({ name: one.name, uuid: one.uuid }));
  const what = part === 'hot' ? id : `artifacts and packages of ${id}`;
  const makeRoom = (): Promise<void> => place.makeRoom(aheadBytes);
  await makeRoom();
  await line.bring({ part, name, has }, signal, async (round, source) => {
    const replica = new BtrfsReplica(part, tree, {
      ...{ owner, tools: replicaTools, besides: has, folder: broughtOf(tree) },
      disk: new RoundDisk(tree, replicaTools),
    });
    await replica.open();
    const counted = countedBy(source, (bytes) => say(`brings ${what} from ${from}: ${showBytes(bytes)}`));
    await replica.receive(named(round, part, name), counted, makeRoom);
  });
}

/** Under the name by which it was asked for: of the bulk part it may be another one, taken soon behind or before. */
function named(round: Round, part: RoundPart, name: RoundName): Round {
  if (part === 'hot' && compareRounds(round.name, name) !== 0)
    throw new RoundRefused('it gave another round than it was asked for');
  return round;
}

function countedBy({ stream, done, end }: RoundSource, tell: (bytes: number) => void): RoundSource {
  let [bytes, toldMs] = [0, Number.NEGATIVE_INFINITY];
  const count = (data: Buffer): void => {
    bytes += data.length;
    if (performance.now() - toldMs < sayEveryMs) return;
    toldMs = performance.now();
    tell(bytes);
  };
  const counted = async function* (): AsyncGenerator<Buffer> {
    for await (const data of stream as AsyncIterable<Buffer>) {
      count(data);
      yield data;
    }
  };
  return { stream: Readable.from(counted(), { objectMode: false }), done, end };
}
